"""Sagas on Step Functions: starting them, and answering them."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import DeliveryFailed, FleetError
from agentfleet.domain.saga import SagaStatus

if TYPE_CHECKING:
    from agentfleet.adapters.clients import Clients

ERROR_LIMIT: Final = 256
CAUSE_LIMIT: Final = 32_768
"""Characters (AWS Step Functions API Reference, SendTaskFailure)."""
_NOBODY_WAITS: Final = frozenset({"InvalidToken", "TaskDoesNotExist", "TaskTimedOut"})


class StepFunctionsSagas:
    """A Sagas: `StepFunctionsSagas(clients, machine_arn)`. An execution is named after its goal and attempt.

    The client is made when first needed: a cold start must not pay for what hardly any agent ever calls.
    """

    def __init__(self, clients: "Clients", machine_arn: str) -> None:
        self._clients = clients
        self._arn = machine_arn

    def start(self, goal_id: str, attempt: int) -> None:
        """Start the goal's saga of this number, unless it was started before. Raises DeliveryFailed, FleetError."""
        if not self._arn:
            raise FleetError("environment variable SAGA_MACHINE is not set, so this function can't start a saga")
        try:
            self._clients.machines.start_execution(
                stateMachineArn=self._arn,
                name=_name(goal_id, attempt),
                input=dumps({"goal": goal_id, "attempt": attempt}),
            )
        except self._clients.machines.exceptions.ExecutionAlreadyExists:
            return  # it ran and has ended
        except (BotoCoreError, ClientError) as error:
            raise DeliveryFailed(f"saga {attempt} of goal {goal_id} could not be started: {error}") from error

    def status(self, goal_id: str, attempt: int) -> SagaStatus | None:
        """None if it was never started."""
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{_name(goal_id, attempt)}"
        try:
            found = self._clients.machines.describe_execution(executionArn=arn)
        except self._clients.machines.exceptions.ExecutionDoesNotExist:
            return None
        return SagaStatus.RUNNING if found["status"] == "RUNNING" else SagaStatus.ENDED


class StepFunctionsAnswers:
    """An UndoAnswers by task token: `StepFunctionsAnswers(clients)`."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients

    def succeeded(self, token: str) -> None:
        """It is undone. Raises DeliveryFailed."""
        try:
            self._clients.machines.send_task_success(taskToken=token, output="{}")
        except (BotoCoreError, ClientError) as error:
            _raise_unless_nobody_waits(error)

    def failed(self, token: str, error: str, cause: str) -> None:
        """It could not be undone this time. Raises DeliveryFailed."""
        try:
            self._clients.machines.send_task_failure(taskToken=token, error=error[:ERROR_LIMIT], cause=cause[:CAUSE_LIMIT])
        except (BotoCoreError, ClientError) as raised:
            _raise_unless_nobody_waits(raised)

    def beat(self, token: str) -> bool:
        """Somebody is at it. False if nobody waits for that any more."""
        try:
            self._clients.machines.send_task_heartbeat(taskToken=token)
        except ClientError as error:
            return error.response["Error"]["Code"] not in _NOBODY_WAITS
        except BotoCoreError:
            return True  # the next beat is soon
        return True


def _name(goal_id: str, attempt: int) -> str:
    return f"{goal_id}-{attempt}"


def _raise_unless_nobody_waits(error: BotoCoreError | ClientError) -> None:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in _NOBODY_WAITS:
        return
    raise DeliveryFailed(f"the saga could not be answered: {error}") from error
