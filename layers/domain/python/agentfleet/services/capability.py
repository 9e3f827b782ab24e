"""Capabilities: a user's function with its declaration, and what it gets to work with."""

import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_type_hints

from msgspec import Struct, field
from pydantic import BaseModel, TypeAdapter, ValidationError

from agentfleet.domain import ids
from agentfleet.domain.bounds import Bounds
from agentfleet.domain.breaker import BreakerPolicy
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import BadOutput, ModelUnavailable, PermanentError, RetryableError
from agentfleet.ports import BlobStore, Clock
from agentfleet.services.breaker import Breakers, Guard, LocalBreakers
from agentfleet.services.budget import TaskBudget

if TYPE_CHECKING:
    from agentfleet.ports_agents import JournalStore
    from agentfleet.services.journal import TaskJournal
    from agentfleet.services.memory import TaskMemory
    from agentfleet.services.model import TaskModel
    from agentfleet.services.task_tools import TaskTools

LINK_LIFETIME: Final = timedelta(hours=1)


class SubPlan(Struct, frozen=True):
    """Returned by a capability instead of an output: carry out these tasks; their output will be mine."""

    tasks: list[dict[str, Any]]
    output: Any = None
    budget: dict[str, Any] | None = None
    """`dollars`, `tokens`, `seconds`, `depth`: what it may use up, within all that the goal itself may."""
    bounds: Bounds | None = None
    """What its tasks may be and where their addresses may lead, within what holds for the goal itself."""


def blob_prefix(tenant: str, goal_id: str = "", task: str = "") -> str:
    """Where a tenant's, a goal's or a task's files lie in the fleet's bucket: the key up to and with the last slash."""
    return "/".join(part for part in ("blobs", tenant, goal_id, task) if part) + "/"


