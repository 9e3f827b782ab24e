"""The registry in DynamoDB: agents by pool, fleets by id and by tenant.

Key rules (pk, sk):

    AGENT          POOL#pool        AGENT#id
    FLEET          FLEET#id         FLEET
    FLEET, listed  TENANT#tenant    FLEET#<created ISO>#id    until the fleet is released
    FLEET, holds   POOL#pool        FLEET#<created ISO>#id    until the fleet is released, one per pool
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pynamodb.attributes import BooleanAttribute, NumberAttribute, TTLAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist, PutError
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from agentfleet.adapters.dynamo import JsonAttribute, MomentAttribute, bind
from agentfleet.domain.errors import RegistryUnavailable
from agentfleet.domain.fleet import LIFETIME, Agent, AgentState, Fleet

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FORGOTTEN_AFTER: Final = timedelta(hours=1)
"""How long after its lifetime an agent that says nothing stays in the table."""
RELEASED_KEPT: Final = timedelta(days=30)
"""How long a released fleet can still be asked for."""
_AGENT: Final = "AGENT#"
_FLEET: Final = "FLEET"


class AgentItem(Model):
    """An agent."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    id = UnicodeAttribute()
    pool = UnicodeAttribute()
    capabilities = JsonAttribute()
    state = UnicodeAttribute()
    started = MomentAttribute()
    seen = MomentAttribute()
    tasks = JsonAttribute(null=True)
    completed = NumberAttribute()
    endpoint = UnicodeAttribute(null=True)
    last = UnicodeAttribute(null=True)
    cache = JsonAttribute(null=True)
    expires = TTLAttribute()


class FleetItem(Model):
    """A fleet, once by id, once in its tenant's list and once under each of its pools."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    id = UnicodeAttribute()
    tenant = UnicodeAttribute()
    size = NumberAttribute()
    pools = JsonAttribute()
    before = JsonAttribute()
    created = MomentAttribute()
    released = MomentAttribute(null=True)
    by_operator = BooleanAttribute(null=True)
    expires = TTLAttribute(null=True)


class DynamoAgents:
    """An AgentStore: `DynamoAgents(dynamodb, table, threads)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, threads: Executor) -> None:
        self._items = bind(AgentItem, table, dynamodb)
        self._threads = threads

    def put(self, agent: Agent) -> None:
        """Store what an agent says of itself; it disappears an hour or more after its lifetime. Raises RegistryUnavailable."""
        item = self._items(
            _pool_key(agent.pool),
            _AGENT + agent.id,
            id=agent.id,
            pool=agent.pool,
            capabilities=agent.capabilities,
            state=agent.state.value,
            started=agent.started,
            seen=agent.seen,
            tasks=agent.tasks or None,
            completed=agent.completed,
            endpoint=agent.endpoint,
            last=agent.last,
            cache=dict(agent.cache) or None,
            expires=agent.seen + LIFETIME + FORGOTTEN_AFTER,
        )
        try:
            item.save()
        except PutError as error:
            raise RegistryUnavailable(f"the registry did not take the entry of {agent.id}: {error}") from error

    def list(self, pools: Iterable[str]) -> Sequence[Agent]:
        """The agents of these pools, living or not, by pool and id."""
        wanted = sorted(set(pools))
        return [agent for found in self._threads.map(self._of_pool, wanted) for agent in found]

    def _of_pool(self, pool: str) -> Sequence[Agent]:
        return [_to_agent(item) for item in self._items.query(_pool_key(pool), AgentItem.sk.startswith(_AGENT))]


class DynamoFleets:
    """A FleetStore: `DynamoFleets(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._items = bind(FleetItem, table, dynamodb)

    def put(self, fleet: Fleet) -> None:
        """Store a fleet as it is now; in its tenant's list and under its pools only while it is held."""
        places = [f"TENANT#{fleet.tenant}", *map(_pool_key, fleet.pools)]
        with TransactWrite(connection=self._items._get_connection().connection) as transaction:
            transaction.save(self._to_item(fleet, _fleet_key(fleet.id), _FLEET))
            for item in (self._to_item(fleet, place, _listed_key(fleet)) for place in places):
                if fleet.released is None:
                    transaction.save(item)
                else:
                    transaction.delete(item)

    def get(self, fleet_id: str) -> Fleet | None:
        """One fleet, read consistently."""
        try:
            return _to_fleet(self._items.get(_fleet_key(fleet_id), _FLEET, consistent_read=True))
        except DoesNotExist:
            return None

    def list(self, tenant: str) -> Sequence[Fleet]:
        """A tenant's fleets that have not been released, newest first."""
        return self._listed(f"TENANT#{tenant}")

    def holders(self, pool: str) -> Sequence[Fleet]:
        """The fleets that hold this pool, of whatever tenant, newest first, read consistently."""
        return self._listed(_pool_key(pool))

    def _listed(self, place: str) -> Sequence[Fleet]:
        found = self._items.query(place, FleetItem.sk.startswith(f"{_FLEET}#"), consistent_read=True, scan_index_forward=False)
        return [_to_fleet(item) for item in found]

    def _to_item(self, fleet: Fleet, pk: str, sk: str) -> FleetItem:
        return self._items(
            pk,
            sk,
            id=fleet.id,
            tenant=fleet.tenant,
            size=fleet.size,
            pools=fleet.pools,
            before=fleet.before,
            created=fleet.created,
            released=fleet.released,
            by_operator=fleet.by_operator or None,
            expires=fleet.released + RELEASED_KEPT if fleet.released else None,
        )


def _pool_key(pool: str) -> str:
    return f"POOL#{pool}"


def _fleet_key(fleet_id: str) -> str:
    return f"{_FLEET}#{fleet_id}"


def _listed_key(fleet: Fleet) -> str:
    return f"{_FLEET}#{fleet.created.isoformat(timespec='microseconds')}#{fleet.id}"


def _to_agent(item: AgentItem) -> Agent:
    return Agent(
        id=item.id,
        pool=item.pool,
        capabilities=tuple(item.capabilities),
        state=AgentState(item.state),
        started=item.started,
        seen=item.seen,
        tasks=tuple(item.tasks or ()),
        completed=int(item.completed),
        endpoint=item.endpoint,
        last=item.last,
        cache={name: int(count) for name, count in (item.cache or {}).items()},
    )


def _to_fleet(item: FleetItem) -> Fleet:
    return Fleet(
        id=item.id,
        tenant=item.tenant,
        size=int(item.size),
        pools=tuple(item.pools),
        before=item.before,
        created=item.created,
        released=item.released,
        by_operator=bool(item.by_operator),
    )
