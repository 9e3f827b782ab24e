"""A project beside this one: the same functions, layers and stacks, with pools that only fault runs need."""

import shutil
import tomllib
from pathlib import Path
from typing import Final

from client.local import DEPLOYED_FILES
from client.toolchain import Toolchain

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FLEET: Final = "chaos"
LEDGER: Final = "chaos-ledger"
"""Table of the charges."""
POOL_TIMEOUT: Final = 6
"""Seconds: three are the tasks', three the platform's."""
HIDDEN: Final = 2 * POOL_TIMEOUT
"""Seconds that a message stays hidden when its agent dies: a third of what is deployed, so that a run takes minutes."""
POOLS: Final = ("sums", "ledger")

_FLEET_FILE: Final = f"""
[fleet]
name = "{FLEET}"

[pools.sums]
description = "Sums"
timeout = {POOL_TIMEOUT}
concurrency = 4
max_concurrency = 5
batch = 3

[pools.ledger]
description = "Charges"
timeout = {POOL_TIMEOUT}
concurrency = 3
max_concurrency = 4
batch = 2

[pools.ledger.settings]
table = "{LEDGER}"
"""


def write_project(folder: Path) -> Path:
    """Write the project's files to a folder that is not there yet. Tools and built layers stay those of this project."""
    tools = Toolchain(ROOT, lambda _: None)
    tools.ensure_emulator()
    tools.ensure_cdk()
    folder.mkdir(parents=True)
    compiled = shutil.ignore_patterns("__pycache__")
    agents = shutil.ignore_patterns("__pycache__", *_pools_of_this_project())
    for name in DEPLOYED_FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=agents if name == "functions" else compiled)
        elif source.exists():
            shutil.copy(source, folder / name)
    for name in POOLS:
        shutil.copytree(HERE / "functions" / name, folder / "functions" / name, ignore=compiled)
    (folder / "fleet.toml").write_text(_FLEET_FILE, encoding="utf-8")
    (ROOT / "build").mkdir(exist_ok=True)
    for name in (".fleet/emulator", "node_modules", "build", "client/emulator-requirements.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    return folder


def _pools_of_this_project() -> list[str]:
    pools = tomllib.loads((ROOT / "fleet.toml").read_text(encoding="utf-8"))["pools"]
    return [pool.replace("-", "_") for pool in pools]
