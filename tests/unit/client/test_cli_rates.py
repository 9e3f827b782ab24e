"""How fast the model of this machine was, beside what it was used for."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from client.cli.answers import show_answer
from client.cli.rates import rates_in_words
from client.gateway.server import Gateway
from client.gateway.upstream import Upstream
from client.local_model import ModelServers

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SLOW = {"prompt_per_second": 40.0, "predicted_per_second": 10.0}
FAST = {"prompt_per_second": 61.26, "predicted_per_second": 18.04}


def call(tokens: tuple[int, int], timings: dict[str, float]) -> dict[str, object]:
    """A chat completion as far as it tells what it took."""
    return {"usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}, "timings": timings}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """One that has seen a few calls."""
    server = Gateway(("127.0.0.1", 0), Upstream("http://127.0.0.1:9"))
    for tokens, timings in (((929, 34), SLOW), ((929, 34), FAST), ((10, 20), SLOW)):
        server.rates.add(call(tokens, timings))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project."""
    (tmp_path / "fleet.toml").write_text("")
    return tmp_path


def test_the_call_is_the_latest_with_as_many_tokens(
    gateway: Gateway, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rates end the line that says what was used; another call's don't."""
    monkeypatch.setattr(ModelServers, "url", gateway.url)
    asked = {"answer": "Yes [1].", "model": "local/coder", "input_tokens": 929, "output_tokens": 34, "seconds": 32.5}

    show_answer(asked, lambda *call: rates_in_words(folder, *call))

    assert "929 + 34 tokens, 32.5 s, $0.0000, read at 61.3 and written at 18.0 tokens/s." in capsys.readouterr().out
    assert rates_in_words(folder, "local/coder", 929, 35) == ""


def test_an_answer_stands_without_its_rates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model is not of this machine, no gateway runs, none is there, or this is no project."""
    monkeypatch.setattr(ModelServers, "url", None)
    assert rates_in_words(folder, "local/coder", 929, 34) == ""
    monkeypatch.setattr(ModelServers, "url", "http://127.0.0.1:9")

    assert rates_in_words(folder, "local/coder", 929, 34) == ""
    assert rates_in_words(folder, "global.anthropic.claude-haiku-4-5-20251001-v1:0", 929, 34) == ""
    assert rates_in_words(Path("/"), "local/coder", 929, 34) == ""
