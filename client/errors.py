"""What can go wrong for a caller of the SDK, each with a type of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentfleet.services.goal_views import GoalResult
    from agentfleet.services.views import ProblemView


class FleetClientError(Exception):
    """Base of every error that the SDK raises on purpose."""


class ConfigError(FleetClientError):
    """The client doesn't know which API to talk to or with which key; the message says what to set."""


class ApiUnreachable(FleetClientError):
    """No answer from the API, retries included."""


class WaitTimeout(FleetClientError, TimeoutError):
    """Something did not happen within the time that the caller gave it. It may still happen."""


class GoalFailed(FleetClientError):
    """A goal failed or was cancelled, and the caller asked for an exception then. `result` has the rest."""

    def __init__(self, result: "GoalResult") -> None:
        self.result = result
        why = f": {result.goal.failure.message}" if result.goal.failure else ""
        super().__init__(f"goal {result.goal.id} ({result.goal.name}) ended as {result.goal.state}{why}")


class FleetApiError(FleetClientError):
    """The API refused. `status` is HTTP's, `error` the API's stable word, `problems` what is wrong by field."""

    def __init__(self, status: int, error: str, message: str, problems: Sequence["ProblemView"] = ()) -> None:
        self.status = status
        self.error = error
        self.message = message
        self.problems = tuple(problems)
        super().__init__(message)

    @staticmethod
    def of(status: int, error: str, message: str, problems: Sequence["ProblemView"] = ()) -> "FleetApiError":
        """The most telling type for a status."""
        return _BY_STATUS.get(status, FleetApiError)(status, error, message, problems)


class InvalidRequestError(FleetApiError):
    """400, 413, 415, 422: what was sent can't be accepted; `problems` says why."""


class UnauthorizedError(FleetApiError):
    """401, 403: no key, not a valid one, or not for this tenant."""


class NotFoundError(FleetApiError):
    """404: there is no such thing, or it belongs to somebody else."""


class ConflictError(FleetApiError):
    """409: not in the state it is in, such as the result of a goal that still runs."""


_BY_STATUS: dict[int, type[FleetApiError]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
}
