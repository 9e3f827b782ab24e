"""Money for one call of a language model: set aside before it, settled after it, whatever becomes of it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from agentfleet.domain.budget import Spend
from agentfleet.domain.errors import (
    ModelFailed,
    ModelInputTooLong,
    ModelRefused,
    ModelRequestInvalid,
    ModelThrottled,
    ModelUnavailable,
    Postponed,
)
from agentfleet.domain.model import NOTHING, Answer, Cost, ModelRequest, Reply, StopReason
from agentfleet.domain.model_prices import price_of
from agentfleet.domain.model_use import ModelUse
from agentfleet.ports_model import FreeSpending, Purpose
from agentfleet.services.capability import TaskContext

if TYPE_CHECKING:
    from agentfleet.services.model import Models

V = TypeVar("V")


class Payment:
    """Money for one call: set aside on entry, settled on exit in whatever way the call ended."""

    def __init__(self, models: "Models", context: TaskContext, model: str, request: ModelRequest) -> None:
        self._models = models
        self._context = context
        self._given = models.given
        self._model = model
        self._request = request
        self._purpose = Purpose(context.tenant, context.goal_id, context.task_id, self._given.pool, model)
        self.timeout = context.call_timeout(self._given.choice.timeout)
        self._spent: Cost | None = None
        self._most = NOTHING
        self._use: ModelUse | None = None
        self._reservation = ""

    async def __aenter__(self) -> "Payment":
        price = self._given.choice.price_of(self._model)
        if self._context.stops is not None:
            await asyncio.get_running_loop().run_in_executor(self._models.threads, self._context.raise_if_stopped)
        assert price is not None  # noqa: S101 - ModelChoice takes no chain with an unknown price
        self._most = price.at_most(self._request, self.timeout)
        self._reservation = await self._threaded(self._given.spending.reserve, self._purpose, self._most)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ModelThrottled) and self._given.throttled:
            self._given.throttled(self._model)
        if isinstance(error, ModelThrottled | ModelUnavailable | ModelInputTooLong | ModelRequestInvalid | Postponed):
            self._spent = NOTHING  # refused before it began
        await asyncio.shield(self._threaded(self._given.spending.settle, self._reservation, self._spent))
        if self._given.used and self._spent is not NOTHING:
            most = Spend.of(self._most.dollars).nanodollars
            use = self._use or ModelUse(self._model, calls=1, unknown=1, nanodollars=most)
            await asyncio.shield(self._threaded(self._given.used, self._purpose, use))

    def made(self, reply: Reply, seconds: float) -> Answer:
        """The answer with its price. Raises ModelRefused, ModelFailed for a reply that holds none; those are paid too."""
        answered = reply.served or self._model
        price = (price_of(reply.served) if reply.served else None) or self._given.choice.price_of(self._model)
        dollars = price.dollars(reply.usage) if price else 0.0
        self._spent = Cost(dollars=dollars, tokens=reply.usage.total, seconds=seconds)
        usage = reply.usage
        self._use = ModelUse(
            model=answered,
            calls=1,
            input=usage.input,
            output=usage.output,
            cache_read=usage.cache_read,
            cache_write=usage.cache_write,
            nanodollars=Spend.of(dollars).nanodollars,
        )
        if reply.stop is StopReason.REFUSED:
            raise ModelRefused(f"{answered} gave no answer: it, its filter or a guardrail refused{_words(reply)}")
        if reply.stop is StopReason.MALFORMED:
            raise ModelFailed(f"{answered} wrote something that its server could not read")
        return Answer(**reply.model_dump(), model=answered, dollars=dollars, seconds=seconds)

    async def _threaded(self, function: Callable[..., V], *arguments: Any) -> V:
        if isinstance(self._given.spending, FreeSpending):
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._models.threads, function, *arguments)


def _words(reply: Reply) -> str:
    return f": {reply.text[:200]!r}" if reply.text else ""
