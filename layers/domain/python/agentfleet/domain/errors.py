"""The errors that callers may catch. Each says what was wrong, where, and what is allowed."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import asdict


class FleetError(Exception):
    """Base of every error that the platform raises on purpose."""


class Problem(Struct, frozen=True):
    """One thing wrong with what was submitted."""

    field: str
    """Where: `tasks[load].input.rows.$from`, `playbook`, `priority`."""
    message: str
    """What is wrong with it and what is allowed."""

    def as_dict(self) -> dict[str, str]:
        """`{"field": …, "message": …}`, the shape of the API's error bodies."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InvalidRequest(FleetError):
    """What was submitted can't be accepted; nothing was stored. Holds every problem found, at most 50."""

    LIMIT = 50

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[: self.LIMIT])
        super().__init__("; ".join(str(problem) for problem in self.problems[:5]))

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidRequest":
        """An error with a single problem."""
        return cls([Problem(field, message)])


class IllegalTransition(FleetError):
    """A state machine was asked for a move that it does not have."""


class NotFound(FleetError):
    """No goal, task, agent, pool or fleet by that name."""


class Forbidden(FleetError):
    """Not for this caller, or not now; the message says why."""


class PermanentError(FleetError):
    """Raised by a capability: trying again can't help. The task fails at once."""


class ResultMissing(PermanentError):
    """What a task or a goal's output refers to should have a result by now and has none: going on would be without it."""

    def __init__(self, task: str) -> None:
        super().__init__(f"the result of {task}, which this refers to, is there no more: nothing can go on without it")


class BadOutput(PermanentError):
    """A capability's output is not what the capability promised, or not JSON: its own mistake, whatever it was asked for."""


class RetryableError(FleetError):
    """Raised by a capability: try again, after `delay` seconds if given, else by the retry policy."""

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class Postponed(RetryableError):
    """The task could not be tried at all: it comes again after `delay` seconds, and no attempt of it is used up."""

    def __init__(self, message: str, delay: float) -> None:
        super().__init__(message, delay)


class Waiting(Postponed):
    """The task waits for something that it has set going: it comes again after `delay` seconds, however often that is."""


class Held(Postponed):
    """Another agent holds the claim on the task: the message comes again when that can't be any more, however often that is."""


class Stopped(Postponed):
    """Somebody threw the kill switch: the task comes again, however often that is, and goes on once it is let."""


class GoalEnded(PermanentError):
    """The task's goal was cancelled or has failed meanwhile: nobody wants its result, so it ends without one."""


class CircuitOpen(Postponed):
    """A dependency has failed too often of late to be called now."""


class BulkheadFull(Postponed):
    """As many calls to a dependency are under way in this environment as may be."""


class CacheUnavailable(FleetError):
    """A tier of the cache did not answer, or answered with an error."""


class KnowledgeUnavailable(FleetError):
    """A part of what is known can't be asked now: an index that is being built, a store or a model that does not answer."""


class RegistryUnavailable(FleetError):
    """What an agent says of itself could not be stored."""


class DeliveryFailed(FleetError):
    """Some messages could not be handed to their queue. Raised after everything else in the batch was sent."""

    def __init__(self, message: str, refused: Iterable[int] | None = None) -> None:
        """`refused`: which of what was handed over, by its place, was not taken; None if nobody knows."""
        super().__init__(message)
        self.refused = None if refused is None else frozenset(refused)


class Unfinished(FleetError):
    """There was more to look through than time for it. What was done stays done; asking again goes on."""


class ModelUnavailable(PermanentError):
    """There is no model that this agent may use, here and now: go on without one, where that makes sense."""


class ModelRefused(PermanentError):
    """The model, its content filter or a guardrail did not let an answer through."""


class ModelInputTooLong(PermanentError):
    """The conversation is longer than the model's context."""


class ModelRequestInvalid(PermanentError):
    """The model's server does not take the request as it is."""


class ModelAnswerInvalid(PermanentError):
    """The model did not give what was asked for in the shape that was asked for, in all the rounds that it had."""


class ModelThrottled(RetryableError):
    """One call was refused because there are too many."""


class ModelTimeout(RetryableError):
    """One call took too long; whether it is billed is not known."""


class ModelFailed(RetryableError):
    """One call failed at the model or on the way; whether it is billed is not known."""


class ModelBusy(Postponed):
    """Every model that might answer has too much to do: the task comes again later and loses no attempt."""


def closest(name: str, known: Sequence[str]) -> str:
    """The end of an error message: what there is instead of `name`, the likeliest ones first."""
    from difflib import get_close_matches  # noqa: PLC0415 - 10 ms that only an error pays

    near = get_close_matches(name, known, n=3)
    return f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(sorted(known)[:20]) or 'none'}"
