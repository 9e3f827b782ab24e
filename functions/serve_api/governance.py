"""Routes by which people hold the fleet within bounds: budgets, approvals, the kill switch."""

from agentfleet.domain.approval import Decision
from agentfleet.domain.budget import Account
from agentfleet.routes import Routes
from agentfleet.services import audit_views
from agentfleet.services import governance_views as views
from agentfleet.services.openapi import answers

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote

from aws_lambda_powertools.event_handler.openapi.params import Body, Query

routes = Routes()


def _shown(*accounts: Account, depth: int | None = None) -> views.BudgetView:
    budgets = routes.fleet.governance.budgets
    shown = tuple(views.AccountView.of(account, budgets.standing(account)) for account in accounts)
    return views.BudgetView(accounts=shown, depth=depth)


@routes.get("/budget", tags=["budgets"], summary="Your day: what may be spent and what was", **answers())
def get_day_budget() -> views.BudgetView:
    """UTC."""
    return _shown(routes.fleet.governance.budgets.today(routes.caller().tenant))


@routes.get("/goals/<goal_id>/budget", tags=["budgets"], summary="What a goal may spend and has spent", **answers(404))
def get_goal_budget(goal_id: str) -> views.BudgetView:
    """With the accounts above it: those of goals that it is part of, and your day."""
    goal = routes.fleet.control.own(goal_id, routes.caller().tenant)
    return _shown(*routes.fleet.governance.budgets.accounts(goal), depth=goal.budget.depth if goal.budget else None)


@routes.post("/goals/<goal_id>/budget", tags=["budgets"], summary="Let a goal spend more", **answers(404))
def grant_budget(goal_id: str, order: Annotated[views.GrantOrder, Body()]) -> views.BudgetView:
    """Adds to the goal's own limits: not repeatable. Tasks that have failed for want of it do not run again by themselves."""
    goal = routes.fleet.control.own(goal_id, routes.caller().tenant)
    budgets = routes.fleet.governance.budgets
    budgets.grant(budgets.own(goal), order.amount)
    return get_goal_budget(goal_id)


@routes.get("/approvals", tags=["approvals"], summary="Tasks that wait for approval, oldest first", **answers())
def list_approvals(
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most")] = 50,
    cursor: Annotated[str | None, Query(max_length=1024, description="Where the page before ended")] = None,
) -> views.ApprovalPage:
    """Yours."""
    return views.ApprovalPage.of(routes.fleet.governance.approvals.waiting(routes.caller().tenant, limit, cursor))


@routes.post("/approvals/<ref>/approve", tags=["approvals"], summary="Let a task run", **answers(404, 409, 503))
def approve_task(ref: str, order: Annotated[views.ApproveOrder, Body()]) -> views.ApprovalView:
    """`ref` is goal id, dot, task id. Again changes nothing; 409 if it was rejected."""
    decide = routes.fleet.governance.approvals.decide
    return views.ApprovalView.of(decide(routes.caller().tenant, unquote(ref), Decision.APPROVED, order.note))


@routes.post("/approvals/<ref>/reject", tags=["approvals"], summary="Let a task fail instead", **answers(404, 409, 503))
def reject_task(ref: str, order: Annotated[views.RejectOrder, Body()]) -> views.ApprovalView:
    """Under its failure policy. Again changes nothing; 409 if it was approved."""
    decide = routes.fleet.governance.approvals.decide
    return views.ApprovalView.of(decide(routes.caller().tenant, unquote(ref), Decision.REJECTED, order.reason))


@routes.get("/kills", tags=["kill switch"], summary="What is stopped", **answers())
def list_kills() -> views.KillList:
    """As far as it concerns you; all for an operator."""
    who = routes.caller()
    found = routes.fleet.governance.kills.list(None if who.is_operator else who.tenant)
    return views.KillList(kills=tuple(map(views.KillView.of, found)))


@routes.post("/kills", tags=["kill switch"], summary="Stop everything, a pool or a tenant", **answers(403, 404))
def kill(order: Annotated[views.KillOrder, Body()]) -> views.KillView:
    """Operators only. In effect within seconds: what runs is finished, everything else is kept until it may go on."""
    return views.KillView.of(routes.fleet.governance.kills.kill(order.scope, order.reason, routes.caller().operator.tenant))


@routes.post("/kills/lift", tags=["kill switch"], summary="Let go on what was stopped", **answers(403, 404))
def lift_kill(order: Annotated[views.LiftOrder, Body()]) -> views.KillView:
    """Operators only. What was kept comes back within about as long as it was stopped, five minutes at most."""
    return views.KillView.of(routes.fleet.governance.kills.lift(order.scope, routes.caller().operator.tenant))


@routes.get("/kills/history", tags=["audit"], summary="What was stopped and lifted, and by whom", **answers(403))
def get_kill_history(
    week: Annotated[str | None, Query(description="Of ISO 8601, such as 2026-W47; without it this one")] = None,
) -> audit_views.KillHistory:
    """Operators only. A week's orders, each sealed like a goal's events; kept for a year."""
    _ = routes.caller().operator
    return routes.fleet.history.kills(week or f"{datetime.now(UTC):%G-W%V}")
