"""Sagas on Step Functions: an execution per goal and attempt, and answers that nobody may wait for any more."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from agentfleet.adapters.sagas import CAUSE_LIMIT, StepFunctionsAnswers, StepFunctionsSagas
from agentfleet.domain.errors import DeliveryFailed, FleetError
from agentfleet.domain.saga import SagaStatus

WAIT = '{"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": true}}}'


class Clients:
    """What the adapters need of the process's clients."""

    def __init__(self, machines: Any) -> None:
        self.machines = machines


class Machines:
    """A client whose every call is noted and may be refused."""

    def __init__(self, code: str | None = None) -> None:
        self.code = code
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(**arguments: Any) -> None:
            self.calls.append((name, arguments))
            if self.code:
                raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, name)

        return call


def test_a_saga_is_started_once_and_its_status_is_told() -> None:
    """Again under the same number changes nothing, also when it has ended; the next number is another one."""
    with mock_aws():
        machines = boto3.client("stepfunctions", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        arn = machines.create_state_machine(name="m", definition=WAIT, roleArn="arn:aws:iam::123456789012:role/r")
        sagas = StepFunctionsSagas(Clients(machines), arn["stateMachineArn"])  # type: ignore[arg-type]

        before = sagas.status("g1", 1)
        sagas.start("g1", 1)
        sagas.start("g1", 1)
        running = sagas.status("g1", 1)
        [execution] = machines.list_executions(stateMachineArn=arn["stateMachineArn"])["executions"]
        machines.stop_execution(executionArn=execution["executionArn"])
        sagas.start("g1", 1)

        assert (before, running, sagas.status("g1", 1), sagas.status("g1", 2)) == (
            None,
            SagaStatus.RUNNING,
            SagaStatus.ENDED,
            None,
        )
        assert execution["name"] == "g1-1"


def test_a_saga_that_can_not_be_started_says_so() -> None:
    """The caller's message comes again; a function that was not told of the machine is wrongly deployed."""
    with mock_aws():
        machines = boto3.client("stepfunctions", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        gone = StepFunctionsSagas(Clients(machines), "arn:aws:states:us-east-1:123456789012:stateMachine:gone")  # type: ignore[arg-type]

        with pytest.raises(DeliveryFailed, match="saga 1 of goal g1 could not be started"):
            gone.start("g1", 1)
        with pytest.raises(FleetError, match="SAGA_MACHINE is not set"):
            StepFunctionsSagas(Clients(machines), "").start("g1", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_nobody_waits_any_more_and_nothing_happens(code: str) -> None:
    """The saga asked again under another token, or has ended."""
    answers = StepFunctionsAnswers(Clients(Machines(code)))  # type: ignore[arg-type]

    answers.succeeded("t")
    answers.failed("t", "PermanentError", "why")

    assert answers.beat("t") is False


def test_an_answer_that_is_not_taken_is_given_again() -> None:
    """By the message, which comes again; long causes are cut."""
    refused, heard = Machines("ThrottlingException"), Machines()

    with pytest.raises(DeliveryFailed, match="could not be answered"):
        StepFunctionsAnswers(Clients(refused)).succeeded("t")  # type: ignore[arg-type]
    assert StepFunctionsAnswers(Clients(refused)).beat("t") is True  # type: ignore[arg-type]
    StepFunctionsAnswers(Clients(heard)).failed("t", "E", "x" * 100_000)  # type: ignore[arg-type]

    assert heard.calls == [("send_task_failure", {"taskToken": "t", "error": "E", "cause": "x" * CAUSE_LIMIT})]
