"""What the healer remembers, in the registry table.

Key rules (pk, sk):

    ROUNDS            HEALTH                ROUNDS
    INCIDENT, open    INCIDENT#open         goal
    INCIDENT, healed  INCIDENT#healed       <healed ISO>#goal
    LETTER            LETTER#pool           goal.unit, or a message id
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict
from pynamodb.attributes import TTLAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from agentfleet.adapters.dynamo import JsonAttribute, bind
from agentfleet.domain.dead_letters import Action, Cause, LetterRecord
from agentfleet.domain.healing import Incident, IncidentKind, Rounds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LIFETIME: Final = timedelta(days=30)
"""How long incidents and records of dead letters are kept after they last changed."""
_HEALTH: Final = "HEALTH"
_ROUNDS: Final = "ROUNDS"
_OPEN: Final = "INCIDENT#open"
_HEALED: Final = "INCIDENT#healed"
_MOMENTS: Final = frozenset({"began", "found", "repaired", "healed", "first_seen", "last_seen"})


class HealthItem(Model):
    """Rounds, an incident or a letter's record, as JSON."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    body = JsonAttribute()
    expires = TTLAttribute(null=True)


class DynamoHealth:
    """A HealthStore: `DynamoHealth(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._items = bind(HealthItem, table, dynamodb)

    def rounds(self) -> Rounds:
        """What the last run left; empty before the first."""
        try:
            body = self._items.get(_HEALTH, _ROUNDS, consistent_read=True).body
        except DoesNotExist:
            return Rounds()
        return Rounds({queue: datetime.fromisoformat(moment) for queue, moment in body["emptied"].items()}, body["cursor"])

    def keep_rounds(self, rounds: Rounds) -> None:
        """For the next run."""
        emptied = {queue: moment.isoformat() for queue, moment in rounds.emptied.items()}
        self._items(_HEALTH, _ROUNDS, body={"emptied": emptied, "cursor": rounds.cursor}).save()

    def open_incidents(self) -> dict[str, Incident]:
        """Incidents that are not healed, by goal, read consistently."""
        return {item.sk: _to_incident(item.body) for item in self._items.query(_OPEN, consistent_read=True)}

    def record(self, incident: Incident) -> None:
        """Store an incident as it is now: once it is healed it is not open any more."""
        body = _to_body(asdict(incident))
        if incident.healed is None:
            self._items(_OPEN, incident.goal_id, body=body, expires=incident.repaired + LIFETIME).save()
            return
        key = f"{incident.healed.isoformat(timespec='microseconds')}#{incident.goal_id}"
        with TransactWrite(connection=self._items._get_connection().connection) as transaction:
            transaction.save(self._items(_HEALED, key, body=body, expires=incident.healed + LIFETIME))
            transaction.delete(self._items(_OPEN, incident.goal_id))

    def healed(self, limit: int) -> Sequence[Incident]:
        """The incidents that were healed last, newest first."""
        return [_to_incident(item.body) for item in self._items.query(_HEALED, scan_index_forward=False, limit=limit)]

    def file_letter(self, record: LetterRecord) -> None:
        """Store, or replace, what became of a dead letter."""
        body = _to_body(asdict(record))
        self._items(f"LETTER#{record.pool}", record.key, body=body, expires=record.last_seen + LIFETIME).save()

    def letter(self, pool: str, key: str) -> LetterRecord | None:
        """What became of a task's dead letter before, read consistently."""
        try:
            return _to_record(self._items.get(f"LETTER#{pool}", key, consistent_read=True).body)
        except DoesNotExist:
            return None

    def letters(self, pool: str, limit: int) -> Sequence[LetterRecord]:
        """What became of a pool's dead letters, at most `limit` of those kept, last seen first."""
        found = [_to_record(item.body) for item in self._items.query(f"LETTER#{pool}")]
        return sorted(found, key=lambda record: (record.last_seen, record.key), reverse=True)[:limit]


def _to_body(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if name in _MOMENTS and value else value for name, value in fields.items()}


def _from_body(body: dict[str, Any]) -> dict[str, Any]:
    return {name: datetime.fromisoformat(value) if name in _MOMENTS and value else value for name, value in body.items()}


def _to_incident(body: dict[str, Any]) -> Incident:
    fields = _from_body(body)
    return Incident(**fields | {"kind": IncidentKind(fields["kind"])})


def _to_record(body: dict[str, Any]) -> LetterRecord:
    fields = _from_body(body)
    return LetterRecord(**fields | {"cause": Cause(fields["cause"]), "action": Action(fields["action"])})
