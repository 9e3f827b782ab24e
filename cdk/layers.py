"""Build Lambda layers and functions as folders, without Docker; the same input gives the same folder, and deploys nothing."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from agentfleet.domain.catalog import Catalog, write_catalog
from cdk.errors import FleetError
from cdk.playbooks import playbooks_json, read_playbooks

RUNTIME_PACKAGES: Final = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"})
"""What Lambda's Python runtime brings along (Lambda runtimes: Runtime-included SDK versions)."""

RECIPE: Final = 3
"""Part of every cache key: raise it when the way a layer is built changes."""

_NOISE: Final = ("__pycache__", "tests", "test", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")


@dataclass(frozen=True)
class LayerTarget:
    """The interpreter that a dependency layer is built for."""

    python: str
    """Such as "3.13"."""
    platforms: tuple[str, ...]
    """Wheel platform tags, newest first; empty means the platform that this code runs on."""

    @classmethod
    def aws(cls) -> "LayerTarget":
        """Lambda on Graviton: python3.13 on Amazon Linux 2023, which has glibc 2.34."""
        return cls("3.13", ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"))

    @classmethod
    def this_interpreter(cls) -> "LayerTarget":
        """The interpreter that runs now, which is the emulator's as well."""
        return cls(f"{sys.version_info.major}.{sys.version_info.minor}", ())


@dataclass(frozen=True)
class LayerBuilder:
    """Builds the layers of one project into its build folder and keeps them there by the hash of what went in."""

    root: Path
    target: LayerTarget

    @property
    def _cache(self) -> Path:
        return self.root / "build" / "layers"

    def domain(self, catalog: Catalog) -> Path:
        """Folder of the layer with the `agentfleet` package, its catalog.json and playbooks.json.

        Raises FleetError when a playbook is not valid.
        """
        files = {
            f"python/{path.relative_to(self.root / 'layers' / 'domain' / 'python')}": path.read_bytes()
            for path in _source_files(self.root / "layers" / "domain" / "python")
        }
        files["python/agentfleet/catalog.json"] = write_catalog(catalog)
        files["python/agentfleet/playbooks.json"] = playbooks_json(read_playbooks(self.root)).encode()
        digest = hashlib.sha256(repr((RECIPE, self.target.python, _interpreter(self.target.python) is not None)).encode())
        for name in sorted(files):
            digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
        folder = self._cache / f"domain-{digest.hexdigest()[:16]}"
        if not folder.exists():
            with _replacing(folder) as work:
                _write(work, files)
                self._compile(work)
        return folder

    def dependencies(self, name: str) -> Path:
        """Folder of the layer with what layers/dependencies/<name>.txt pins.

        Raises FleetError when the file is missing or a package has no wheel for the target.
        """
        requirements = self.root / "layers" / "dependencies" / f"{name}.txt"
        if not requirements.is_file():
            raise FleetError(f"layers/dependencies/{name}.txt: no such file")
        text = requirements.read_text(encoding="utf-8")
        machine = self.target.platforms or (sys.platform, os.uname().machine)
        key = hashlib.sha256(
            repr((RECIPE, text, self.target.python, machine, _interpreter(self.target.python) is not None)).encode()
        ).hexdigest()[:16]
        folder = self._cache / f"{name}-{key}"
        if not folder.exists():
            with _replacing(folder) as work:
                self._install(requirements, work / "python")
                _strip(work / "python", keep=_pinned_names(text))
                for path in (found for pattern in _left_out(text) for found in (work / "python").glob(pattern)):
                    _remove(path)
                self._compile(work)
        return folder

    def function(self, folder: Path) -> Path:
        """Folder with a function's own code. Raises FleetError when it does not compile."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in _source_files(folder)}
        digest = hashlib.sha256(repr((RECIPE, self.target.python, _interpreter(self.target.python) is not None)).encode())
        for name, body in files.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        built = self.root / "build" / "functions" / f"{folder.name}-{digest.hexdigest()[:16]}"
        if not built.exists():
            with _replacing(built) as work:
                _write(work, files)
                self._compile(work, "/var/task")
        return built

    def _compile(self, folder: Path, runs_in: str = "/opt") -> None:
        """Add bytecode: nothing can be written there, so without it every cold start would compile every module again.

        The sources never change inside an archive, so the bytecode is not checked against them (PEP 552).
        """
        interpreter = _interpreter(self.target.python)
        if interpreter is None:
            return
        options = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", runs_in]
        finished = subprocess.run(  # noqa: S603 (our own list)
            [interpreter, *options, str(folder)], capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise FleetError(f"{folder.name}: does not compile for Python {self.target.python}:\n{finished.stdout.strip()}")

    def _install(self, requirements: Path, into: Path) -> None:
        command = [*_installer(), "--quiet", "--target", str(into), "--only-binary", ":all:", "-r", str(requirements)]
        if self.target.platforms:
            command += ["--python-version", self.target.python, *self._platform_options(uses_uv=command[0].endswith("uv"))]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own list)
        if finished.returncode:
            raise FleetError(f"{requirements.name}: cannot install for Python {self.target.python}:\n{finished.stderr.strip()}")

    def _platform_options(self, *, uses_uv: bool) -> list[str]:
        if uses_uv:
            tag, _, architecture = self.target.platforms[0].rpartition("_")
            return ["--python-platform", f"{architecture}-{tag}"]
        options = ["--implementation", "cp"]
        for platform in self.target.platforms:
            options += ["--platform", platform]
        return options


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block succeeds: no half-built layer is ever seen."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    work.chmod(0o755)
    try:
        yield work
        work.rename(folder)
    except OSError:
        # Another synth may have built the same input first; its result is as good as ours.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


@cache
def _interpreter(version: str) -> str | None:
    """An interpreter of this version, whose bytecode the functions can load; None if this machine has none."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{version}")
    # A version manager's shim is there for versions that it can't run.
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603
    return found if works else None


def _installer() -> list[str]:
    """uv when the running environment has it (ten times as fast), pip otherwise."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def _source_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


def _pinned_names(requirements: str) -> frozenset[str]:
    """Normalized names of the packages that a requirements file names itself."""
    names = (re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in requirements.splitlines())
    return frozenset(_normalized(match.group()) for match in names if match)


def _left_out(requirements: str) -> list[str]:
    """Patterns of files that a requirements file wants left out: what follows `# leave out:`, relative to the packages."""
    return [pattern for found in re.findall(r"^# leave out:(.*)$", requirements, re.MULTILINE) for pattern in found.split()]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _strip(packages: Path, *, keep: frozenset[str]) -> None:
    """Remove what Lambda already has (unless pinned by name), tests, caches, scripts and installation records."""
    for metadata in sorted(packages.glob("*.dist-info")):
        name = _normalized(metadata.name.removesuffix(".dist-info").rpartition("-")[0])
        if name in RUNTIME_PACKAGES - keep:
            for top in _top_level(metadata):
                _remove(packages / top)
            _remove(metadata)
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.name in _NOISE:
            _remove(path)
    for leftover in ("bin", ".lock"):
        _remove(packages / leftover)


def _top_level(metadata: Path) -> set[str]:
    """First parts of the paths that a distribution installed, itself and scripts left out."""
    rows = (metadata / "RECORD").read_text(encoding="utf-8").splitlines()
    tops = {row.partition(",")[0].partition("/")[0] for row in rows}
    return {top for top in tops if top and top not in {"..", "bin", "__pycache__"} and not top.endswith(".dist-info")}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
