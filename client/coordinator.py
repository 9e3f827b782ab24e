"""AgentCoordinator: a fleet of agents, goals distributed to it, results collected from it.

coordinator = AgentCoordinator(config)
fleet = await coordinator.spawn_fleet(size=10)
await coordinator.distribute_goal(goal, fleet)
results = await coordinator.collect_results()
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from agentfleet.services.fleet_views import FleetView
from agentfleet.services.goal_views import GoalResult, GoalView
from client.api import AsyncFleetClient
from client.config import ClientConfig
from client.errors import GoalFailed, WaitTimeout
from client.retries import rhythm
from client.sources import Source, to_request

T = TypeVar("T")

AT_ONCE: Final = 10
"""Requests under way at once while many goals are waited for."""
FLEET_SECONDS: Final = 180.0
"""How long a change of concurrency may take to hold; on AWS it is usually under a minute."""


class AgentFleet:
    """Pools sized for a purpose. As an async context manager it is released at the end."""

    def __init__(self, client: AsyncFleetClient, view: FleetView) -> None:
        self._client = client
        self._view = view

    @property
    def id(self) -> str:
        """Its id."""
        return self._view.id

    @property
    def size(self) -> int:
        """How many agents each of its pools may run at once."""
        return self._view.size

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools it holds."""
        return self._view.pools

    @property
    def is_released(self) -> bool:
        """Has it given its pools back?"""
        return self._view.released is not None

    def __repr__(self) -> str:
        return f"<AgentFleet {self.id}: {self.size} agents in each of {', '.join(self.pools)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    async def resize(self, size: int, *, timeout: float = FLEET_SECONDS) -> Self:
        """Another size for all its pools; returns when it holds. Raises InvalidRequestError, WaitTimeout."""
        self._view = await self._client.resize_fleet(self.id, size)
        await self.ready(timeout)
        return self

    async def ready(self, timeout: float = FLEET_SECONDS) -> None:
        """Wait until every pool has its size. Raises WaitTimeout after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for pause in rhythm():
            if self._view.ready:
                return
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"fleet {self.id} does not have its size after {timeout:g} s")
            await self._client.sleep(pause)
            self._view = await self._client.fleet(self.id)

    async def release(self) -> None:
        """Give the pools back what they had. Again changes nothing."""
        if not self.is_released:
            self._view = await self._client.release_fleet(self.id)


class AgentCoordinator:
    """Distributes goals and collects their results. As an async context manager it releases the fleets it spawned.

    `config` is None (FLEET_API_URL and FLEET_API_KEY, or the local cloud in .fleet/), a mapping of ClientConfig's fields,
    or a ClientConfig.
    """

    def __init__(
        self, config: ClientConfig | Mapping[str, Any] | None = None, *, client: AsyncFleetClient | None = None
    ) -> None:
        self.client = client or AsyncFleetClient(config)
        self._fleets: list[AgentFleet] = []
        self._goals: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for fleet in reversed(self._fleets):
                await fleet.release()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections. Fleets and goals go on."""
        await self.client.close()

    async def spawn_fleet(
        self, size: int, capabilities: Sequence[str] | None = None, *, timeout: float = FLEET_SECONDS
    ) -> AgentFleet:
        """Room for `size` agents in every pool that offers one of `capabilities` (all pools for None), once that holds.

        Raises InvalidRequestError naming a pool's limit; WaitTimeout after `timeout` seconds, with the fleet released.
        """
        fleet = AgentFleet(self.client, await self.client.spawn_fleet(size, capabilities))
        try:
            await fleet.ready(timeout)
        except BaseException:
            await fleet.release()
            raise
        self._fleets.append(fleet)
        return fleet

    async def distribute_goal(
        self,
        goal: Source,
        fleet: AgentFleet | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> GoalView:
        """Submit a goal: a mapping, a GoalRequest, a file's path, a playbook's name with `parameters`, or words.

        Its label `fleet` says which fleet it was meant for; a released one is refused with ValueError. Raises
        InvalidRequestError.
        """
        request = to_request(goal, parameters)
        if fleet is not None:
            if fleet.is_released:
                raise ValueError(f"fleet {fleet.id} was released; spawn another one")
            request["labels"] = {"fleet": fleet.id, **request.get("labels", {})}
        view = await self.client.submit(request, key=key)
        self._goals.append(view.id)
        return view

    async def submit(self, *, goal: str, fleet: AgentFleet | None = None, key: str | None = None, **options: Any) -> GoalView:
        """Submit what is wanted in words, for a planner to plan: `await coordinator.submit(goal="…", budget={"dollars": 1})`.

        `options` are further fields of a GoalRequest. Raises as `distribute_goal` does; `collect_results` collects it too.
        """
        return await self.distribute_goal({"goal": goal, **options}, fleet, key=key)

    async def collect_results(
        self,
        *,
        timeout: float | None = None,
        progress: Callable[[GoalView], None] | None = None,
        raise_on_failure: bool = False,
    ) -> list[GoalResult]:
        """The results of all goals distributed since the last collection, in that order, once all have ended.

        A goal that failed is a result whose goal says why; with `raise_on_failure` the first one raises GoalFailed. Raises
        WaitTimeout after `timeout` seconds: nothing is lost then, collect again. `progress` gets every goal that moved.
        """
        goals = list(self._goals)
        await self._all_ended(goals, timeout, progress)
        results = await _gather(self.client.result, goals)
        self._goals = self._goals[len(goals) :]
        if raise_on_failure:
            for result in results:
                if result.goal.state != "SUCCEEDED":
                    raise GoalFailed(result)
        return results

    async def _all_ended(
        self, goals: Iterable[str], timeout: float | None, progress: Callable[[GoalView], None] | None
    ) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = list(dict.fromkeys(goals))
        shown: dict[str, GoalView] = {}
        for pause in rhythm():
            for view in await _gather(self.client.goal, waiting):
                if progress and shown.get(view.id) != view:
                    progress(view)
                shown[view.id] = view
            waiting = [goal_id for goal_id in waiting if not shown[goal_id].state.is_at_rest]
            if not waiting:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{len(waiting)} goals have not ended after {timeout:g} s, such as {waiting[0]}; they go on")
            await self.client.sleep(pause)


async def _gather(read: Callable[[str], Awaitable[T]], ids: Sequence[str]) -> list[T]:
    """The answers in the order of the ids, a few requests at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(identity: str) -> T:
        async with gate:
            return await read(identity)

    return await asyncio.gather(*map(one, ids))
