"""What of a folder is uploaded, and `fleet review`."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from agentfleet.domain.archives import unpack
from client.api import FleetClient
from client.cli import review
from client.cli.app import app
from client.errors import ConfigError
from client.files import archive_of


def write(folder: Path, *names: str) -> None:
    """Small Python files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")


def test_a_folder_is_packed_under_its_name_without_what_is_hidden(tmp_path: Path) -> None:
    """No environments, nothing hidden, nothing but Python."""
    write(tmp_path / "pkg", "a.py", "in/b.py", ".hidden/c.py", "venv/d.py", "__pycache__/e.py", "notes.txt")

    name, body = archive_of(tmp_path / "pkg")

    assert name == "pkg.zip"
    assert set(unpack(body).files) == {"pkg/a.py", "pkg/in/b.py"}


def test_what_git_ignores_stays_here(tmp_path: Path) -> None:
    """What it would add goes along."""
    write(tmp_path, "a.py", "built/b.py", "new.py")
    (tmp_path / ".gitignore").write_text("built/\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    assert set(unpack(archive_of(tmp_path)[1]).files) == {f"{tmp_path.name}/a.py", f"{tmp_path.name}/new.py"}


def test_an_archive_is_sent_as_it_is_and_anything_else_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reason each."""
    (tmp_path / "a.tar.gz").write_bytes(b"packed")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()

    assert archive_of(tmp_path / "a.tar.gz") == ("a.tar.gz", b"packed")
    for name, said in (("a.txt", "neither a folder nor an archive"), ("empty", "no Python files")):
        with pytest.raises(ConfigError, match=said):
            archive_of(tmp_path / name)
    monkeypatch.setattr("client.files.MAX_FILE", 3)
    with pytest.raises(ConfigError, match="at most 3 can be uploaded"):
        archive_of(tmp_path / "a.tar.gz")


def test_a_client_uploads(client: FleetClient) -> None:
    """Through the API's own function."""
    kept = client.upload("code.zip", b"x" * 100_000)

    assert (kept.name, kept.size) == ("code.zip", 100_000)
    assert kept.uri.endswith("/code.zip")


class Reviewing:
    """An API whose reviews have ended before one looks."""

    def __init__(self, state: str = "SUCCEEDED", how: str = "rules") -> None:
        self.state, self.how = state, how
        self.sent: list[Any] = []

    def upload(self, name: str, body: bytes) -> Any:
        """Taken in."""
        return SimpleNamespace(uri=f"s3://fleet-bucket/{name}")

    def submit(self, body: dict[str, Any]) -> Any:
        """Remember what was asked."""
        self.sent.append(body["parameters"])
        return SimpleNamespace(id="g1")

    def result(self, goal: str) -> Any:
        """What came out."""
        top = [{"place": "a.py:3", "rule": "bare-except", "finding": "name what may be raised"}]
        remarks = [{"place": "a.py:9", "remark": "Off by one."}] if self.how == "model" else []
        return SimpleNamespace(output={"findings": 1, "high": 1, "top": top, "remarks": remarks, "how": self.how})


@pytest.mark.parametrize(("how", "said"), [("rules", "no model was asked"), ("model", "a.py:9  Off by one.")])
def test_a_review_shows_findings_and_who_made_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, said: str
) -> None:
    """A folder is uploaded, an address sent as it is; the exit code says whether it worked."""
    write(tmp_path / "pkg", "a.py")
    api = Reviewing(how=how)

    @contextmanager
    def connected(ctx: Any) -> Iterator[Reviewing]:
        yield api

    monkeypatch.setattr(review, "connect", connected)
    monkeypatch.setattr("client.cli.live.watch_goal", lambda *_: SimpleNamespace(state=api.state))
    result = CliRunner().invoke(app, ["review", str(tmp_path / "pkg")])
    CliRunner().invoke(app, ["review", "https://example.com/a.zip", "--folder", "pkg"])
    api.state = "FAILED"
    failed = CliRunner().invoke(app, ["review", str(tmp_path / "pkg")])

    assert result.exit_code == 0, result.output
    assert "a.py:3  bare-except: name what may be raised" in result.output
    assert said in result.output
    assert (api.sent[0]["archive"], api.sent[1]["url"]) == ("s3://fleet-bucket/pkg.zip", "https://example.com/a.zip")
    assert api.sent[1]["folder"] == "pkg"
    assert failed.exit_code == 1
