"""The grants of every role as they are deployed, and how one is taken away."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from client.enforced import ALIASES, write_policy
from client.local import LocalCloud
from tests.emulator.grants.hand import FLEET

_ALIASES: Final = frozenset(ALIASES.values())


@dataclass(frozen=True, slots=True)
class Grant:
    """One action that a statement of a role allows, on one kind of resource."""

    function: str
    """Without the fleet's name."""
    role: str
    policy: str
    sid: str
    action: str
    resource: str = ""
    """Of statements on several prefixes of a bucket, the one; otherwise empty: all that the statement names."""

    def __str__(self) -> str:
        return f"{self.function}: {self.sid} {self.action}{' ' + self.resource if self.resource else ''}"


POOLS: Final = ("data", "web", "code", "report", "flow", "plan", "think", "knowledge", "memory")
ROUTING: Final = (*POOLS, "accept-goals", "release-tasks")
"""Functions that read the pools' health and nothing else of the registry by query."""

NOT_SHOWN: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("*", "*", "kms:*", "The emulator does not ask for a key's use when data that it encrypts is read or written."),
    ("*", "", "logs:*", "The emulator writes functions' logs itself."),
    ("*", "ConsumeQueues", "sqs:ReceiveMessage", "The emulator's pollers do not act as the function's role."),
    ("*", "ConsumeQueues", "sqs:DeleteMessage", "As above."),
    ("*", "ConsumeQueues", "sqs:GetQueueAttributes", "As above."),
    ("*", "UseRegistryTable", "dynamodb:GetItem", "Of agents: breakers that can't be read are taken to be as last known."),
    ("*", "KeepBudgets", "dynamodb:UpdateItem", "Of agents: none of the fleet's own capabilities spends money."),
    ("*", "WriteObjects", "s3:PutObject plans", "Of agents: any capability may return a sub-plan; shown by the pool flow."),
    ("manage-fleet", "MoveConcurrency", "lambda:PutFunctionConcurrency", "Pools whose triggers are off are left alone."),
    ("manage-fleet", "MoveConcurrency", "lambda:DeleteFunctionConcurrency", "As above; test_scaling.py has them on."),
    ("manage-fleet", "MoveTriggers", "lambda:UpdateEventSourceMapping", "As above."),
    (
        "*",
        "AnswerSagas",
        "states:*",
        "Only a goal that is undone needs it: test_sagas.py, which runs under enforcement, shows it.",
    ),
    *(
        (name, "UseRegistryTable", "dynamodb:Query", "Routing fails open: health that can't be read is as last known.")
        for name in ROUTING
    ),
    ("memory", "UseMemoryTable", "dynamodb:GetItem", "Its agents could converse; its capabilities don't."),
    ("memory", "UseMemoryTable", "dynamodb:BatchGetItem", "They could look at episodes, likewise."),
    ("memory", "UseMemoryTable", "dynamodb:BatchWriteItem", "The 501st fact drops one: test_memory.py of the contracts."),
    ("plan", "UseMemoryTable", "dynamodb:*", "A planner without examples and figures plans all the same."),
    ("remember-goals", "UseMemoryTable", "dynamodb:BatchWriteItem", "The 201st episode drops one: as above."),
    ("flow", "WriteObjects", "s3:PutObject blobs", "flow.record writes one: test_goals.py, under enforcement, shows it."),
    ("code", "WriteObjects", "s3:PutObject blobs", "code.package writes two: test_planning.py, under enforcement, shows it."),
    ("plan", "WriteObjects", "s3:PutObject blobs", "plan.make writes one: test_planning.py, under enforcement, shows it."),
    ("*", "StartSagas", "states:*", "As above."),
    ("*", "WatchSagas", "states:*", "As above."),
    ("*", "ApplyGuardrail", "bedrock:*", "The emulator has no guardrails."),
    ("*", "EmbedTexts", "bedrock:*", "The emulator embeds nothing: texts are embedded in the function."),
    ("plan", "ReadObjects", "s3:GetObject cache", "Caches fail open: nothing but the time it takes tells a read refused."),
    *(
        (name, "*", "bedrock:*", "Without a model the pool does without; test_model.py has one.")
        for name in ("think", "plan", "knowledge", "data")
    ),
    *(
        (name, sid, action, "Only answers of models are kept there; caches fail open.")
        for name in ("knowledge", "data")
        for sid, action in (("ReadObjects", "s3:GetObject cache"), ("WriteObjects", "s3:PutObject cache"))
    ),
    ("think", "ReadObjects", "s3:GetObject cache", "Caches fail open: nothing but the time it takes tells a read refused."),
    ("web", "ReadObjects", "s3:GetObject cache", "Caches fail open: nothing but the time it takes tells a read refused."),
)
"""Function, sid, action and prefix, reason: what no check on the emulator can show to be needed. `*` ends a name."""

SHOWN_BY: Final = {"dynamodb:GetItem": "", "dynamodb:UpdateItem": "", "s3:PutObject plans": "flow"}
"""Of what is said of agents, the pool that does show it."""


def why_not_shown(grant: Grant, *, is_agent: bool) -> str | None:
    """The reason why nothing here can need this grant; None if something must."""
    name = f"{grant.action} {grant.resource}".strip()
    for function, sid, action, reason in NOT_SHOWN:
        if not (_matches(function, grant.function) and _matches(sid, grant.sid) and _matches(action, name)):
            continue
        if action in SHOWN_BY and (not is_agent or grant.function == SHOWN_BY[action]):
            continue
        return reason
    return None


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Policies:
    """The policies of all functions' roles: `Policies(cloud)`."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._iam = cloud.client("iam")
        self._lambda = cloud.client("lambda")
        self._colds = 0

    def close(self) -> None:
        """Close connections."""
        self._iam.close()
        self._lambda.close()

    def grants(self) -> list[Grant]:
        """Every grant of every function of the fleet, in order."""
        found: list[Grant] = []
        for page in self._lambda.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                name = function["FunctionName"]
                if name.startswith(f"{FLEET}-"):
                    found += self._of(name.removeprefix(f"{FLEET}-"), function["Role"].rpartition("/")[2])
        return sorted(found, key=str)

    def _of(self, function: str, role: str) -> Iterator[Grant]:
        for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
            for statement in self._statements(role, policy):
                for action in _as_list(statement["Action"]):
                    if action in _ALIASES:
                        continue
                    prefixes = _prefixes(statement) or [""]
                    for prefix in prefixes:
                        yield Grant(function, role, policy, statement.get("Sid", ""), action, prefix)

    def _statements(self, role: str, policy: str) -> list[dict[str, Any]]:
        document = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        found = (json.loads(document) if isinstance(document, str) else document)["Statement"]
        return [one for one in found if not _ALIASES.issuperset(_as_list(one["Action"]))]

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

    def chill(self, function: str, **settings: Any) -> None:
        """Let the next call of a function begin in a new process, which remembers nothing."""
        self._colds += 1
        name = f"{FLEET}-{function}"
        variables = self._lambda.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        if settings:
            variables["POOL_SETTINGS"] = json.dumps(json.loads(variables["POOL_SETTINGS"]) | settings)
        variables["COLD"] = str(self._colds)
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
