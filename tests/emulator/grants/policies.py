"""The grants of every role as they are deployed, and how one is taken away."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from client.dropped import deployed_resources
from client.enforced import is_alias, write_policy
from client.local import LocalCloud
from tests.emulator.grants.hand import FLEET


@dataclass(frozen=True, slots=True)
class Grant:
    """One action that a statement of a role allows, on one kind of resource."""

    function: str
    """Or the state machine, or what else has the role; without the fleet's name."""
    role: str
    policy: str
    sid: str
    action: str
    resource: str = ""
    """Of statements on several prefixes of a bucket, the one; otherwise empty: all that the statement names."""

    def __str__(self) -> str:
        return f"{self.function}: {self.sid} {self.action}{' ' + self.resource if self.resource else ''}"


ROUTING: Final = ("accept-goals", "release-tasks", "compensate-goals")
"""Functions beside the pools that read their health and nothing else of the registry."""


@dataclass(frozen=True, slots=True)
class NotShown:
    """Grants that no check here can show to be needed, and why."""

    functions: tuple[str, ...]
    """Whose: names, `POOL` for every pool's, `*` for all."""
    sid: str
    action: str
    """And the prefix where there is one: `s3:PutObject plans`. Here and in a sid `*` ends a name."""
    reason: str
    but: tuple[str, ...] = ()
    """Functions that do show it."""

    def covers(self, grant: Grant, *, is_pool: bool) -> bool:
        """Is it about this grant?"""
        is_meant = bool({"*", grant.function, *((POOL,) if is_pool else ())}.intersection(self.functions))
        name = f"{grant.action} {grant.resource}".strip()
        return is_meant and grant.function not in self.but and _matches(self.sid, grant.sid) and _matches(self.action, name)


POOL: Final = "any pool"
_FAILS_OPEN: Final = "Caches fail open: nothing but the time it takes tells a read refused."
_AS_LAST_KNOWN: Final = "What can't be read of pools' health and of the kill switch is taken to be as last known."
_NO_MODEL: Final = "Money is set aside for calls of models, and the checks of this pool have none; the pool agents shows it."
_CONCURRENCY: Final = (
    "The emulator takes reading, setting and removing a concurrency for one action, so none is shown by itself."
)
_UNUSED: Final = (
    "The grant `memory` lets a pool do all that context.memory offers, of which its own capabilities don't use this."
)

NOT_SHOWN: Final[tuple[NotShown, ...]] = (
    NotShown(("*",), "*", "kms:*", "The emulator does not ask for a key's use when data that it encrypts is read or written."),
    NotShown(("*",), "", "logs:*", "The emulator writes functions' logs itself."),
    *(
        NotShown(("*",), sid, action, "The emulator's pollers do not act as the function's role.")
        for sid, action in (
            ("ConsumeQueues", "sqs:ReceiveMessage"),
            ("ConsumeQueues", "sqs:DeleteMessage"),
            ("ConsumeQueues", "sqs:GetQueueAttributes"),
            ("ReadStream", "dynamodb:*"),
            ("SendUnrecorded", "sqs:SendMessage"),
        )
    ),
    NotShown(("saga",), "*", "*", "The emulator does not act as a state machine's role."),
    NotShown(("serve-api", "manage-fleet"), "MoveConcurrency", "lambda:*", _CONCURRENCY),
    NotShown(("serve-api", "manage-fleet"), "MoveTriggers", "lambda:*", "The emulator lets anybody change a trigger."),
    NotShown((POOL, *ROUTING), "UseRegistryTable", "dynamodb:Query", _AS_LAST_KNOWN),
    NotShown((POOL,), "UseRegistryTable", "dynamodb:GetItem", "Breakers that can't be read are taken to be as last known."),
    NotShown((POOL,), "KeepBudgets", "dynamodb:UpdateItem", _NO_MODEL, but=("agents",)),
    NotShown(
        (POOL,),
        "WriteObjects",
        "s3:PutObject plans",
        "Any pool's capability may return a sub-plan too large for an item; the pool flow shows it.",
        but=("flow",),
    ),
    NotShown((POOL,), "AnswerSagas", "states:SendTaskHeartbeat", "It is sent once a compensation has taken a minute."),
    NotShown((POOL,), "ReadObjects", "s3:GetObject cache", _FAILS_OPEN),
    NotShown(("memory", "agents"), "UseMemoryTable", "dynamodb:BatchGetItem", _UNUSED),
    NotShown(("agents",), "UseMemoryTable", "dynamodb:DeleteItem", _UNUSED),
    NotShown(("memory",), "UseMemoryTable", "dynamodb:GetItem", _UNUSED),
    NotShown(
        ("memory", "agents", "remember-goals"),
        "UseMemoryTable",
        "dynamodb:BatchWriteItem",
        "It drops the 501st fact, the 201st episode, a long conversation's turns: shown by test_memory.py of the contracts.",
    ),
    NotShown(("plan",), "UseMemoryTable", "dynamodb:*", "A planner without examples and figures plans all the same."),
)
"""What no check on the emulator can show to be needed. A line that is about no grant any more fails the test."""


