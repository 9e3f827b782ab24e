"""The HTTP API: goals, tasks, agents, pools, fleets, playbooks and knowledge, as JSON."""

import json
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestUnsupportedContentType, RequestValidationError
from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from agentfleet.bootstrap import api, knowledge, utc_now
from agentfleet.domain.errors import (
    DeliveryFailed,
    Forbidden,
    IllegalTransition,
    InvalidRequest,
    KnowledgeUnavailable,
    NotFound,
    Problem,
)
from agentfleet.domain.goal import GoalState
from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import DOMAIN_NAME
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import GoalRequest, parse_request
from agentfleet.services import audit_views, openapi, routing_views, views
from agentfleet.services import health_views as health
from agentfleet.services import knowledge_views as known
from agentfleet.services.authorize import Caller, Unauthorized, caller_of
from agentfleet.services.bodies import UnreadableBody, unpack
from agentfleet.services.learn import Draft
from agentfleet.services.openapi import answers

VERSION: Final = "1.0.0"
HEAL_TIME: Final = timedelta(seconds=15)
"""Of the 29 that a request may take."""
LEARN_TIME: Final = timedelta(seconds=18)
"""For embedding, of the same."""

logger = Logger()


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


app = APIGatewayHttpResolver(
    enable_validation=True,
    response_validation_error_http_code=500,
    json_body_deserializer=lambda body: json.loads(body, parse_constant=_refuse_constant),
)

