"""A language model on this machine: the gateway that looks like Bedrock, and llama.cpp behind it where no server is given."""

import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from client.gateway.weights import FILES, PACKAGED, fetch, is_server
from client.processes import LocalCloudError, free_port, is_running, start_server, stop_server, wait_until_ready
from client.toolchain import install_command, make_environment, run

NONE: Final = "none"
"""What to ask for to have no model."""
GATEWAY_PORT: Final = 4567
START_SECONDS: Final = 120.0
"""Weights of a gigabyte are read from a cold disk."""
CONTEXT, SLOTS = 8192, 2
"""Tokens that llama.cpp remembers, shared by the calls that it works on at once."""

_LLAMA, _GATEWAY = "gateway/llama.py", "client.gateway"


class Server(BaseModel):
    """A server that runs in the background."""

    pid: int
    port: int


class ModelState(BaseModel):
    """What runs, and for whom."""

    wanted: str | None = None
    llama: Server | None = None
    gateway: Server | None = None


class ModelServers:
    """The servers of one state folder; `home` keeps weights and the engine for all of them."""

    def __init__(self, state: Path, home: Path, progress: Callable[[str], None]) -> None:
        self._folder = state
        self._home = home
        self._progress = progress

    @property
    def wanted(self) -> str | None:
        """What was asked for, while it runs."""
        return self._state.wanted if self.url else None

    @property
    def url(self) -> str | None:
        """Where the gateway listens; None if it doesn't run."""
        gateway = self._state.gateway
        return f"http://127.0.0.1:{gateway.port}" if gateway and is_running(gateway.pid, _GATEWAY) else None

    def start(self, wanted: str) -> None:
        """Run what is wanted: a packaged model's name, a .gguf file, its URL, or the URL of a server that runs already.

        Raises LocalCloudError saying what is missing and what to do.
        """
        if wanted == NONE:
            self.stop()
            return
        if self.wanted == wanted and self._llama_is_fine():
            return
        self.stop()
        upstream = wanted if is_server(wanted) else None
        if upstream is not None:
            _must_answer(upstream)
        try:
            self._start_gateway(wanted, upstream or self._start_llama(wanted))
        except LocalCloudError:
            self.stop()
            raise

    def stop(self) -> None:
        """End both servers."""
        state = self._state
        for server, program in ((state.gateway, _GATEWAY), (state.llama, _LLAMA)):
            if server is not None:
                stop_server(server.pid, program)
        self._file.unlink(missing_ok=True)

    def _llama_is_fine(self) -> bool:
        llama = self._state.llama
        return llama is None or is_running(llama.pid, _LLAMA)

    def _start_llama(self, wanted: str) -> str:
        """Run llama.cpp on the weights that are wanted; gives its URL."""
        weights = fetch(wanted, self._home, self._progress)
        python = self._engine()
        self._progress(f"Starting {weights.path.stem}")
        port, log = free_port(), self._folder / "llama.log"
        command = [str(python), str(Path(__file__).parent / "gateway" / "llama.py"), str(weights.path), str(port)]
        command += [_number("FLEET_MODEL_CONTEXT", CONTEXT), _number("FLEET_MODEL_SLOTS", SLOTS)]
        # Threads beyond the cores that are free wait for each other in a loop: half of them leaves room for the fleet.
        command += [_number("FLEET_MODEL_THREADS", max(1, (os.cpu_count() or 2) // 2))]
        template = os.environ.get("FLEET_MODEL_TEMPLATE") or weights.template
        server = start_server(
            [*command, *([str(template)] if template else [])],
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            log=log,
        )
        self._save(ModelState(wanted=wanted, llama=Server(pid=server.pid, port=port)))
        url = f"http://127.0.0.1:{port}"
        wait_until_ready("The model", server, lambda: _answers(f"{url}/health"), seconds=START_SECONDS, log=log)
        return url

    def _start_gateway(self, wanted: str, upstream: str) -> None:
        port, log = free_port(GATEWAY_PORT), self._folder / "gateway.log"
        command = [sys.executable, "-m", "client.gateway", "--port", str(port), "--upstream", upstream]
        command += ["--model", os.environ.get("FLEET_MODEL_NAME", "")]
        command += ["--embeddings", os.environ.get("FLEET_EMBEDDINGS_URL", "")]
        kept = ("PATH", "FLEET_MODEL_KEY", "SSL_CERT_FILE", "PYTHONPATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        server = start_server(command, environment=environment, log=log)
        state = self._state
        self._save(ModelState(wanted=wanted, llama=state.llama, gateway=Server(pid=server.pid, port=port)))
        health = f"http://127.0.0.1:{port}/health"
        wait_until_ready("The model's gateway", server, lambda: _answers(health), seconds=START_SECONDS, log=log)

    def _engine(self) -> Path:
        """The interpreter of an environment with llama.cpp in it, made if its requirements changed."""
        requirements = FILES / "engine.txt"
        wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
        folder, marker = self._home / "engine", self._home / "engine.installed"
        python = folder / "bin" / "python"
        if not (marker.is_file() and marker.read_text() == wanted):
            self._progress("Installing llama.cpp")
            self._home.mkdir(parents=True, exist_ok=True)
            make_environment(folder)
            try:
                run([*install_command(python), "--quiet", "--no-deps", "--require-hashes", "-r", str(requirements)])
            except LocalCloudError as error:
                raise LocalCloudError(
                    f"llama.cpp can't be installed here: {error}\n"
                    "Run a model elsewhere and give its URL: fleet up --model http://127.0.0.1:11434 (Ollama)"
                ) from error
            marker.write_text(wanted)
        return python

    @property
    def _file(self) -> Path:
        return self._folder / "model.json"

    @property
    def _state(self) -> ModelState:
        if not self._file.is_file():
            return ModelState()
        return ModelState.model_validate_json(self._file.read_text(encoding="utf-8"))

    def _save(self, state: ModelState) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")


def is_fetched(name: str, home: Path) -> bool:
    """Are a packaged model's weights here already?"""
    return (home / f"{PACKAGED[name].title}.gguf").is_file()


def _number(variable: str, default: int) -> str:
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise LocalCloudError(f"environment variable {variable}: must be a whole number from 1 on, not {text!r}")
    return text


def _must_answer(url: str) -> None:
    listing = f"{url.rstrip('/').removesuffix('/v1')}/v1/models"
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("FLEET_MODEL_KEY")) else {}
    request = urllib.request.Request(listing, headers=headers)  # noqa: S310 - http(s), as is_server saw
    try:
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310
            return
    except (urllib.error.URLError, OSError) as error:
        raise LocalCloudError(f"model {url!r}: no OpenAI-compatible server answers at {listing}: {error}") from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - this machine's own
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
