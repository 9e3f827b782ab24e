"""Routes of goals and their tasks, and of the playbooks that goals are made from."""

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import GoalRequest
from agentfleet.routes import Cursor, Limit, Routes
from agentfleet.services import audit_views, goal_views
from agentfleet.services.openapi import answers

from typing import Annotated
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query

routes = Routes()

State = Annotated[GoalState | None, Query(description="Only goals in this state")]


@routes.post(
    "/goals",
    tags=["goals"],
    summary="Submit a goal",
    description="202 for a new goal; 200 with the goal that was made before, if the Idempotency-Key was used already; "
    "422 if it was used for another request. "
    "The body may be gzipped (Content-Encoding: gzip), up to 32 MB unpacked.",
    **answers(
        400, 403, 413, 415, 503, success=202, description="Accepted", also={200: ("Accepted before", goal_views.GoalView)}
    ),
)
def submit_goal(
    request: Annotated[GoalRequest, Body()],
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Response[goal_views.GoalView]:
    """Accept a goal, once per idempotency key."""
    goal, created = routes.fleet.accept(request, routes.tenant(), key)
    return Response(
        202 if created else 200,
        content_type=content_types.APPLICATION_JSON,
        headers={"Location": f"/goals/{goal.id}"},
        body=goal_views.GoalView.of(goal),
    )


@routes.get("/goals", tags=["goals"], summary="List goals, newest first", **answers())
def list_goals(state: State = None, limit: Limit = 50, cursor: Cursor = None) -> goal_views.GoalPage:
    """Without the goals of sub-plans."""
    return routes.fleet.inspect.goals(routes.tenant(), state, limit, cursor)


@routes.get("/goals/<goal_id>", tags=["goals"], summary="A goal and its progress", **answers(404))
def get_goal(goal_id: str) -> goal_views.GoalView:
    """One goal."""
    return routes.fleet.inspect.goal(routes.tenant(), goal_id)


@routes.get("/goals/<goal_id>/tasks", tags=["goals"], summary="A goal's tasks, in the order of the plan", **answers(404))
def list_tasks(
    goal_id: str,
    state: Annotated[TaskState | None, Query(description="Only tasks in this state")] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> goal_views.TaskPage:
    """One page of tasks."""
    return routes.fleet.inspect.tasks(routes.tenant(), goal_id, state, limit, cursor)


@routes.get("/goals/<goal_id>/result", tags=["goals"], summary="What came of a goal that has ended", **answers(404, 409))
def get_result(goal_id: str) -> goal_views.GoalResult:
    """Output and files."""
    return routes.fleet.inspect.result(routes.tenant(), goal_id)


@routes.get("/goals/<goal_id>/history", tags=["audit"], summary="What happened to a goal, event by event", **answers(404))
def get_history(goal_id: str, limit: Limit = 200, cursor: Cursor = None) -> audit_views.HistoryPage:
    """In the order of recording, a second or so after it happened."""
    return routes.fleet.history.history(routes.tenant(), goal_id, limit, cursor)


@routes.get("/goals/<goal_id>/verify", tags=["audit"], summary="Is a goal's history as it was recorded?", **answers(404))
def verify_history(goal_id: str) -> audit_views.VerdictView:
    """Names the first event that was changed, removed or moved."""
    return routes.fleet.history.verify(routes.tenant(), goal_id)


@routes.get("/goals/<goal_id>/receipt", tags=["audit"], summary="What a goal has cost, at list prices", **answers(404))
def get_receipt(goal_id: str) -> audit_views.ReceiptView:
    """Says of each line whether it is counted or estimated. Goals of up to 20,000 tasks."""
    return routes.fleet.account.receipt(routes.tenant(), goal_id)


@routes.delete("/goals/<goal_id>", tags=["goals"], summary="Cancel a goal", **answers(404, 409))
def cancel_goal(goal_id: str) -> goal_views.GoalView:
    """Again for one that is cancelled changes nothing; 409 for one that has ended otherwise."""
    goal = routes.fleet.control.cancel(goal_id, routes.tenant())
    return routes.fleet.inspect.goal(goal.tenant, goal.id)


@routes.post("/goals/<goal_id>/pause", tags=["goals"], summary="Hold a goal's tasks back", **answers(404, 409))
def pause_goal(goal_id: str) -> goal_views.GoalView:
    """What runs is finished; again for one that is paused changes nothing."""
    return goal_views.GoalView.of(routes.fleet.control.pause(goal_id, routes.tenant()))


@routes.post("/goals/<goal_id>/resume", tags=["goals"], summary="Let a paused goal go on", **answers(404, 409, 503))
def resume_goal(goal_id: str) -> goal_views.GoalView:
    """For one that isn't paused it changes nothing."""
    return goal_views.GoalView.of(routes.fleet.control.resume(goal_id, routes.tenant()))


@routes.post(
    "/goals/<goal_id>/compensate",
    tags=["goals"],
    summary="Go on undoing a goal whose compensation failed",
    **answers(404, 409, 503),
)
def compensate_goal(goal_id: str) -> goal_views.GoalView:
    """Starts with what is not undone yet; for one that is being undone it changes nothing."""
    return goal_views.GoalView.of(routes.fleet.saga.resume(goal_id, routes.tenant()))


@routes.post(
    "/goals/<goal_id>/fork",
    tags=["goals"],
    summary="Run a goal again from some of its results",
    **answers(403, 404, 503, success=202, description="Accepted"),
)
def fork_goal(
    goal_id: str,
    order: Annotated[goal_views.ForkOrder, Body()],
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Response[goal_views.GoalView]:
    """A new goal: kept results count, everything else runs."""
    fork = routes.fleet.control.fork(goal_id, routes.tenant(), order.keep, order.set, key)
    return Response(202, content_type=content_types.APPLICATION_JSON, body=goal_views.GoalView.of(fork))


@routes.get("/tasks/<ref>", tags=["goals"], summary="A task with its input and output", **answers(404))
def get_task(ref: str) -> goal_views.TaskDetail:
    """`ref` is goal id, dot, task id."""
    return routes.fleet.inspect.task(routes.tenant(), unquote(ref))


@routes.get("/playbooks", tags=["playbooks"], summary="Every playbook", **answers())
def list_playbooks() -> goal_views.PlaybookList:
    """By name."""
    routes.tenant()
    return goal_views.PlaybookList(playbooks=tuple(map(goal_views.PlaybookView.of, routes.fleet.playbooks.list())))


@routes.get("/playbooks/<name>", tags=["playbooks"], summary="A playbook with its plan", **answers(404))
def get_playbook(name: str) -> goal_views.PlaybookDetail:
    """One playbook."""
    routes.tenant()
    return goal_views.PlaybookDetail.of(routes.fleet.playbooks.describe(name))
