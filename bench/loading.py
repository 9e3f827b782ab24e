"""Functions as Lambda loads them: their layers, what the runtime brings along, their folder, nothing of this environment."""

import io
import os
import subprocess
import sys
import sysconfig
import zipfile
from functools import cache
from pathlib import Path

from bench.programs import ROOT
from cdk.catalog import FleetDefinition
from cdk.constructs.fleet_layers import MORE
from cdk.constructs.python_function import ENVIRONMENT
from cdk.layers import RUNTIME_PACKAGES, LayerBuilder, LayerTarget

HERE = LayerTarget.this_interpreter()


def make(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir()
    return folder


def lambda_builtins(folder: Path) -> Path:
    """A folder with what Lambda's Python runtime brings along, linked from this environment."""
    installed = Path(sysconfig.get_path("purelib"))
    for name in RUNTIME_PACKAGES:
        module = {"python-dateutil": "dateutil", "six": "six.py"}.get(name, name)
        (folder / module).symlink_to(installed / module)
    return folder


def functions_of(fleet: FleetDefinition, target: LayerTarget = HERE) -> dict[str, list[Path]]:
    """Every function by its folder's name: the folders it imports from, built for the target; its own code is the first."""
    builder = LayerBuilder(ROOT, target)
    more = {**MORE, **{pool.folder.name: pool.layers for pool in fleet.pools.values()}}
    domain, core = builder.domain(fleet.catalog), builder.dependencies("core")
    return {
        folder.name: [
            builder.function(folder),
            *(layer / "python" for layer in (domain, core, *map(builder.dependencies, more.get(folder.name, ())))),
        ]
        for folder in sorted(handler.parent for handler in (ROOT / "functions").glob("*/handler.py"))
    }


def run_alone(program: str, path: list[Path], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program that can import what lies in these folders and in the standard library."""
    start = f"import sys; sys.path[:0] = {list(map(str, path))!r}\n"
    variables = {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1", **ENVIRONMENT, **(environment or {})}
    command = [sys.executable, "-I", "-S", "-B", "-c", start + program]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@cache
def zipped_bytes(folder: Path) -> int:
    """Of everything below a folder, as it would be uploaded."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.tell()