class TaskFiles(Struct, frozen=True):
    """The files of one task: what it puts lies under its own prefix, what it gets is its tenant's or lies elsewhere."""

    store: BlobStore
    tenant: str
    goal_id: str
    task: str

    def put(self, name: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store a file of this task; gives its `s3://` URI. The same name again replaces it."""
        return self.store.put(blob_prefix(self.tenant, self.goal_id, self.task) + name, body, content_type)

    def get(self, uri: str) -> bytes:
        """A file by its URI, of any task of this tenant or in another bucket that the pool's role may read.

        Raises NotFound, PermanentError for what belongs to another tenant.
        """
        key = self.store.key_of(uri)
        if key is not None and not key.startswith(blob_prefix(self.tenant)):
            raise PermanentError(f"{uri} is not a file of this tenant's tasks")
        return self.store.get(uri)


class Keeping(Struct):
    """How long a result may be kept, as the capability says while it runs (None: it says nothing)."""

    lifetime: timedelta | None = None


class Undoes(Struct, frozen=True):
    """What a compensation undoes."""

    task_id: str
    idempotency_key: str
    """The one that the task handed to its side effect."""
    attempted: bool
    """True: the task has no successful result, so it may have taken effect in full, in part or not at all. What the
    compensation's input refers to is null then; undoing nothing must succeed, and whatever arrives under the task's key
    after that must be refused."""


class TaskContext(Struct, frozen=True):
    """What a capability may know about the task that it carries out."""

    goal_id: str
    task_id: str
    tenant: str
    attempt: int
    """Counts from 1."""
    blobs: TaskFiles
    clock: Clock
    deadline: datetime
    fence: int | None = None
    """The claim's fencing token, for capabilities that are not idempotent: grows with every claim of this task."""
    settings: dict[str, Any] = field(default_factory=dict)
    """`[pools.<name>.settings]` of fleet.toml."""
    breakers: Breakers | None = None
    """What `breaker` gives guards of; None: this task has breakers of its own."""
    keeping: Keeping = field(default_factory=Keeping)
    budget: TaskBudget = field(default_factory=TaskBudget)
    """Set money, tokens or seconds aside before spending them: `with context.budget.reserve(dollars=0.05) as held: …`."""
    models: "Callable[[TaskContext], TaskModel] | None" = None
    """What `model` is made by; None: this pool, or this machine, has no models."""
    undoes: Undoes | None = None
    """For compensations: the task that is undone, which `task_id` names too."""
    memories: "Callable[[TaskContext], TaskMemory] | None" = None
    """What `memory` is made by; None: this pool has no grant for it."""
    bounds: Bounds | None = None
    """What the task may do, where an agent's model set it going."""
    journals: "JournalStore | None" = None
    """What `journal` is kept in; None: nowhere but in this task's own memory."""
    workshop: "Callable[[TaskContext], TaskTools] | None" = None
    """What `tools` is made by; None: there are no tools here."""
    stops: Callable[[], None] | None = None
    """What `raise_if_stopped` asks; None: nobody stops this task."""

    @property
    def has_memory(self) -> bool:
        """May this pool's agents remember?"""
        return self.memories is not None

    @property
    def memory(self) -> "TaskMemory":
        """What is remembered for this tenant: `context.memory.recall("…")`. Its calls block.

        Raises PermanentError if the pool has no grant for it; `has_memory` tells.
        """
        if self.memories is None:
            raise PermanentError('the pool has no grant memory: add "memory" to its grants in fleet.toml')
        return self.memories(self)

    @property
    def journal(self) -> "TaskJournal":
        """What this task writes down of what it has done, to go on from there when it is carried out again."""
        from agentfleet.services.journal import LocalJournals, TaskJournal  # noqa: PLC0415 - for those who keep one

        return TaskJournal(self.journals or LocalJournals(), self.goal_id, self.task_id, self.clock)

    @property
    def tools(self) -> "TaskTools":
        """What this task may call by name: the fleet's capabilities that `[pools.<name>] tools` lists, and a few more.

        Raises PermanentError where there are none: in compensations, and in calls within an agent.
        """
        if self.workshop is None:
            raise PermanentError(
                "there are no tools here: the pool needs [pools.<name>] tools in fleet.toml; compensations, and what an agent "
                "calls within its own invocation, have none"
            )
        return self.workshop(self)

    @property
    def model(self) -> "TaskModel":
        """The pool's language models, for coroutines: `await context.model.converse("…")`.

        Raises ModelUnavailable if there are none: go on without, where that makes sense.
        """
        if self.models is None:
            raise ModelUnavailable(
                "there is no model here: the pool needs [pools.<name>.model] in fleet.toml, "
                "and a local cloud needs `fleet up --model NAME`"
            )
        return self.models(self)

    @property
    def idempotency_key(self) -> str:
        """Hand this to the side effect: it is the same over every retry and redelivery of the task, or of its undoing."""
        return ids.task_key(self.goal_id, f"{self.task_id}/undo" if self.undoes else self.task_id)

    def remaining_seconds(self) -> float:
        """Until the task is timed out."""
        return max(0.0, (self.deadline - self.clock()).total_seconds())

    def call_timeout(self, at_most: float, reserve: float = 0.5) -> float:
        """Seconds that a call to the outside may take: never so long that less than `reserve` is left of the task's time.

        Raises RetryableError if there is no time left to call anything.
        """
        left = min(at_most, self.remaining_seconds() - reserve)
        if left <= 0:
            raise RetryableError("no time is left for another call")
        return left

    def raise_if_stopped(self) -> None:
        """Ask whether to go on, in long tasks, before what costs or takes effect; `model` and `tools` do. May read a table.

        Raises Stopped while somebody holds the kill switch (the task comes again later), GoalEnded for a goal that was
        cancelled or has failed: let them out of the capability.
        """
        if self.stops is not None:
            self.stops()

    def breaker(self, dependency: str, *, policy: BreakerPolicy | None = None, concurrency: int | None = None) -> Guard:
        """What to put around a call to something outside: `with context.breaker("crm"): …`, also `async with`, `call`.

        Calls to a dependency that fails too often are refused by CircuitOpen, calls beyond `concurrency` at once in this
        environment by BulkheadFull; let them out of the capability and the task comes again later without losing an attempt.
        `policy` is the pool's (`[pools.<name>.settings.breaker]`) unless given.
        """
        breakers = self.breakers or Breakers(LocalBreakers(), self.clock)
        return breakers.guard(dependency, policy, concurrency)

    def keep_for(self, seconds: float) -> None:
        """How long this task's result may answer other tasks (0: not at all). For capabilities declared `cacheable`."""
        self.keeping.lifetime = timedelta(seconds=max(0.0, seconds))


ModelSource = Callable[[TaskContext], "TaskModel"]
"""Gives a task its view of the pool's models."""
MemorySource = Callable[[TaskContext], "TaskMemory"]
"""Gives a task its view of what is remembered for its tenant."""

Function = Callable[..., Any]


class Capability:
    """A function that agents can be asked to carry out: its declaration, and its types as checks.

    Raises TypeError if the function's signature isn't `(input)` or `(input, context)` with annotated input.
    """

    def __init__(
        self,
        function: Function,
        name: str,
        *,
        idempotent: bool,
        timeout: float,
        chunk: int,
        cacheable: bool = False,
        keep: float = 3600.0,
        version: str = "",
        approval: Literal["required"] | None = None,
        undone_by: str | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.idempotent = idempotent
        self.timeout = timeout
        self.chunk = chunk
        self.cacheable = cacheable
        self.keep = timedelta(seconds=keep)
        self.approval = approval
        self.undone_by = undone_by
        self._version = version
        self.description = (inspect.getdoc(function) or "").partition("\n")[0]
        self.is_async = inspect.iscoroutinefunction(function)
        hints = get_type_hints(function)
        names = list(inspect.signature(function).parameters)
        if not names or names[1:] not in ([], ["context"]) or names[0] not in hints:
            raise TypeError(
                f"{name}: write it as (input: Model) or (input: Model, context: TaskContext), not ({', '.join(names)})"
            )
        self._takes_context = len(names) == 2
        self._input: TypeAdapter[Any] = TypeAdapter(hints[names[0]])
        self._output: TypeAdapter[Any] | None = TypeAdapter(hints["return"]) if _is_checked(hints.get("return")) else None

    @property
    def input_schema(self) -> dict[str, Any]:
        """The input's JSON schema."""
        return self._input.json_schema()

    @cached_property
    def version(self) -> str:
        """What changes when results made so far no longer hold: as declared, else a digest of the handler's file.

        Raises TypeError if the function comes from no file and no version is declared.
        """
        if self._version:
            return self._version
        file = inspect.getsourcefile(self.function)
        if file is None:
            raise TypeError(f"{self.name}: comes from no file, so cacheable=True needs version=…")
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]

    def canonical_input(self, value: Any) -> str:
        """A checked input as JSON, the same for equal inputs however they were written. Raises ValueError if it isn't JSON."""
        plain = self._input.dump_python(value, mode="json", by_alias=True)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def read_input(self, value: Any) -> Any:
        """The checked input. Raises PermanentError naming each wrong field."""
        try:
            return self._input.validate_python(value)
        except ValidationError as error:
            lines = "; ".join(
                f"{'.'.join(map(str, detail['loc'])) or 'input'}: {detail['msg']}"
                for detail in error.errors(include_url=False)[:5]
            )
            raise PermanentError(f"input of {self.name}: {lines}") from error

    def call(self, value: Any, context: TaskContext) -> Awaitable[Any] | Any:
        """Call the function with a checked input."""
        return self.function(value, context) if self._takes_context else self.function(value)

    def write_output(self, value: Any) -> Any:
        """The output as plain JSON data. Raises BadOutput if it isn't what the function promised, or isn't JSON."""
        try:
            if isinstance(value, BaseModel):
                plain = value.model_dump(mode="json")
            elif self._output is not None:
                plain = self._output.dump_python(self._output.validate_python(value), mode="json")
            else:
                plain = value
            dumps(plain)
        except (ValidationError, TypeError, ValueError) as error:
            raise BadOutput(f"output of {self.name} is not what it promised, or not JSON: {error}") from error
        return plain


def _is_checked(hint: Any) -> bool:
    """Outputs whose annotation says nothing, or that may be a sub-plan, are checked as JSON only."""
    return hint is not None and hint is not Any and hint is not SubPlan and SubPlan not in getattr(hint, "__args__", ())
