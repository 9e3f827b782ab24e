"""Records of the work table's stream, read as changes. Only goals and results are asked for (see cdk/stacks/history.py)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agentfleet.adapters.work_table import GOAL
from agentfleet.domain import ids
from agentfleet.domain.history import ENDED, Change, digest
from agentfleet.domain.units import item_size, write_units

Record = Mapping[str, Any]
"""A record as Lambda hands it over (Lambda Developer Guide, 'Using AWS Lambda with Amazon DynamoDB': example event)."""

_EXPIRY: Final = "dynamodb.amazonaws.com"
"""Who deletes what has expired (DynamoDB Developer Guide, 'DynamoDB Streams and Time to Live')."""
_SHOWN: Final = 500
"""Characters of a failure's message that the history keeps."""


def read_change(record: Record) -> Change | None:
    """What a record says of a goal or a result; None for other items and for what expired.

    Raises KeyError or ValueError for a record that is not of the work table's form.
    """
    stream = record["dynamodb"]
    pk, sk = stream["Keys"]["pk"]["S"], stream["Keys"]["sk"]["S"]
    if (record.get("userIdentity") or {}).get("principalId") == _EXPIRY:
        return None
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
        at=datetime.fromtimestamp(float(stream["ApproximateCreationDateTime"]), UTC),
        subject="goal" if sk == GOAL else "compensation" if undone else "result",
        before=read(old, writes) if old else None,
        after=read(new, writes) if new else None,
    )


def _index_writes(old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    """Units of the indexes: `goals` holds the whole of a listed goal, `living` the keys of one that has not ended.

    A key that appears or goes costs a write, one that changes two (DynamoDB Developer Guide, 'Provisioned throughput
    considerations for global secondary indexes').
    """
    writes = 0
    if "listed" in old or "listed" in new:
        writes += int(write_units(max(item_size(old), item_size(new))))
    if ("living" in old) != ("living" in new):
        writes += 1
    return writes


def _no_writes(_old: Mapping[str, Any], _new: Mapping[str, Any]) -> int:
    """A result is in no index."""
    return 0


def _goal_facts(image: Mapping[str, Any], writes: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": image["state"]["S"], "digest": digest(image)[:32]}
    if "living" not in image:
        facts[ENDED] = True
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
