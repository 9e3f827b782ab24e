"""Archives of files (.zip, .tar, .tar.gz), read in memory and within limits. Nothing is ever written to a disk.

What an archive says of itself is not believed: paths that lead out of it, links and devices are left out and named, and sizes
are counted while the bytes are read.
"""

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final

from msgspec import Struct, field

from agentfleet.domain.errors import PermanentError

CHUNK: Final = 65_536
FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""Of every file that `pack` writes: the same files give the same archive."""

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_Reader = Callable[[int], bytes]


class Limits(Struct, frozen=True):
    """How much an archive may hold."""

    entries: int = 20_000
    file_bytes: int = 1_000_000
    """Of one file; a larger one is left out."""
    total_bytes: int = 50_000_000
    """Of all files that are wanted."""
    stream_bytes: int = 400_000_000
    """Of everything in a packed stream, which has to be unpacked to get past it."""


class Unpacked(Struct, frozen=True):
    """What was in an archive."""

    files: Mapping[str, bytes]
    """By path, in the archive's order; `/` between folders, never `..`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Path as the archive has it → why it is not among the files, of those that would have been wanted."""


def everything(path: str) -> bool:  # noqa: ARG001
    """Any file is wanted."""
    return True


def unpack(
    body: bytes, wanted: Callable[[str], bool] = everything, limits: Limits = Limits(), *, strip: bool = False
) -> Unpacked:
    """The wanted files of an archive, told by its first bytes.

    `strip`: one folder around everything is taken off if no Python package could be called so (GitHub's `name-1a2b3c4/`).
    Raises PermanentError for what is no archive, can't be read, or holds more than the limits allow.
    """
    files: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    roots: set[str] = set()
    room = limits.total_bytes
    try:
        for number, (name, refusal, read) in enumerate(_entries(body, limits)):
            if number >= limits.entries:
                raise PermanentError(f"archive: has more than {limits.entries:,} files")
            path = safe_path(name)
            if path is None:
                left_out[name[:200]] = "leads out of the archive"
                continue
            roots.add(_root(path))
            if not wanted(path):
                continue
            if refusal:
                left_out[name[:200]] = refusal
                continue
            content = read(limits.file_bytes + 1)
            if len(content) > limits.file_bytes:
                left_out[name[:200]] = f"has more than {limits.file_bytes:,} bytes"
                continue
            room -= len(content)
            if room < 0:
                raise PermanentError(f"archive: its files have more than {limits.total_bytes:,} bytes together")
            files[path] = content
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise PermanentError(f"archive: can't be read: {error}") from error
    around = next(iter(roots)) if strip and len(roots) == 1 else ""
    if around and not around.isidentifier():
        files = {path.removeprefix(f"{around}/"): content for path, content in files.items()}
    return Unpacked(files, left_out)


def pack(files: Mapping[str, bytes]) -> bytes:
    """A .zip of these files, by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path, FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def safe_path(name: str) -> str | None:
    """A path inside the archive, without `.` and empty steps; None for one that is absolute or leads out of it."""
    if "\\" in name or "\0" in name or name.startswith("/") or _DRIVE.match(name):
        return None
    steps = [step for step in name.split("/") if step not in {"", "."}]
    return None if not steps or ".." in steps else "/".join(steps)


def _root(path: str) -> str:
    """The outermost folder of a file; empty for one that lies in none."""
    folder, slash, _ = path.partition("/")
    return folder if slash else ""


def _entries(body: bytes, limits: Limits) -> Iterator[tuple[str, str, _Reader]]:
    """Name, why it can't be taken (empty: it can) and reader of every file; folders are none."""
    if body[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return _zip_entries(body)
    if body[:2] == b"\x1f\x8b":
        return _tar_entries(_Bounded(gzip.GzipFile(fileobj=io.BytesIO(body)), limits.stream_bytes))
    if body[257:262] == b"ustar":
        return _tar_entries(_Bounded(io.BytesIO(body), limits.stream_bytes))
    raise PermanentError("archive: is neither a .zip nor a .tar nor a .tar.gz")


def _zip_entries(body: bytes) -> Iterator[tuple[str, str, _Reader]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            refusal = "" if stat.S_IFMT(info.external_attr >> 16) in {0, stat.S_IFREG} else "is a link or a device"
            refusal = "is encrypted" if info.flag_bits & 1 else refusal
            yield info.filename, refusal, lambda most, info=info: _read(archive.open(info), most)  # type: ignore[misc]


def _tar_entries(stream: "_Bounded") -> Iterator[tuple[str, str, _Reader]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isdir():
                continue
            refusal = "" if member.isfile() else "is a link or a device"
            yield member.name, refusal, lambda most, member=member: _read(archive.extractfile(member), most)  # type: ignore[misc]


def _read(source: IO[bytes] | None, most: int) -> bytes:
    if source is None:
        return b""
    with source:
        pieces: list[bytes] = []
        while most > 0 and (piece := source.read(min(CHUNK, most))):
            pieces.append(piece)
            most -= len(piece)
        return b"".join(pieces)


class _Bounded(io.RawIOBase):
    """A stream that ends in an error when it gives too much: a small file can stand for any number of zeros."""

    def __init__(self, stream: "gzip.GzipFile | io.BytesIO", most: int) -> None:
        self._stream = stream
        self._left = self._most = most

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises PermanentError."""
        piece = self._stream.read(size if size >= 0 else self._left + 1)
        self._left -= len(piece)
        if self._left < 0:
            raise PermanentError(f"archive: unpacks to more than {self._most:,} bytes")
        return piece
