"""ProcessingPipeline: stages with dependencies over one shared piece of work, level by level."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Self, TypeVar, cast

from msgspec import Struct

T = TypeVar("T")
Stage = Callable[[T], Awaitable[None] | None]


class _Step(Struct, Generic[T], frozen=True):
    name: str
    stage: Stage[T]
    after: tuple[str, ...]
    is_async: bool

    async def __call__(self, data: T, *, threaded: bool) -> None:
        if self.is_async:
            await cast("Awaitable[None]", self.stage(data))
        elif threaded:
            await asyncio.to_thread(self.stage, data)
        else:
            self.stage(data)


class ProcessingPipeline(Generic[T]):
    """Runs stages on one object; stages that wait for the same earlier ones run at the same time.

    A stage is a function or coroutine function of the data, which it may change; its return value isn't used. Where a
    level has several stages, plain functions run in threads. The first stage that raises ends the run: the others of its
    level are cancelled, and its error is raised as it is (several at once as an ExceptionGroup).
    """

    def __init__(self) -> None:
        self._steps: dict[str, _Step[T]] = {}
        self._levels: list[list[_Step[T]]] | None = None

    def add_stage(self, stage: Stage[T], *, name: str | None = None, after: Iterable[str] | None = None) -> Self:
        """Add a stage; without `after` it follows the one added before it, with `after=()` it waits for nothing.

        Raises ValueError if the name is taken or `after` names a stage not added yet (so a cycle can't be written).
        """
        name = name if name else str(getattr(stage, "__name__", stage))
        if name in self._steps:
            raise ValueError(f"the pipeline already has a stage {name!r}")
        previous = list(self._steps)[-1:]
        needed = tuple(previous if after is None else after)
        for other in needed:
            if other not in self._steps:
                raise ValueError(f"stage {name!r} waits for {other!r}, which was not added before it")
        self._steps[name] = _Step(name, stage, needed, inspect.iscoroutinefunction(stage))
        self._levels = None
        return self

    @property
    def levels(self) -> list[list[str]]:
        """The stages' names by level."""
        return [[step.name for step in level] for level in self._plan()]

    def _plan(self) -> list[list[_Step[T]]]:
        if self._levels is None:
            depth: dict[str, int] = {}
            levels: list[list[_Step[T]]] = []
            for step in self._steps.values():
                depth[step.name] = level = 1 + max((depth[name] for name in step.after), default=-1)
                if level == len(levels):
                    levels.append([])
                levels[level].append(step)
            self._levels = levels
        return self._levels

    async def execute(self, data: T) -> T:
        """Run every stage on `data` and give it back."""
        for level in self._plan():
            if len(level) == 1:
                await level[0](data, threaded=False)
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    for step in level:
                        group.create_task(step(data, threaded=True), name=step.name)
            except BaseExceptionGroup as errors:
                if len(errors.exceptions) == 1:
                    raise errors.exceptions[0] from None
                raise
        return data
