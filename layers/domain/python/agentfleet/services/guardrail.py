"""A pool's guardrails around every task: before it runs, and before its output counts."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from agentfleet.domain.codec import dumps
from agentfleet.domain.guardrails import Finding, Guardrails, GuardrailViolation, mask, scan
from agentfleet.ports_governance import Moderator
from agentfleet.services.capability import Capability, TaskContext

_log: Final = logging.getLogger(__name__)


class Guard:
    """Applies `[pools.<name>.guardrails]`."""

    def __init__(self, pool: str, rules: Guardrails, moderator: Moderator | None = None) -> None:
        self._pool = pool
        self._rules = rules
        self._moderator = moderator

    def check_input(self, capability: Capability, context: TaskContext, value: Any) -> None:
        """Look at a checked input. Raises GuardrailViolation."""
        if self._rules.input:
            plain = json.loads(capability.canonical_input(value))
            found = scan(plain, self._rules.input, "input")
            self._judge(context, found, [check for check, action in self._rules.input.items() if action == "block"])

    def clean_output(self, context: TaskContext, output: Any) -> Any:
        """The output as it may leave the task (plain JSON). Raises GuardrailViolation."""
        if not self._rules.output:
            return output
        found = scan(output, self._rules.output, "output")
        if not found:
            return output
        self._judge(context, found, [check for check, action in self._rules.output.items() if action == "block"])
        return mask(output, [check for check, action in self._rules.output.items() if action == "mask"])

    def check_call(self, context: TaskContext, arguments: Mapping[str, Any]) -> None:
        """Look at what a tool is about to be given. Raises GuardrailViolation for what may not leave, masked or not."""
        if self._rules.tools:
            found = scan(dict(arguments), self._rules.tools, "arguments")
            self._judge(context, found, [check for check, action in self._rules.tools.items() if action != "note"])

    def clean_answer(self, context: TaskContext, answer: Any) -> Any:
        """What a tool gave (plain JSON) as an agent may read it. Raises GuardrailViolation."""
        found = scan(answer, self._rules.tools, "answer") if self._rules.tools else []
        if not found:
            return answer
        self._judge(context, found, [check for check, action in self._rules.tools.items() if action == "block"])
        return mask(answer, [check for check, action in self._rules.tools.items() if action == "mask"])

    async def moderate(
        self, capability: Capability, context: TaskContext, value: Any, side: Literal["input", "output"]
    ) -> None:
        """Let the moderating service, if there is one, judge a checked input or a plain output. Raises GuardrailViolation.

        A service that can't be asked fails the attempt: what nobody has judged does not pass.
        """
        if self._moderator:
            text = capability.canonical_input(value) if side == "input" else dumps(value)
            found = await asyncio.to_thread(self._moderator.judge, text, side)
            self._judge(context, found, ["bedrock"])

    def _judge(self, context: TaskContext, found: Sequence[Finding], blocked: Sequence[str]) -> None:
        if found:
            task = f"{context.goal_id}/{context.task_id}"
            _log.warning("guardrails of pool %s, task %s: %s", self._pool, task, "; ".join(map(str, found)))
        if stopped := [one for one in found if one.check in blocked]:
            raise GuardrailViolation(self._pool, stopped)
