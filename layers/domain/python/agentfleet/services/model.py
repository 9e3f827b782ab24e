"""Ask language models: a chain of them per pool, with retries, breakers, a cache, and money set aside before each call.

    answer = await context.model.converse("What is a saga?")
    found = await context.model.structured(Invoice, text)

Calls of one environment run beside each other, each in a thread that waits: a batch of ten takes as long as its longest call.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from functools import cached_property
from typing import Final, TypeVar

from msgspec import Struct
from pydantic import BaseModel

from agentfleet.domain.breaker import BreakerPolicy
from agentfleet.domain.budget import BudgetExceeded
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import (
    GoalEnded,
    ModelBusy,
    ModelFailed,
    ModelInputTooLong,
    ModelRequestInvalid,
    ModelThrottled,
    ModelTimeout,
    ModelUnavailable,
    Postponed,
    RetryableError,
    Stopped,
)
from agentfleet.domain.model import Answer, Message, ModelRequest, Reply, Tool
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.model_use import ModelUse
from agentfleet.ports_model import FreeSpending, ModelPort, Purpose, Spending
from agentfleet.services.breaker import Guard
from agentfleet.services.cache import CacheManager, CachePolicy, Loaded
from agentfleet.services.capability import TaskContext
from agentfleet.services.model_stream import pump
from agentfleet.services.payment import Payment
from agentfleet.services.structured import Shape, Structured, ask_until_valid

T = TypeVar("T", bound=BaseModel)
V = TypeVar("V")

THREADS: Final = 64
"""Calls that one environment makes at once: a batch of ten messages, and a few calls beside each other in each."""
TRIES: Final = 2
"""Of one model before the next one is asked; the last of a chain gets one more."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
BUSY_DELAY: Final = 15.0
"""Seconds after which a task comes again that found every model throttled."""
KEPT: Final = timedelta(days=1)
"""How long an answer may answer equal requests."""
POLICY: Final = BreakerPolicy(failures=10, window=timedelta(seconds=20), recovery=timedelta(seconds=10))
"""Of a model's breaker, unless the pool says otherwise: a few refusals are how a quota feels, many are an outage."""

Prompt = str | Sequence[Message]


class Circumstances(Struct, frozen=True):
    """What the calls of one environment share beside the port."""

    pool: str
    choice: ModelChoice
    fraction: Callable[[], float]
    spending: Spending = FreeSpending()
    cache: CacheManager | None = None
    throttled: Callable[[str], None] | None = None
    """Told of every call that a model refused; the fleet manager halves a pool whose models do."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    used: Callable[[Purpose, ModelUse], None] | None = None
    """Told of every call that was made, and what it took."""


class Models:
    """The models of one environment: `Models(port, circumstances)`; calling it gives a task its view of them."""

    def __init__(self, port: ModelPort, circumstances: Circumstances) -> None:
        self.port = port
        self.given = circumstances

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Where calls wait."""
        return ThreadPoolExecutor(THREADS, thread_name_prefix="model")

    def __call__(self, context: TaskContext) -> "TaskModel":
        return TaskModel(self, context)


