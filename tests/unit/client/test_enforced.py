"""How policies are fitted to an emulator that asks for more names than AWS."""

import json
from typing import Any

from client.enforced import is_alias, write_policy


class Iam:
    """Keeps the last policy that was put."""

    def __init__(self) -> None:
        self.statements: list[dict[str, Any]] = []

    def put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:  # noqa: N803 - boto3's names
        """As boto3's."""
        self.statements = json.loads(PolicyDocument)["Statement"]


def test_batch_calls_are_allowed_wherever_single_ones_are_and_nowhere_else() -> None:
    """On the same resources; without one where the emulator sees none."""
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": ["arn:q1", "arn:q2"]}
    insert = {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PartiQLInsert"], "Resource": "arn:t"}
    iam = Iam()

    write_policy(iam, "role", "policy", [send, insert])

    assert iam.statements[:2] == [send, insert]
    assert [(one["Action"], one["Resource"]) for one in iam.statements[2:]] == [
        ("sqs:SendMessageBatch", ["arn:q1", "arn:q2"]),
        ("dynamodb:BatchExecuteStatement", "*"),
    ]


def test_fitting_a_policy_twice_changes_nothing() -> None:
    """Its aliases are made anew each time."""
    iam = Iam()
    write_policy(iam, "role", "policy", [{"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": "arn:q"}])
    once = iam.statements

    write_policy(iam, "role", "policy", once)

    assert iam.statements == once


def test_who_may_answer_a_machine_may_answer_any_task_token() -> None:
    """The emulator asks for the action on no resource, for it does not see whose execution a token belongs to."""
    answer = {"Effect": "Allow", "Action": ["states:SendTaskSuccess"], "Resource": "arn:machine"}
    iam = Iam()

    write_policy(iam, "role", "policy", [answer])

    assert iam.statements[0] == answer
    assert [is_alias(one) for one in iam.statements] == [False, True]
    assert (iam.statements[1]["Action"], iam.statements[1]["Resource"]) == ("states:SendTaskSuccess", "*")