def why_not_shown(grant: Grant, *, is_pool: bool) -> NotShown | None:
    """The line that says why nothing here can need this grant; None if something must."""
    return next((line for line in NOT_SHOWN if line.covers(grant, is_pool=is_pool)), None)


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Policies:
    """The policies of all functions' roles: `Policies(cloud)`."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._iam = cloud.client("iam")
        self._lambda = cloud.client("lambda")
        self._colds = 0
        self._deployed: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        """Close connections."""
        self._iam.close()
        self._lambda.close()

    def owners(self) -> dict[str, str]:
        """Every role that the fleet has deployed → whose it is: a function's, a state machine's, or else its own name."""
        users: dict[str, str] = {}
        for page in self._lambda.get_paginator("list_functions").paginate():
            users |= {function["Role"].rpartition("/")[2]: function["FunctionName"] for function in page["Functions"]}
        with closing(self._cloud.client("stepfunctions")) as machines:
            for machine in machines.list_state_machines()["stateMachines"]:
                described = machines.describe_state_machine(stateMachineArn=machine["stateMachineArn"])
                users[described["roleArn"].rpartition("/")[2]] = machine["name"]
        with closing(self._cloud.client("cloudformation")) as cloudformation:
            resources = list(deployed_resources(self._cloud.assembly, cloudformation))
        roles = [name for kind, name, _ in resources if kind == "AWS::IAM::Role"]
        return {role: users.get(role, role).removeprefix(f"{FLEET}-") for role in roles}

    def grants(self) -> list[Grant]:
        """Every grant of every role of the fleet, in order."""
        return sorted((grant for role, owner in self.owners().items() for grant in self._of(owner, role)), key=str)

    def _of(self, owner: str, role: str) -> Iterator[Grant]:
        for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
            for statement in self._statements(role, policy):
                for action in _as_list(statement["Action"]):
                    prefixes = _prefixes(statement) or [""]
                    for prefix in prefixes:
                        yield Grant(owner, role, policy, statement.get("Sid", ""), action, prefix)

    def _statements(self, role: str, policy: str) -> list[dict[str, Any]]:
        document = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        found = (json.loads(document) if isinstance(document, str) else document)["Statement"]
        return [one for one in found if not is_alias(one)]

    @contextmanager
    def without(self, grant: Grant) -> Iterator[None]:
        """The role lacks this grant while the block runs."""
        before = self._statements(grant.role, grant.policy)
        after = [less for statement in before for less in _less(statement, grant)]
        assert after != before, grant
        write_policy(self._iam, grant.role, grant.policy, after)
        try:
            yield
        finally:
            write_policy(self._iam, grant.role, grant.policy, before)

    @contextmanager
    def still(self, machine: str) -> Iterator[None]:
        """The executions of a state machine end at once while the block runs: they would call functions at any time."""
        ends = {"StartAt": "End", "States": {"End": {"Type": "Pass", "End": True}}}
        with closing(self._cloud.client("stepfunctions")) as machines:
            found = machines.list_state_machines()["stateMachines"]
            [arn] = [one["stateMachineArn"] for one in found if one["name"] == f"{FLEET}-{machine}"]
            before = machines.describe_state_machine(stateMachineArn=arn)["definition"]
            machines.update_state_machine(stateMachineArn=arn, definition=json.dumps(ends))
            try:
                yield
            finally:
                machines.update_state_machine(stateMachineArn=arn, definition=before)

    def chill(self, function: str, environment: Mapping[str, str] | None = None, **settings: Any) -> None:
        """Let the next call of a function begin in a new process, which remembers nothing.

        `environment` and the pool's `settings` are added to what it has, until `thaw`.
        """
        self._colds += 1
        name = f"{FLEET}-{function}"
        variables = self._lambda.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        self._deployed.setdefault(name, dict(variables))
        if settings:
            variables["POOL_SETTINGS"] = json.dumps(json.loads(variables["POOL_SETTINGS"]) | settings)
        variables |= {"COLD": str(self._colds), **(environment or {})}
        self._lambda.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    def thaw(self) -> None:
        """Give every function that was chilled its environment back."""
        for name, variables in self._deployed.items():
            self._lambda.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def _less(statement: dict[str, Any], grant: Grant) -> Iterator[dict[str, Any]]:
    """What is left of a statement without the grant."""
    actions = _as_list(statement["Action"])
    if statement.get("Sid", "") != grant.sid or grant.action not in actions:
        yield statement
        return
    if rest := [action for action in actions if action != grant.action]:
        yield {**statement, "Action": rest}
    if grant.resource:
        kept = [arn for arn in _as_list(statement["Resource"]) if _prefix(arn) != grant.resource]
        if kept:
            sid = statement.get("Sid", "") + ("Rest" if rest else "")
            yield {**statement, "Sid": sid, "Action": grant.action, "Resource": kept}


def _prefixes(statement: dict[str, Any]) -> list[str]:
    return [_prefix(arn) for arn in _as_list(statement["Resource"]) if arn.startswith("arn:aws:s3:::") and arn.endswith("/*")]


def _prefix(arn: str) -> str:
    return arn.removesuffix("/*").rpartition("/")[2]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
