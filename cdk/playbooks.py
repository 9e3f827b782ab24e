"""Read the playbooks folder: TOML or YAML for people, one checked JSON file inside the domain layer for functions."""

import json
import tomllib
from pathlib import Path

import yaml

from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.playbook import Playbook, read_playbook
from cdk.errors import FleetError


def read_playbooks(root: Path) -> dict[str, Playbook]:
    """Name → playbook, for every file in `root`/playbooks.

    Raises FleetError for a file that is not valid, or whose name isn't that of its playbook.
    """
    found: dict[str, Playbook] = {}
    for path in sorted((root / "playbooks").glob("*.*")):
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".toml":
                body = tomllib.loads(text)
            elif path.suffix in {".yaml", ".yml"}:
                body = yaml.safe_load(text)
            else:
                continue
            playbook = read_playbook(body, f"playbooks/{path.name}")
        except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
            raise FleetError(f"playbooks/{path.name}: {error}") from error
        except InvalidRequest as error:
            raise FleetError(str(error)) from error
        if playbook.name != path.stem:
            raise FleetError(f"playbooks/{path.name}: name is {playbook.name!r}; it must be the file's name, {path.stem!r}")
        if playbook.name in found:
            raise FleetError(f"playbooks/{path.name}: there are two playbooks named {playbook.name!r}")
        found[playbook.name] = playbook
    return found


def playbooks_json(playbooks: dict[str, Playbook]) -> str:
    """The file that the domain layer carries: the same playbooks give the same text."""
    bodies = {name: playbook.model_dump(mode="json") for name, playbook in sorted(playbooks.items())}
    return json.dumps(bodies, sort_keys=True, ensure_ascii=False) + "\n"
