"""Archives from outside: what is taken, what is left out and named, what is refused."""

import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.archives import Limits, pack, safe_path, unpack
from agentfleet.domain.errors import PermanentError

EVIL = ["../evil.py", "/etc/evil.py", "C:/evil.py", "a/../../evil.py", "..\\evil.py", "a\0b.py"]


def zip_of(*entries: tuple[str, bytes]) -> bytes:
    """A .zip with these names as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries:
            info = zipfile.ZipInfo()
            info.filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, body)
    return buffer.getvalue()


def tar_of(*entries: tuple[str, bytes], packed: bool = True) -> bytes:
    """A .tar.gz, or a .tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if packed else "w") as archive:
        for name, body in entries:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


FILES = (("pkg/a.py", b"a = 1\n"), ("pkg/inner/b.py", b"b = 2\n"), ("README.md", b"# Readme"))


@pytest.mark.parametrize("body", [zip_of(*FILES), tar_of(*FILES), tar_of(*FILES, packed=False)])
def test_every_kind_gives_the_same_files(body: bytes) -> None:
    """Told by the first bytes, whatever the file is called; only what is wanted is read."""
    assert dict(unpack(body).files) == dict(FILES)
    assert list(unpack(body, lambda path: path.endswith(".py")).files) == ["pkg/a.py", "pkg/inner/b.py"]


@pytest.mark.parametrize("name", [name for name in EVIL if "\0" not in name])
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_what_leads_out_of_an_archive_is_left_out_and_named(name: str, make: object) -> None:
    """By dots, from the root, by a drive, by backslashes."""
    assert callable(make)
    found = unpack(make((name, b"x"), ("good.py", b"y")))

    assert dict(found.files) == {"good.py": b"y"}
    assert list(found.left_out.values()) == ["leads out of the archive"]


@given(st.text(max_size=40))
def test_a_safe_path_never_leads_out(name: str) -> None:
    """Whatever it is made of; and it is safe as it stands."""
    path = safe_path(name)

    if path is not None:
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\\" not in path
        assert safe_path(path) == path


def test_links_and_devices_are_left_out() -> None:
    """A link could name any file of the machine that reads it."""
    info = zipfile.ZipInfo("link.py")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:gz") as packed:
        for name, kind in (("link.py", tarfile.SYMTYPE), ("hard.py", tarfile.LNKTYPE), ("pipe.py", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            packed.addfile(member)

    for body, count in ((zipped.getvalue(), 1), (tarred.getvalue(), 3)):
        found = unpack(body)
        assert not found.files
        assert list(found.left_out.values()) == ["is a link or a device"] * count


def test_sizes_are_counted_while_reading() -> None:
    """A large file is left out; too many, too much together, or a bomb is refused."""
    large = zip_of(("large.py", b"x" * 5_000), ("small.py", b"y"))

    assert unpack(large, limits=Limits(file_bytes=100)).left_out == {"large.py": "has more than 100 bytes"}
    with pytest.raises(PermanentError, match="more than 100 bytes together"):
        unpack(large, limits=Limits(total_bytes=100))
    with pytest.raises(PermanentError, match="more than 1 files"):
        unpack(large, limits=Limits(entries=1))
    bomb = gzip.compress(tar_of(("zeros.bin", bytes(3_000_000)), packed=False))
    assert len(bomb) < 10_000
    with pytest.raises(PermanentError, match="unpacks to more than 1,000,000 bytes"):
        unpack(bomb, lambda path: False, Limits(stream_bytes=1_000_000))


def test_a_folder_around_everything_is_taken_off() -> None:
    """GitHub's, which no package could be called like; a package's own folder stays, and so does one of several."""
    inside = (("x.py", b"1"), ("pkg/y.py", b"2"))

    assert set(unpack(zip_of(*((f"repo-1a2b/{name}", body) for name, body in inside)), strip=True).files) == {
        "x.py",
        "pkg/y.py",
    }
    assert set(unpack(zip_of(("client/x.py", b"1")), strip=True).files) == {"client/x.py"}
    assert set(unpack(zip_of(("repo-1/x.py", b"1"), ("setup.py", b"2")), strip=True).files) == {"repo-1/x.py", "setup.py"}


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"PK\x03\x04broken", b"\x1f\x8bbroken", zip_of(*FILES)[:60], tar_of(*FILES)[:40]],
    ids=["empty", "words", "broken zip", "broken gzip", "half a zip", "half a tar"],  # what is packed holds the time
)
def test_what_is_no_archive_is_refused(body: bytes) -> None:
    """In one line, for good."""
    with pytest.raises(PermanentError, match="archive: "):
        unpack(body)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.py", fullmatch=True), st.binary(max_size=200), max_size=8))
def test_what_is_packed_comes_out_again(files: dict[str, bytes]) -> None:
    """Whole and in order; the same files give the same archive."""
    assert dict(unpack(pack(files)).files) == files
    assert pack(files) == pack(files)
