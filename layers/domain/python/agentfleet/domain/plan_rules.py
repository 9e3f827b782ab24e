"""Planning without a model: the playbook whose words a goal shares, with what the goal says for certain as its parameters."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.playbook import Parameter, Playbook
from agentfleet.domain.ranking import bm25, words

LEAST_SHARED: Final = 2
LEAST_SHARE: Final = 0.25
"""Of the goal's own words: a playbook that has fewer in common with it is about something else."""
EVIDENCE: Final = 0.5
"""What a parameter that the goal gives adds to a score."""
_VAGUE: Final = frozenset(words("about all any both each every give need one please some tell want"))
_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|«([^»\n]+)»|(?<![\w'])'([^'\n]+)'(?![\w'])|`([^`\n]+)`")
_ADDRESS: Final = re.compile(r"\b(?:https?|s3)://[^\s\"'<>«»“”`]+")
_PATH: Final = re.compile(
    r"(?<![\w:/.])(?:[~.]{0,2}/[\w.@+-][\w.@/+-]*|[\w@+-][\w.@+-]*(?:/[\w.@+-]+)+|[\w@+-]+\.[A-Za-z]\w{0,7})(?![\w/])"
)
_NUMBER: Final = re.compile(r"(?<![\w.,/:-])-?\d+(?:\.\d+)?(?![\w/:-]|\.\d)")
_URL_LIKE: Final = frozenset({"url", "uri", "address", "link", "website", "site", "page"})
_PATH_LIKE: Final = frozenset({"path", "file", "folder", "directory", "repository", "repo"})
_GOAL_LIKE: Final = frozenset(
    {"question", "query", "goal", "topic", "task", "prompt", "request", "subject", "brief", "instruction"}
)


class Fit(Struct, frozen=True):
    """How a playbook fits a goal."""

    playbook: str
    score: float
    is_near: bool
    """Do they share enough words for it to be meant?"""
    parameters: Mapping[str, Any]
    missing: tuple[str, ...]
    """Required parameters that the goal does not say for certain."""


def ranked(goal: str, playbooks: Mapping[str, Playbook]) -> list[Fit]:
    """Every playbook that shares a word with the goal, the best first."""
    facts = Facts.of(goal)
    asked = [word for word in dict.fromkeys(words(facts.rest)) if word not in _VAGUE]
    texts = {name: _words_of(playbook) for name, playbook in playbooks.items()}
    found = []
    for name, score in bm25(asked, texts).items():
        shared = sum(word in texts[name] for word in asked)
        near = shared >= LEAST_SHARED and shared >= LEAST_SHARE * len(asked)
        parameters = fill(facts, playbooks[name].parameters)
        missing = [key for key, one in playbooks[name].parameters.items() if one.default is None and key not in parameters]
        found.append(Fit(name, score + EVIDENCE * len(parameters), near, parameters, tuple(missing)))
    return sorted(found, key=lambda fit: (-fit.score, fit.playbook))


def _words_of(playbook: Playbook) -> list[str]:
    parameters = [f"{name} {one.description}" for name, one in playbook.parameters.items()]
    return words(" ".join([playbook.name, playbook.name, playbook.description, *parameters]))


class Facts(Struct, frozen=True):
    """What a goal says outright."""

    goal: str
    quoted: tuple[str, ...]
    addresses: tuple[str, ...]
    paths: tuple[str, ...]
    numbers: tuple[float, ...]
    rest: str
    """The goal without what is quoted and without addresses."""

    @classmethod
    def of(cls, goal: str) -> "Facts":
        """Read a goal."""
        quoted = tuple(next(filter(None, found.groups())) for found in _QUOTED.finditer(goal))
        bare = _QUOTED.sub(" ", goal)
        addresses = tuple(_clean(one) for one in _ADDRESS.findall(goal))
        bare = _ADDRESS.sub(" ", bare)
        paths = tuple(dict.fromkeys(_clean(one) for one in _PATH.findall(bare)))
        numbers = tuple(float(one) if "." in one else int(one) for one in _NUMBER.findall(_PATH.sub(" ", bare)))
        return cls(goal, quoted, tuple(dict.fromkeys(addresses)), paths, numbers, bare)


def _clean(found: str) -> str:
    """Without the full stop of the sentence, or a bracket around it."""
    return found.rstrip(".,;:!?)]}")


def fill(facts: Facts, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The parameters that a goal gives for certain; what could be meant for two of them is meant for none."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        value = _named(facts.goal, name, parameter)
        if value is None:
            value = _by_kind(facts, name, parameter)
        if value is not None:
            found[name] = value
    left = [one for one in facts.quoted if not any(_holds(value, one) for value in found.values())]
    open_texts = [
        name for name, one in parameters.items() if name not in found and one.type == "string" and one.default is None
    ]
    open_lists = [name for name, one in parameters.items() if name not in found and one.type == "list"]
    if len(open_texts) == 1 and len(left) == 1:
        found[open_texts[0]] = left[0]
    elif not open_texts and len(open_lists) == 1 and left and not _is_like(open_lists[0], _URL_LIKE | _PATH_LIKE):
        found[open_lists[0]] = left
    open_numbers = [
        name
        for name, one in parameters.items()
        if name not in found and one.default is None and one.type in {"integer", "number"}
    ]
    if len(open_numbers) == 1 and len(facts.numbers) == 1:
        number = facts.numbers[0]
        if parameters[open_numbers[0]].type == "number" or isinstance(number, int):
            found[open_numbers[0]] = number
    return found


def _named(goal: str, name: str, parameter: Parameter) -> Any:
    """`name = value`, `name "value"`, `name: "value"`, and `name: value` where it is a number or a yes: else it is prose."""
    spoken = re.escape(name).replace("_", "[ _-]").replace(r"\-", "[ _-]")
    assigned = rf"(?<![\w-]){spoken}(?:\s*(?P<by>[:=])\s*|\s+(?=[\"“«'`]))(?={_QUOTED.pattern}|(?P<bare>[^\s\"“«'`,;]+))"
    for match in re.finditer(assigned, goal, re.IGNORECASE):
        said = match.groupdict()
        text = _clean(said["bare"]) if said["bare"] else next(filter(None, match.groups()[1:]))
        value = _typed(text, parameter)
        if value is not None and not (said["bare"] and said["by"] == ":" and isinstance(value, str)):
            return value
    return None


def _typed(text: str, parameter: Parameter) -> Any:
    match parameter.type:
        case "string":
            return text or None
        case "integer" if re.fullmatch(r"-?\d+", text):
            return int(text)
        case "number" if re.fullmatch(r"-?\d+(?:\.\d+)?", text):
            return float(text) if "." in text else int(text)
        case "boolean" if text.casefold() in {"true", "yes", "false", "no"}:
            return text.casefold() in {"true", "yes"}
    return None


def _by_kind(facts: Facts, name: str, parameter: Parameter) -> Any:
    """What only such a parameter can want: addresses, files, the goal itself."""
    if _is_like(name, _URL_LIKE):
        return _one_or_all(facts.addresses, parameter)
    if _is_like(name, _PATH_LIKE):
        return _one_or_all(facts.paths, parameter)
    if _is_like(name, _GOAL_LIKE):
        return _one_or_all((facts.goal,), parameter)
    return None


def _one_or_all(values: Sequence[str], parameter: Parameter) -> Any:
    if parameter.type == "list":
        return list(values) or None
    return values[0] if parameter.type == "string" and len(values) == 1 else None


def _is_like(name: str, kinds: frozenset[str]) -> bool:
    return any(part in kinds for part in words(name))


def _holds(value: Any, text: str) -> bool:
    return value == text or (isinstance(value, list) and text in value)


def nearest(fits: Iterable[Fit], most: int = 3) -> Iterator[str]:
    """Playbooks for an error message: what there is, and what each would have to be told."""
    for number, fit in enumerate(fits):
        if number == most:
            return
        yield f"{fit.playbook} (say its {', '.join(fit.missing)})" if fit.missing else fit.playbook