State = Annotated[GoalState | None, Query(description="Only goals in this state")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most")]
Cursor = Annotated[str | None, Query(max_length=1024, description="Where the page before ended")]
DomainQuery = Annotated[str | None, Query(max_length=64, description="Only documents of this domain")]
DomainsQuery = Annotated[
    str | None, Query(max_length=2000, description="Only these domains, with commas between them; all without it")
]


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the HTTP API (payload format 2.0)."""
    try:
        response = app.resolve(unpack(event), context)
        # An answer without a body has an empty one: the emulator's gateway takes null for a broken answer.
        response["body"] = response.get("body") or ""
    except UnreadableBody as error:
        body = views.ErrorView.of("invalid_request", str(error), (Problem("body", str(error)),))
        headers = {"Content-Type": content_types.APPLICATION_JSON}
        response = {"statusCode": error.status, "headers": headers, "body": body.model_dump_json()}
    http = event.get("requestContext", {}).get("http", {})
    # One line per request: who asked what, and how it ended. Never a body or a key.
    logger.info(f"{http.get('method')} {http.get('path')} {response['statusCode']}", tenant=_tenant_of(event))
    return response


def _tenant_of(event: dict[str, Any]) -> str | None:
    try:
        return caller_of(event).tenant
    except Unauthorized:
        return None


def caller() -> Caller:
    """Whose request this is, as the authorizer says. Raises Unauthorized."""
    return caller_of(app.current_event.raw_event)


def tenant() -> str:
    """Whose request this is. Raises Unauthorized."""
    return caller().tenant


def operator() -> str:
    """Whose request this is, if it may change what all tenants share. Raises Unauthorized, Forbidden."""
    return caller().operator.tenant


def _error(status: int, error: str, message: str, problems: tuple[Problem, ...] = ()) -> Response[Any]:
    body = views.ErrorView.of(error, message, problems).model_dump_json()
    return Response(status, content_type=content_types.APPLICATION_JSON, body=body)


def _invalid(error: InvalidRequest) -> Response[Any]:
    return _error(422, "invalid_request", str(error), error.problems)


def _unreadable(error: RequestValidationError) -> Response[Any]:
    event = app.current_event
    problems: list[Problem] = []
    for detail in error.errors()[: InvalidRequest.LIMIT]:
        if detail["type"] == "json_invalid":
            return _invalid(InvalidRequest.of("body", f"is not JSON: {detail['ctx']['error']} (character {detail['loc'][-1]})"))
        place = ".".join(map(str, detail["loc"][1:])) or "body"
        value = detail.get("input")
        given = f", not {value[:80]!r}" if isinstance(value, str) and detail["type"] != "missing" else ""
        problems.append(Problem(place, detail["msg"].removeprefix("Value error, ") + given))
    if event.http_method == "POST" and event.path.rstrip("/").endswith("/goals") and problems[0].field != "Idempotency-Key":
        try:
            parse_request(event.json_body)  # says the same in the words of plans: tasks by their ids
        except InvalidRequest as better:
            return _invalid(better)
    return _invalid(InvalidRequest(problems))


def _too_deep(_: RecursionError) -> Response[Any]:
    return _invalid(InvalidRequest.of("body", "is nested too deeply; a few hundred levels are allowed"))


def _not_found(error: NotFound) -> Response[Any]:
    return _error(404, "not_found", str(error))


def _no_route(_: NotFoundError) -> Response[Any]:
    event = app.current_event
    return _error(404, "not_found", f"there is no {event.http_method} {event.path}; GET /openapi.json lists what there is")


def _conflict(error: IllegalTransition) -> Response[Any]:
    return _error(409, "conflict", str(error))


def _unauthorized(error: Unauthorized) -> Response[Any]:
    return _error(401, "unauthorized", str(error))


def _forbidden(error: Forbidden) -> Response[Any]:
    return _error(403, "forbidden", str(error))


def _not_json(_: RequestUnsupportedContentType) -> Response[Any]:
    return _error(415, "invalid_request", "the body must be JSON: Content-Type: application/json")


def _unavailable(error: DeliveryFailed) -> Response[Any]:
    logger.warning("not delivered in full", exc_info=error)
    return _error(503, "unavailable", "a queue did not take all of it; send the same again with the same Idempotency-Key")


def _unknown(error: KnowledgeUnavailable) -> Response[Any]:
    logger.warning("knowledge is not available", exc_info=error)
    return _error(503, "unavailable", str(error))


def _failed(error: Exception) -> Response[Any]:
    logger.exception("unexpected error", exc_info=error)
    request_id = app.current_event.request_context.request_id
    return _error(500, "internal_error", f"something went wrong on our side; quote request {request_id}")


# At the root of the function's archive there is no package, in a project's tests there is.
_governance = import_module(f"{__package__}.governance" if __package__ else "governance")
app.include_router(_governance.router)

for _raised, _answer in {
    InvalidRequest: _invalid,
    RequestValidationError: _unreadable,
    RequestUnsupportedContentType: _not_json,
    RecursionError: _too_deep,
    NotFound: _not_found,
    NotFoundError: _no_route,
    IllegalTransition: _conflict,
    Unauthorized: _unauthorized,
    Forbidden: _forbidden,
    DeliveryFailed: _unavailable,
    KnowledgeUnavailable: _unknown,
    Exception: _failed,
}.items():
    app.exception_handler(_raised)(_answer)


@app.post(
    "/goals",
    tags=["goals"],
    summary="Submit a goal",
    description="202 for a new goal; 200 with the goal that was made before, if the Idempotency-Key was used already. "
    "The body may be gzipped (Content-Encoding: gzip), up to 32 MB unpacked.",
    **answers(400, 403, 413, 415, 503, success=202, description="Accepted", also={200: ("Accepted before", views.GoalView)}),
)
def submit_goal(
    request: Annotated[GoalRequest, Body()],
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Response[views.GoalView]:
    """Accept a goal, once per idempotency key."""
    goal, created = api().accept(request, tenant(), key)
    return Response(
        202 if created else 200,
        content_type=content_types.APPLICATION_JSON,
        headers={"Location": f"/goals/{goal.id}"},
        body=views.GoalView.of(goal),
    )


@app.get("/goals", tags=["goals"], summary="List goals, newest first", **answers())
def list_goals(state: State = None, limit: Limit = 50, cursor: Cursor = None) -> views.GoalPage:
    """Without the goals of sub-plans."""
    return api().inspect.goals(tenant(), state, limit, cursor)


@app.get("/goals/<goal_id>", tags=["goals"], summary="A goal and its progress", **answers(404))
def get_goal(goal_id: str) -> views.GoalView:
    """One goal."""
    return api().inspect.goal(tenant(), goal_id)


@app.get("/goals/<goal_id>/tasks", tags=["goals"], summary="A goal's tasks, in the order of the plan", **answers(404))
def list_tasks(
    goal_id: str,
    state: Annotated[TaskState | None, Query(description="Only tasks in this state")] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> views.TaskPage:
    """One page of tasks."""
    return api().inspect.tasks(tenant(), goal_id, state, limit, cursor)


@app.get("/goals/<goal_id>/result", tags=["goals"], summary="What came of a goal that has ended", **answers(404, 409))
def get_result(goal_id: str) -> views.GoalResult:
    """Output and files."""
    return api().inspect.result(tenant(), goal_id)


@app.get("/goals/<goal_id>/history", tags=["audit"], summary="What happened to a goal, event by event", **answers(404))
def get_history(goal_id: str, limit: Limit = 200, cursor: Cursor = None) -> audit_views.HistoryPage:
    """In the order of recording, a second or so after it happened."""
    return api().history.history(tenant(), goal_id, limit, cursor)


@app.get("/goals/<goal_id>/verify", tags=["audit"], summary="Is a goal's history as it was recorded?", **answers(404))
def verify_history(goal_id: str) -> audit_views.VerdictView:
    """Names the first event that was changed, removed or moved."""
    return api().history.verify(tenant(), goal_id)


@app.get("/goals/<goal_id>/receipt", tags=["audit"], summary="What a goal has cost, at list prices", **answers(404))
def get_receipt(goal_id: str) -> audit_views.ReceiptView:
    """Says of each line whether it is counted or estimated. Goals of up to 20,000 tasks."""
    return api().account.receipt(tenant(), goal_id)


@app.delete("/goals/<goal_id>", tags=["goals"], summary="Cancel a goal", **answers(404, 409))
def cancel_goal(goal_id: str) -> views.GoalView:
    """Again for one that is cancelled changes nothing; 409 for one that has ended otherwise."""
    goal = api().control.cancel(goal_id, tenant())
    return api().inspect.goal(goal.tenant, goal.id)


@app.post("/goals/<goal_id>/pause", tags=["goals"], summary="Hold a goal's tasks back", **answers(404, 409))
def pause_goal(goal_id: str) -> views.GoalView:
    """What runs is finished; again for one that is paused changes nothing."""
    return views.GoalView.of(api().control.pause(goal_id, tenant()))


@app.post("/goals/<goal_id>/resume", tags=["goals"], summary="Let a paused goal go on", **answers(404, 409, 503))
def resume_goal(goal_id: str) -> views.GoalView:
    """For one that isn't paused it changes nothing."""
    return views.GoalView.of(api().control.resume(goal_id, tenant()))


@app.post(
    "/goals/<goal_id>/compensate",
    tags=["goals"],
    summary="Go on undoing a goal whose compensation failed",
    **answers(404, 409, 503),
)
def compensate_goal(goal_id: str) -> views.GoalView:
    """Starts with what is not undone yet; for one that is being undone it changes nothing."""
    return views.GoalView.of(api().saga.resume(goal_id, tenant()))


@app.post(
    "/goals/<goal_id>/fork",
    tags=["goals"],
    summary="Run a goal again from some of its results",
    **answers(403, 404, 503, success=202, description="Accepted"),
)
def fork_goal(
    goal_id: str,
    order: Annotated[views.ForkOrder, Body()],
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Response[views.GoalView]:
    """A new goal: kept results count, everything else runs."""
    fork = api().control.fork(goal_id, tenant(), order.keep, order.set, key)
    return Response(202, content_type=content_types.APPLICATION_JSON, body=views.GoalView.of(fork))


@app.get("/tasks/<ref>", tags=["goals"], summary="A task with its input and output", **answers(404))
def get_task(ref: str) -> views.TaskDetail:
    """`ref` is goal id, dot, task id."""
    return api().inspect.task(tenant(), unquote(ref))


@app.get("/agents", tags=["agents"], summary="Living agents", **answers(404))
def list_agents(
    capability: Annotated[str | None, Query(max_length=64)] = None, pool: Annotated[str | None, Query(max_length=64)] = None
) -> views.AgentList:
    """Those that offer a capability or belong to a pool, or all."""
    if pool is not None:
        api().scale.pool(pool)
    return api().inspect.agents(tenant(), api().registry.discover(capability, pool))


@app.get("/pools", tags=["pools"], summary="Every pool as it is now", **answers())
def list_pools() -> views.PoolList:
    """By name."""
    tenant()
    return api().scale.pools()


@app.get("/pools/<name>", tags=["pools"], summary="A pool as it is now", **answers(404))
def get_pool(name: str) -> views.PoolView:
    """One pool."""
    tenant()
    return api().scale.pool(name)


@app.patch("/pools/<name>", tags=["pools"], summary="Change a pool's concurrency", **answers(403, 404))
def scale_pool(name: str, change: Annotated[views.PoolChange, Body()]) -> views.PoolView:
    """Operators only. Takes hold a little later; `settled` tells when."""
    operator()
    return api().scale.scale_pool(name, change.concurrency)


@app.post("/pools/<name>/drain", tags=["pools"], summary="Let a pool get no new work", **answers(403, 404))
def drain_pool(name: str) -> views.PoolView:
    """Operators only. Where another pool offers the same; what it has, it finishes. Again changes nothing."""
    operator()
    api().discovery.drain(name)
    return api().scale.pool(name)


@app.post("/pools/<name>/undrain", tags=["pools"], summary="Let a pool get work again", **answers(403, 404))
def undrain_pool(name: str) -> views.PoolView:
    """Operators only. For one that isn't draining it changes nothing."""
    operator()
    api().discovery.undrain(name)
    return api().scale.pool(name)


@app.get("/capabilities/<name>", tags=["agents"], summary="Who offers a capability", **answers(404))
def discover(name: str) -> routing_views.OfferList:
    """Pools by health and weight, those that get most of its new work first."""
    tenant()
    return api().discovery.discover(name)


@app.get("/pools/<name>/logs", tags=["pools"], summary="A pool's newest log lines, oldest first", **answers(404))
def get_logs(
    name: str,
    minutes: Annotated[int, Query(ge=1, le=1440, description="How far back")] = 10,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> views.LogPage:
    """Without lines that belong to others."""
    return api().scale.logs(tenant(), name, minutes, limit)


@app.post("/fleets", tags=["fleets"], summary="Size pools for a purpose", **answers(success=201, description="Made"))
def spawn_fleet(order: Annotated[views.FleetOrder, Body()]) -> views.FleetView:
    """Takes hold a little later; `ready` tells when."""
    return api().scale.spawn_fleet(tenant(), order.size, order.capabilities)


@app.get("/fleets", tags=["fleets"], summary="Fleets that have not been released, newest first", **answers())
def list_fleets() -> views.FleetList:
    """Yours."""
    return api().scale.fleets(tenant())


@app.get("/fleets/<fleet_id>", tags=["fleets"], summary="A fleet", **answers(404))
def get_fleet(fleet_id: str) -> views.FleetView:
    """`ready` tells whether its size holds."""
    return api().scale.fleet(tenant(), fleet_id)


@app.patch("/fleets/<fleet_id>", tags=["fleets"], summary="Change a fleet's size", **answers(404))
def resize_fleet(fleet_id: str, change: Annotated[views.FleetChange, Body()]) -> views.FleetView:
    """Takes hold a little later; `ready` tells when."""
    return api().scale.resize_fleet(tenant(), fleet_id, change.size)


@app.delete("/fleets/<fleet_id>", tags=["fleets"], summary="Release a fleet", **answers(404))
def release_fleet(fleet_id: str) -> views.FleetView:
    """Its pools get back what they had. Again changes nothing."""
    return api().scale.release_fleet(tenant(), fleet_id)


@app.get("/playbooks", tags=["playbooks"], summary="Every playbook", **answers())
def list_playbooks() -> views.PlaybookList:
    """By name."""
    tenant()
    return views.PlaybookList(playbooks=tuple(map(views.PlaybookView.of, api().playbooks.list())))


@app.get("/playbooks/<name>", tags=["playbooks"], summary="A playbook with its plan", **answers(404))
def get_playbook(name: str) -> views.PlaybookDetail:
    """One playbook."""
    tenant()
    return views.PlaybookDetail.of(api().playbooks.describe(name))


@app.get("/knowledge", tags=["knowledge"], summary="Documents, newest first", **answers())
def list_documents(domain: DomainQuery = None) -> known.DocumentList:
    """Without their texts."""
    return knowledge().librarian.list(tenant(), domain)


@app.get("/knowledge/search", tags=["knowledge"], summary="Pieces of documents that match a query", **answers(503))
def search_documents(
    query: Annotated[str, Query(min_length=1, max_length=1000)], domain: DomainsQuery = None, limit: Limit = 10
) -> known.FindingList:
    """By meaning and by words, best first; `missing` names domains that did not answer."""
    return knowledge().finder.find(tenant(), query, _domains(domain), limit)


@app.get("/knowledge/ask", tags=["knowledge"], summary="An answer from documents, with citations", **answers(503))
def ask_documents(
    question: Annotated[str, Query(min_length=1, max_length=1000)], domain: DomainsQuery = None
) -> known.AnswerView:
    """`answer` is null if they don't hold one; `method` says how it was made."""
    return knowledge().answerer.ask(tenant(), question, _domains(domain))


def _domains(domain: str | None) -> list[str] | None:
    names = [name.strip() for name in (domain or "").split(",") if name.strip()]
    for name in names:
        if not DOMAIN_NAME.fullmatch(name):
            raise InvalidRequest.of("domain", f"{name[:80]!r} is none: lower-case letters, digits and hyphens are allowed")
    return names or None


@app.post(
    "/knowledge",
    tags=["knowledge"],
    summary="Keep a document",
    description="201 when all of it can be found. 202 if time did not suffice for a long one: send the same again to go on.",
    **answers(503, success=201, description="Kept", also={202: ("Not all of it is indexed yet", known.DocumentView)}),
)
def add_document(document: Annotated[known.DocumentOrder, Body()]) -> Response[known.DocumentView]:
    """The same document again changes nothing; another text of the same source is its new version."""
    owner = tenant()
    try:
        body = document.body()
    except ValueError as error:
        raise InvalidRequest.of("content", str(error)) from error
    seen = None if document.based_on is None else tuple(map(Stamp.parse, document.based_on))
    draft = Draft(document.title, document.source, document.kind, body, seen)
    [kept] = knowledge().librarian.add(owner, document.domain, [draft], utc_now() + LEARN_TIME)
    status = 201 if kept.indexed == kept.chunks else 202
    return Response(status, content_type=content_types.APPLICATION_JSON, body=kept)


@app.delete(
    "/knowledge/<domain>/<document_id>",
    tags=["knowledge"],
    summary="Forget a document",
    **answers(404, 503, success=204, description="Forgotten"),
)
def delete_document(domain: str, document_id: str) -> Response[None]:
    """404 if there is none."""
    knowledge().librarian.delete(tenant(), domain, document_id)
    return Response(204)


@app.post("/heal", tags=["health"], summary="Run the healer now", **answers(403))
def heal() -> health.HealView:
    """Operators only. By the same rules as on its schedule: what a queue may still hold is not sent again."""
    operator()
    return health.HealView.of(api().healing.healer.run(utc_now() + HEAL_TIME, by_person=True))


@app.get("/health/incidents", tags=["health"], summary="Goals that stood still, and how they were healed", **answers())
def list_incidents() -> health.IncidentSummary:
    """Yours."""
    return health.IncidentSummary.of(api().healing.incidents.summary(tenant()))


@app.get("/dead-letters", tags=["health"], summary="Messages that their queues have given up", **answers(404))
def list_dead_letters(
    pool: Annotated[str | None, Query(max_length=64, description="Only this pool's")] = None, limit: Limit = 50
) -> health.DeadLetterList:
    """With a diagnosis each: yours, or all for an operator."""
    found = api().healing.office.lying(caller(), pool, limit)
    return health.DeadLetterList(letters=tuple(map(health.DeadLetterView.of, found)))


@app.get("/dead-letters/<pool>/records", tags=["health"], summary="What became of a pool's dead letters", **answers(404))
def list_letter_records(pool: str, limit: Limit = 50) -> health.LetterRecordList:
    """Last seen first."""
    records = api().healing.office.records(caller(), pool, limit)
    return health.LetterRecordList(records=tuple(map(health.LetterRecordView.of, records)))


@app.post("/dead-letters/<pool>/redrive", tags=["health"], summary="Send dead letters' tasks again", **answers(404, 503))
def redrive_dead_letters(pool: str, order: Annotated[health.RedriveOrder, Body()]) -> health.DeadLetterList:
    """One by its key, or all that can run; gives those that were sent."""
    sent = api().healing.office.redrive(caller(), pool, order.key)
    return health.DeadLetterList(letters=tuple(map(health.DeadLetterView.of, sent)))


@app.post("/dead-letters/<pool>/bury", tags=["health"], summary="Take a dead letter out of its queue", **answers(404))
def bury_dead_letter(pool: str, order: Annotated[health.BurialOrder, Body()]) -> health.DeadLetterView:
    """What it was is kept with the reason."""
    return health.DeadLetterView.of(api().healing.office.bury(caller(), pool, order.key, order.reason))


@app.get("/health", tags=["about"], summary="Does the API answer?", **answers())
def get_health() -> views.HealthView:
    """The same for every tenant."""
    return views.HealthView(version=VERSION)


@app.get("/openapi.json", include_in_schema=False)
def get_openapi() -> Response[Any]:
    """This API's own description, the same for every tenant."""
    return Response(200, content_type=content_types.APPLICATION_JSON, body=openapi_document())


@cache
def openapi_document() -> str:
    """The OpenAPI 3.1 document."""
    document = app.get_openapi_json_schema(
        title="Agent Fleet",
        version=VERSION,
        description="Submit goals to a fleet of agents, watch them and take their results.",
        security_schemes={"bearer": HTTPBearer()},
        security=[{"bearer": []}],
    )
    return openapi.complete(document, error=views.ErrorView.__name__)
