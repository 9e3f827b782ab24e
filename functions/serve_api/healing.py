"""Routes by which people see what stood still or was given up, and set it going again."""

from agentfleet.bootstrap import utc_now
from agentfleet.routes import Limit, Routes
from agentfleet.services import health_views as health
from agentfleet.services.openapi import answers

from datetime import timedelta
from typing import Annotated, Final

from aws_lambda_powertools.event_handler.openapi.params import Body, Query

HEAL_TIME: Final = timedelta(seconds=15)
"""Of the 29 that a request may take."""

routes = Routes()


@routes.post("/heal", tags=["health"], summary="Run the healer now", **answers(403))
def heal() -> health.HealView:
    """Operators only. By the same rules as on its schedule: what a queue may still hold is not sent again."""
    routes.operator()
    return health.HealView.of(routes.fleet.healing.healer.run(utc_now() + HEAL_TIME, by_person=True))


@routes.get("/health/incidents", tags=["health"], summary="Goals that stood still, and how they were healed", **answers())
def list_incidents() -> health.IncidentSummary:
    """Yours."""
    return health.IncidentSummary.of(routes.fleet.healing.incidents.summary(routes.tenant()))


@routes.get("/dead-letters", tags=["health"], summary="Messages that their queues have given up", **answers(404))
def list_dead_letters(
    pool: Annotated[str | None, Query(max_length=64, description="Only this pool's")] = None,
    key: Annotated[str | None, Query(max_length=256, description="Only this task's, or the one with this id")] = None,
    limit: Limit = 50,
) -> health.DeadLetterList:
    """With a diagnosis each, those that can be read first: yours, or all for an operator."""
    return health.DeadLetterList.of(routes.fleet.healing.office.lying(routes.caller(), pool, limit, key))


@routes.get("/dead-letters/<pool>/records", tags=["health"], summary="What became of a pool's dead letters", **answers(404))
def list_letter_records(pool: str, limit: Limit = 50) -> health.LetterRecordList:
    """Last seen first."""
    records = routes.fleet.healing.office.records(routes.caller(), pool, limit)
    return health.LetterRecordList(records=tuple(map(health.LetterRecordView.of, records)))


@routes.post("/dead-letters/<pool>/redrive", tags=["health"], summary="Send dead letters' tasks again", **answers(404, 503))
def redrive_dead_letters(pool: str, order: Annotated[health.RedriveOrder, Body()]) -> health.DeadLetterList:
    """One by its key, or all that can run; gives those that were sent, `complete` if there are no others."""
    return health.DeadLetterList.of(routes.fleet.healing.office.redrive(routes.caller(), pool, order.key))


@routes.post("/dead-letters/<pool>/bury", tags=["health"], summary="Take a dead letter out of its queue", **answers(404, 503))
def bury_dead_letter(pool: str, order: Annotated[health.BurialOrder, Body()]) -> health.DeadLetterView:
    """What it was is kept with the reason."""
    return health.DeadLetterView.of(routes.fleet.healing.office.bury(routes.caller(), pool, order.key, order.reason))
