"""The clients' calls about budgets, approvals and the kill switch."""

from agentfleet.domain.kill import Kind
from agentfleet.services import audit_views
from agentfleet.services import governance_views as views
from client import calls
from client.connection import AsyncConnection, Connection


class Governing(Connection):
    """What FleetClient can do to hold a fleet within bounds."""

    def budget(self, goal_id: str | None = None) -> views.BudgetView:
        """What a goal may spend and has spent; without a goal, your day."""
        return self.run(calls.get_budget(goal_id))

    def add_to_budget(self, goal_id: str, dollars: float = 0.0, tokens: int = 0, seconds: float = 0.0) -> views.BudgetView:
        """Let a goal spend more. Sent once: after ApiUnreachable look at the budget before adding again."""
        return self.run(calls.add_to_budget(goal_id, dollars, tokens, seconds))

    def approvals(self, limit: int | None = None, cursor: str | None = None) -> views.ApprovalPage:
        """Tasks that wait for approval, oldest first."""
        return self.run(calls.list_approvals(limit, cursor))

    def approve(self, ref: str, note: str | None = None) -> views.ApprovalView:
        """Let a task (`goal.task`) run. Raises ConflictError if it was rejected."""
        return self.run(calls.approve(ref, note))

    def reject(self, ref: str, reason: str) -> views.ApprovalView:
        """Let a task (`goal.task`) fail instead. Raises ConflictError if it was approved."""
        return self.run(calls.reject(ref, reason))

    def kills(self) -> views.KillList:
        """What is stopped, as far as it concerns you."""
        return self.run(calls.list_kills())

    def kill(self, kind: Kind, name: str = "", *, reason: str) -> views.KillView:
        """Stop everything (`all`), a pool or a tenant. For operators."""
        return self.run(calls.kill(kind, name, reason))

    def unkill(self, kind: Kind, name: str = "") -> views.KillView:
        """Let it go on. For operators; raises NotFoundError if it isn't stopped."""
        return self.run(calls.unkill(kind, name))

    def kill_history(self, week: str | None = None) -> audit_views.KillHistory:
        """What was stopped and lifted in a week (`2026-W47`; without it in this one). For operators."""
        return self.run(calls.get_kill_history(week))


class AsyncGoverning(AsyncConnection):
    """What AsyncFleetClient can do to hold a fleet within bounds."""

    async def budget(self, goal_id: str | None = None) -> views.BudgetView:
        """What a goal may spend and has spent; without a goal, your day."""
        return await self.run(calls.get_budget(goal_id))

    async def add_to_budget(
        self, goal_id: str, dollars: float = 0.0, tokens: int = 0, seconds: float = 0.0
    ) -> views.BudgetView:
        """Let a goal spend more. Sent once: after ApiUnreachable look at the budget before adding again."""
        return await self.run(calls.add_to_budget(goal_id, dollars, tokens, seconds))

    async def approvals(self, limit: int | None = None, cursor: str | None = None) -> views.ApprovalPage:
        """Tasks that wait for approval, oldest first."""
        return await self.run(calls.list_approvals(limit, cursor))

    async def approve(self, ref: str, note: str | None = None) -> views.ApprovalView:
        """Let a task (`goal.task`) run. Raises ConflictError if it was rejected."""
        return await self.run(calls.approve(ref, note))

    async def reject(self, ref: str, reason: str) -> views.ApprovalView:
        """Let a task (`goal.task`) fail instead. Raises ConflictError if it was approved."""
        return await self.run(calls.reject(ref, reason))

    async def kills(self) -> views.KillList:
        """What is stopped, as far as it concerns you."""
        return await self.run(calls.list_kills())

    async def kill(self, kind: Kind, name: str = "", *, reason: str) -> views.KillView:
        """Stop everything (`all`), a pool or a tenant. For operators."""
        return await self.run(calls.kill(kind, name, reason))

    async def unkill(self, kind: Kind, name: str = "") -> views.KillView:
        """Let it go on. For operators; raises NotFoundError if it isn't stopped."""
        return await self.run(calls.unkill(kind, name))

    async def kill_history(self, week: str | None = None) -> audit_views.KillHistory:
        """What was stopped and lifted in a week (`2026-W47`; without it in this one). For operators."""
        return await self.run(calls.get_kill_history(week))
