"""A pool's guardrails around every task: before it runs, and before its output counts."""

import json
import logging
from typing import Any, Final

from agentfleet.domain.guardrails import Check, Finding, Guardrails, GuardrailViolation, mask, scan
from agentfleet.services.capability import Capability, TaskContext

_log: Final = logging.getLogger(__name__)


class Guard:
    """Applies `[pools.<name>.guardrails]`."""

    def __init__(self, pool: str, rules: Guardrails) -> None:
        self._pool = pool
        self._rules = rules

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

    def _judge(self, context: TaskContext, found: list[Finding], blocked: list[Check]) -> None:
        if found:
            task = f"{context.goal_id}/{context.task_id}"
            _log.warning("guardrails of pool %s, task %s: %s", self._pool, task, "; ".join(map(str, found)))
        if stopped := [one for one in found if one.check in blocked]:
            raise GuardrailViolation(self._pool, stopped)