class TaskModel:
    """`context.model`: the pool's models for one task, within its time, on its account."""

    def __init__(self, models: Models, context: TaskContext) -> None:
        self._models = models
        self._given = models.given
        self._context = context

    @property
    def preferred(self) -> str:
        """The model that is asked first."""
        return self._given.choice.chain[0]

    async def converse(
        self,
        prompt: Prompt,
        *,
        system: str = "",
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
        max_tokens: int | None = None,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        cache: bool | None = None,
        cache_prompt: bool = False,
    ) -> Answer:
        """One turn: a text, or a conversation that ends with the user's turn.

        `cache`: may an equal request of this tenant be answered from the cache? By default at temperature 0 only.
        `cache_prompt`: many calls begin alike; let the server keep that part, where the model can.
        Raises ModelUnavailable, ModelRefused, ModelInputTooLong, ModelRequestInvalid (for good), ModelBusy (the task comes
        again later), ModelTimeout, ModelFailed (it is tried again); Stopped, GoalEnded for a task that may not go on.
        """
        request = self.request(prompt, system, tools, tool_choice, max_tokens, temperature, stop, cache_prompt)
        return await self.ask(request, cache=cache)

    async def structured(
        self,
        shape: type[T],
        prompt: Prompt,
        *,
        system: str = "",
        max_tokens: int | None = None,
        temperature: float | None = None,
        rounds: int = 3,
        cache: bool | None = None,
        cache_prompt: bool = False,
    ) -> Structured[T]:
        """A checked value of a pydantic model; what is wrong is told to the model, in at most `rounds` calls altogether.

        Calls that mend an answer let the server keep the prompt, whatever `cache_prompt` says of the first.
        Raises ModelAnswerInvalid saying what was still wrong, and what `converse` raises.
        """
        return await self.shaped(
            Shape.of(shape),
            prompt,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            rounds=rounds,
            cache=cache,
            cache_prompt=cache_prompt,
        )

    async def shaped(
        self,
        shape: Shape[V],
        prompt: Prompt,
        *,
        system: str = "",
        max_tokens: int | None = None,
        temperature: float | None = None,
        rounds: int = 3,
        cache: bool | None = None,
        cache_prompt: bool = False,
    ) -> Structured[V]:
        """`structured` for a shape that isn't a pydantic model: any JSON schema with a check."""
        request = self.request(prompt, system, (shape.tool,), shape.tool.name, max_tokens, temperature, (), cache_prompt)
        return await ask_until_valid(lambda one: self.ask(one, cache=cache), request, shape, rounds)

    async def stream(
        self,
        prompt: Prompt,
        *,
        system: str = "",
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
        max_tokens: int | None = None,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        cache_prompt: bool = False,
    ) -> AsyncGenerator[str | Answer, None]:
        """One turn whose words come as they are written; the last item is the whole Answer.

        What fails before the first word is tried again as in `converse`; what fails after it is raised. Never cached.
        """
        request = self.request(prompt, system, tools, tool_choice, max_tokens, temperature, stop, cache_prompt)
        failures: list[Exception] = []
        for number, model in enumerate(self._given.choice.chain):
            for attempt in range(self._tries(number)):
                begun = False
                try:
                    async with aclosing(self._paid_stream(model, request)) as pieces:
                        async for piece in pieces:
                            begun = True
                            yield piece
                except (ModelThrottled, ModelFailed) as error:
                    if begun:
                        raise
                    failures.append(error)
                    if not await self._may_try_again(number, attempt, error):
                        break
                except (ModelUnavailable, ModelInputTooLong, ModelTimeout, Postponed) as error:
                    if begun or isinstance(error, Stopped):
                        raise
                    failures.append(error)
                    break
                else:
                    return
        raise verdict(failures)

    def request(
        self,
        prompt: Prompt,
        system: str = "",
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
        max_tokens: int | None = None,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        cache_prompt: bool = False,
    ) -> ModelRequest:
        """A request with the pool's defaults. Raises ModelRequestInvalid naming what is wrong."""
        choice = self._given.choice
        try:
            return ModelRequest(
                messages=(Message.user(prompt),) if isinstance(prompt, str) else tuple(prompt),
                system=system,
                tools=tuple(tools),
                tool_choice=tool_choice,
                max_tokens=max_tokens or choice.max_tokens,
                temperature=choice.temperature if temperature is None else temperature,
                stop=tuple(stop),
                cache_prompt=cache_prompt,
            )
        except ValueError as error:
            raise ModelRequestInvalid(str(error)) from error

    async def ask(self, request: ModelRequest, *, cache: bool | None = None) -> Answer:
        """`converse` with a request in hand."""
        failures: list[Exception] = []
        for number, model in enumerate(self._given.choice.chain):
            try:
                return await self._recalled(number, model, request, request.temperature == 0 if cache is None else cache)
            except Stopped:
                raise
            except (ModelUnavailable, ModelInputTooLong, ModelThrottled, ModelTimeout, ModelFailed, Postponed) as error:
                failures.append(error)
        raise verdict(failures)

    async def _recalled(self, number: int, model: str, request: ModelRequest, may_cache: bool) -> Answer:
        cache = self._given.cache
        if cache is None or not may_cache:
            return await self._persist(number, model, request)

        async def load() -> Loaded:
            answer = await self._persist(number, model, request)
            return Loaded(answer.model_dump(mode="json"), lifetime=timedelta() if answer.is_truncated else None)

        policy = CachePolicy(lifetime=KEPT, patience=timedelta(seconds=self._context.remaining_seconds() / 4))
        key = hashlib.sha256(dumps([self._context.tenant, model, request.model_dump(mode="json")]).encode()).hexdigest()
        try:
            found = await cache.get_or_load_async(f"answers/{key}", load, policy)
        except (GoalEnded, BudgetExceeded):
            # It may be another goal of the tenant's that had asked for the same, and may not go on.
            return await self._persist(number, model, request)
        answer = Answer.model_validate(found.value)
        if found.source == "load":
            return answer
        return answer.model_copy(update={"source": found.source, "dollars": 0.0, "seconds": 0.0})

    async def _persist(self, number: int, model: str, request: ModelRequest) -> Answer:
        """Ask one model, again after a pause if it is throttled or failed."""
        attempt = 0
        while True:
            try:
                return await self._paid(model, request)
            except (ModelThrottled, ModelFailed) as error:
                if not await self._may_try_again(number, attempt, error):
                    raise
                attempt += 1

    def _tries(self, number: int) -> int:
        return TRIES + (number == len(self._given.choice.chain) - 1)

    async def _may_try_again(self, number: int, attempt: int, error: RetryableError) -> bool:
        """Pause, if there are tries and time left."""
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
        pause = error.delay if error.delay is not None else longest * (0.5 + self._given.fraction() / 2)
        if attempt + 1 >= self._tries(number) or pause + 1.0 > self._context.remaining_seconds():
            return False
        await self._given.pause(pause)
        return True

    async def _paid(self, model: str, request: ModelRequest) -> Answer:
        async with Payment(self._models, self._context, model, request) as payment:
            began = self._context.clock()
            timeout = payment.timeout
            async with self._guard(model):
                loop = asyncio.get_running_loop()
                call = loop.run_in_executor(self._models.threads, self._models.port.converse, model, request, timeout)
                try:
                    async with asyncio.timeout(timeout):
                        reply = await call
                except TimeoutError as error:
                    raise ModelTimeout(f"{model} did not answer within {timeout:g} s") from error
            return payment.made(reply, (self._context.clock() - began).total_seconds())

    async def _paid_stream(self, model: str, request: ModelRequest) -> AsyncGenerator[str | Answer, None]:
        async with Payment(self._models, self._context, model, request) as payment:
            began = self._context.clock()
            async with self._guard(model):
                reply = None
                async with aclosing(self._pieces(model, request, payment.timeout)) as pieces:
                    try:
                        async for piece in pieces:
                            if isinstance(piece, str):
                                yield piece
                            else:
                                reply = piece
                    except GeneratorExit:
                        return  # the reader has heard enough: no failure of the model's
                if reply is None:
                    raise ModelFailed(f"{model} ended its stream without saying how")
            yield payment.made(reply, (self._context.clock() - began).total_seconds())

    def _pieces(self, model: str, request: ModelRequest, timeout: float) -> AsyncGenerator[str | Reply, None]:
        return pump(self._models.threads, lambda: self._models.port.stream(model, request, timeout), timeout, model)

    def _guard(self, model: str) -> Guard:
        policy = None if "breaker" in self._context.settings else POLICY
        return self._context.breaker(f"model/{model}", policy=policy)


def verdict(failures: Sequence[Exception]) -> Exception:
    """What a whole chain's failures come to: worth waiting for, worth another try, or for good."""
    said = "; ".join(str(error) for error in failures)
    busy = [error for error in failures if isinstance(error, ModelThrottled | Postponed)]
    if busy:
        waits = [error.delay for error in busy if error.delay is not None]
        return ModelBusy(said, min(waits) if waits else BUSY_DELAY)
    if again := [error for error in failures if isinstance(error, RetryableError)]:
        return type(again[-1])(said)
    if any(isinstance(error, ModelInputTooLong) for error in failures):
        return ModelInputTooLong(said)
    return ModelUnavailable(said)
