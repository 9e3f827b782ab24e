"""Records of streams, read as changes: goals and results from the work table's, requests and kills from the registry's.

Nothing else is asked for (see cdk/stacks/history.py).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agentfleet.adapters.work_table import GOAL
from agentfleet.domain import ids
from agentfleet.domain.history import ENDED, PENDING, Change, digest, kills_chain
from agentfleet.domain.units import item_size, write_units

Record = Mapping[str, Any]
"""A record as Lambda hands it over (Lambda Developer Guide, 'Using AWS Lambda with Amazon DynamoDB': example event)."""

_EXPIRY: Final = "dynamodb.amazonaws.com"
"""Who deletes what has expired (DynamoDB Developer Guide, 'DynamoDB Streams and Time to Live')."""
_SHOWN: Final = 500
"""Characters of a failure's message, or of what people and rules say of a request, that the history keeps."""
_REQUESTS: Final = "APPROVAL#"
"""What the keys of requests begin with (see adapters/approvals.py); no goal's id does."""
_KILL: Final = "KILL"
"""The key of all kills (see adapters/kills.py)."""
_PASSING: Final = frozenset({"paused", "resumed", "undoing", "expires", "write"})
"""What pausing, resuming and undoing change in a goal that stays in its state."""
_DECISION: Final = frozenset({"decision", "decided", "who", "note", "expires"})
"""What deciding changes in a request."""
_REQUEST_WRITES: Final = 4
"""Times its size: asking and deciding write the request and its copy in the tenant's list, in one transaction."""


def read_change(record: Record) -> Change | None:
    """What a record says of a goal, a result, a request or a kill; None for the rest, and for most of what expired.

    Raises KeyError or ValueError for a record that is not of its table's form.
    """
    stream = record["dynamodb"]
    pk, sk = stream["Keys"]["pk"]["S"], stream["Keys"]["sk"]["S"]
    expired = (record.get("userIdentity") or {}).get("principalId") == _EXPIRY
    if pk.startswith(_REQUESTS):
        return _read_request(stream, pk.removeprefix(_REQUESTS), int(sk), expired=expired)
    if expired:
        return None
    if pk == _KILL:
        return _read_kill(stream, sk)
    if sk != GOAL and not sk.startswith("R"):
        return None
    read = _goal_facts if sk == GOAL else _result_facts
    indexes = _index_writes if sk == GOAL else _no_writes
    kept_under, _, shard = pk.partition("#")
    undone = ids.undone_goal(kept_under)
    old, new = stream.get("OldImage"), stream.get("NewImage")
    writes = int(write_units(max(item_size(image) for image in (old, new) if image))) + indexes(old or {}, new or {})
    return Change(
        goal_id=undone or kept_under,
        part=f"undo#{shard}" if undone else shard,
        sequence=int(stream["SequenceNumber"]),
        at=_made(stream),
        subject="goal" if sk == GOAL else "compensation" if undone else "result",
        before=read(old, writes) if old else None,
        after=read(new, writes) if new else None,
    )


def _made(stream: Record) -> datetime:
    return datetime.fromtimestamp(float(stream["ApproximateCreationDateTime"]), UTC)


def _read_request(stream: Record, goal_id: str, unit: int, *, expired: bool) -> Change | None:
    """A request is a part of its own: sequence numbers of two tables' streams can't be compared."""
    old, new = (_request_facts(image, unit) if (image := stream.get(name)) else None for name in ("OldImage", "NewImage"))
    if expired and old and old["decision"] != PENDING:
        return None
    sequence = int(stream["SequenceNumber"])
    return Change(goal_id, "approval", sequence, _made(stream), "approval", old, new, expired)


def _request_facts(image: Mapping[str, Any], unit: int) -> dict[str, Any]:
    """All of it may have been changed by hand, so nothing need be there. The input is told by its digest alone."""

    def said(name: str) -> str | None:
        return image[name].get("S") if name in image else None

    facts: dict[str, Any] = {"unit": unit, "decision": said("decision")}
    for fact, name in (("capability", "capability"), ("why", "why"), ("by", "who"), ("note", "note")):
        if (text := said(name)) is not None:
            facts[fact] = text[:_SHOWN]
            if len(text) > _SHOWN:
                facts[f"{fact}_digest"] = digest(text)
    facts["request"] = digest({name: value for name, value in image.items() if name not in _DECISION})[:32]
    facts["digest"] = digest(image)[:32]
    facts["writes"] = _REQUEST_WRITES * int(write_units(item_size(image)))
    return facts


def _read_kill(stream: Record, scope: str) -> Change:
    at = _made(stream)
    old, new = (_kill_facts(image, scope) if (image := stream.get(name)) else None for name in ("OldImage", "NewImage"))
    return Change(kills_chain(at), "kill", int(stream["SequenceNumber"]), at, "kill", old, new)


def _kill_facts(image: Mapping[str, Any], scope: str) -> dict[str, Any]:
    kind, _, name = scope.partition("#")
    facts: dict[str, Any] = {"scope": kind, "name": name} if name else {"scope": kind}
    for fact, place in (("reason", "reason"), ("by", "who"), ("lifted_by", "lifted_by")):
        if place in image:
            facts[fact] = image[place]["S"][:_SHOWN]
    for moment in ("since", "lifted"):
        if moment in image:
            facts[moment] = int(image[moment]["N"])
    facts["digest"] = digest(image)[:32]
    return facts


def _index_writes(old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    """Units of the indexes: `goals` holds the whole of a listed goal, `living` the keys of one that has not ended.

    A key that appears or goes costs a write, one that changes two (DynamoDB Developer Guide, 'Provisioned throughput
    considerations for global secondary indexes').
    """
    writes = 0
    if "listed" in old or "listed" in new:
        writes += int(write_units(max(item_size(old), item_size(new))))
    places = [(image.get("living"), image.get("living_order")) for image in (old, new)]
    if places[0] != places[1]:
        writes += sum(None not in place for place in places)
    return writes


def _no_writes(_old: Mapping[str, Any], _new: Mapping[str, Any]) -> int:
    """A result is in no index."""
    return 0


def _goal_facts(image: Mapping[str, Any], writes: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": image["state"]["S"], "digest": digest(image)[:32]}
    facts["rest"] = digest({name: value for name, value in image.items() if name not in _PASSING})[:32]
    if "living" not in image:
        facts[ENDED] = True
    if "paused" in image:
        facts["paused"] = True
    if undoing := image.get("undoing"):
        facts["attempt"] = json.loads(undoing["S"])["attempt"]
    if failure := image.get("failure"):
        facts["failure"] = failure["S"][:_SHOWN]
    facts["writes"] = writes
    return facts


def _result_facts(image: Mapping[str, Any], writes: int) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "unit": int(image["sk"]["S"][1:]),
        "states": image["s"]["S"] if "s" in image else "S",
        "agent": image["a"]["S"],
        "started": int(image["t"]["N"]),
        "seconds": float(image["d"]["N"]),
        "digest": digest(image)[:32],
        "writes": writes,
    }
    if "n" in image:
        facts["attempt"] = int(image["n"]["N"])
    if "f" in image:
        facts["origin"] = image["f"]["S"]
    if "p" in image:
        facts["filed"] = True
    if "e" in image:
        facts["failures"] = image["e"]["S"][:_SHOWN]
    return facts
