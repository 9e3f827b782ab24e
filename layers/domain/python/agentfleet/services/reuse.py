"""Answer a task with the result that an earlier one with the same input had."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import GoalEnded, PermanentError
from agentfleet.services.cache import CacheManager, CachePolicy, Loaded
from agentfleet.services.capability import Capability, SubPlan, TaskContext

LONGEST: Final = timedelta(days=7)
"""However long a capability says: the files that an output names must still be there."""


class ResultReuse:
    """Results of capabilities declared `cacheable`, kept for their tenant alone: `ResultReuse(cache)`.

    An output is kept as long as the capability's declaration or its `context.keep_for` says; a PermanentError half a minute,
    as the same input would raise it again; a sub-plan and whatever may be retried never.
    """

    def __init__(self, cache: CacheManager) -> None:
        self._cache = cache

    @property
    def counts(self) -> Mapping[str, int]:
        """Of the cache, since the start."""
        return self._cache.counts

    async def produce(self, capability: Capability, value: Any, context: TaskContext, run: Callable[[], Awaitable[Any]]) -> Any:
        """The plain JSON output, or SubPlan, of a checked input: a kept one, else that of `run`. Raises what `run` raises."""
        policy = CachePolicy(
            lifetime=min(capability.keep, LONGEST),
            lease=timedelta(seconds=capability.timeout),
            patience=timedelta(seconds=context.remaining_seconds() / 4),
        )

        async def load() -> Loaded:
            try:
                output = await run()
            except PermanentError as error:
                if type(error) is not PermanentError:
                    raise  # kept as text, it would come back as another type
                return Loaded(str(error), negative=True)
            if isinstance(output, SubPlan):
                return Loaded(output, lifetime=timedelta())
            lifetime = context.keeping.lifetime
            return Loaded(output, lifetime=None if lifetime is None else min(lifetime, LONGEST))

        try:
            found = await self._cache.get_or_load_async(key_of(capability, value, context), load, policy)
        except GoalEnded:
            # It may be another goal of the tenant's that wanted the same, and has ended.
            await asyncio.to_thread(context.raise_if_stopped)
            return await run()
        if found.negative:
            raise PermanentError(found.value)
        return found.value


def key_of(capability: Capability, value: Any, context: TaskContext) -> str:
    """Where a result is kept: everything that it may depend on, as a digest. Raises PermanentError for an input unlike JSON."""
    try:
        given = capability.canonical_input(value)
    except ValueError as error:
        raise PermanentError(f"input of {capability.name} can't be written as JSON, which cacheable=True needs") from error
    settings = sorted((name, dumps(setting)) for name, setting in context.settings.items())
    parts = dumps([capability.name, capability.version, context.tenant, settings, given])
    return f"results/{capability.name}/{hashlib.sha256(parts.encode()).hexdigest()}"
