"""Goals as people have them: a mapping, a GoalRequest, a file, the name of a playbook, or what is wanted in words."""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agentfleet.domain.errors import InvalidRequest, Problem
from agentfleet.domain.task import GoalRequest
from client.errors import InvalidRequestError

Source = GoalRequest | Mapping[str, Any] | Path | str
SUFFIXES: Final = (".json", ".toml", ".yaml", ".yml")


def to_request(source: Source, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What to submit for a goal. A string of one word is a file if it ends like one, else the name of a playbook; of several
    words, it is what is wanted.

    `parameters` are the playbook's, on top of those the source brings. Raises InvalidRequestError for a file that can't be
    read.
    """
    match source:
        case GoalRequest():
            request = source.model_dump(mode="json", exclude_defaults=True)
        case Mapping():
            request = dict(source)
        case Path():
            request = read_goal(source)
        case _ if source.endswith(SUFFIXES) and (len(source.split()) == 1 or Path(source).is_file()):
            request = read_goal(Path(source))
        case _ if len(source.split()) > 1:
            request = {"goal": source}
        case _:
            request = {"playbook": source}
    if parameters:
        request["parameters"] = {**request.get("parameters", {}), **parameters}
    return request


def read_goal(path: Path) -> dict[str, Any]:
    """The goal in a JSON, TOML or YAML file; `-` is standard input. Raises InvalidRequestError saying what is wrong."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        goal = _parse(text, path.suffix.lower() if str(path) != "-" else "")
    except (OSError, ValueError) as error:
        raise _invalid(path, f"can't be read: {error}") from error
    if not isinstance(goal, dict):
        raise _invalid(path, f"must hold a goal with plan, playbook or goal, not {type(goal).__name__}")
    return goal


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix in {".yaml", ".yml"} or (not suffix and not text.lstrip().startswith("{")):
        import yaml  # noqa: PLC0415 - only for those who write YAML

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    return json.loads(text)


def _invalid(path: Path, message: str) -> InvalidRequestError:
    error = InvalidRequest([Problem(str(path), message)])
    from agentfleet.services.views import ErrorView  # noqa: PLC0415 - errors only

    shown = ErrorView.of("invalid_request", str(error), error.problems)
    return InvalidRequestError(422, shown.error, shown.message, shown.problems)
