"""What a goal has cost so far, made up when somebody asks."""

from typing import Final

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.history import Event, EventKind, canonical, pack
from agentfleet.domain.prices import PRICES, PriceTable
from agentfleet.domain.receipt import Sizes, model_line, price_goal, total
from agentfleet.domain.result import Result
from agentfleet.domain.units import write_units
from agentfleet.ports import PlanStore, ResultStore
from agentfleet.ports_model import UseStore
from agentfleet.services.audit_views import ModelUseView, ReceiptLine, ReceiptView
from agentfleet.services.history import Historian
from agentfleet.services.model_use import LocalUses

MAX_MISSING: Final = 20_000
"""Results that the history lacks and that are read from the work table instead. Of 100,000 tasks plan and history take some
three seconds of a whole processor; as many single results on top would take longer than the API may."""
_RESULT_FIELDS: Final = 160
"""About how many bytes a result's item has besides its outputs."""
_SEGMENT_FIELDS: Final = 230
"""Bytes of a segment's item besides its events and marks: keys, counts, hash, expiry."""
NOT_INCLUDED: Final = (
    "requests that look at the goal (GET), empty receives of idle queues, and what the fleet costs per month",
    "Lambda's time of attempts that failed and were tried again; attempts of compensations that failed",
    "the goals of sub-plans, other than their calls of models: each has a receipt of its own",
    "S3, KMS and CloudWatch Logs, other than the outputs and plan parts above; data transfer",
    "the function that records the history, about a millisecond per event",
)


class Accountant:
    """Receipts as a tenant may see them: `Accountant(plans, results, historian, catalog, prices=PRICES, uses=…)`."""

    def __init__(
        self,
        plans: PlanStore,
        results: ResultStore,
        historian: Historian,
        catalog: Catalog,
        prices: PriceTable = PRICES,
        *,
        uses: UseStore | None = None,
    ) -> None:
        """`uses` knows what goals took of language models; without it nothing is said of them."""
        self._plans = plans
        self._results = results
        self._historian = historian
        self._catalog = catalog
        self._prices = prices
        self._uses = uses or LocalUses()

    def receipt(self, tenant: str, goal_id: str) -> ReceiptView:
        """What the goal has cost. Raises NotFound; raises InvalidRequest if its history lacks more than 20,000 results."""
        goal = self._historian.own(tenant, goal_id)
        plan = self._plans.read(goal_id).whole()
        encoded = encode(plan)
        events, segments = self._historian.events(goal_id)
        sizes = Sizes(encoded.size, encoded.is_inline, len(encoded.parts), _goal_bytes(events))
        stored = [len(pack(segment.text)) + len(canonical(dict(segment.head.marks))) + _SEGMENT_FIELDS for segment in segments]
        known = {int(event.facts["unit"]) for event in events if event.kind is EventKind.RESULT}
        missing = [number for number in range(plan.header.units) if number not in known]
        if len(missing) > MAX_MISSING:
            message = f"{len(missing):,} of its results are not in its history; a receipt does without {MAX_MISSING:,} at most"
            raise InvalidRequest.of("goal", message)
        others = self._results.get(goal_id, goal.shards, missing, outputs=False) if missing else {}
        events += [_stand_in(result) for result in others.values()]
        used = self._uses.read(goal_id)
        lines = price_goal(
            events,
            stored,
            plan,
            sizes,
            self._catalog,
            self._prices,
            results_counted=not others,
            is_sub_plan=goal.parent is not None,
            sagas=goal.undoing.attempt if goal.undoing else 0,
        ) + tuple(map(model_line, used))
        dollars = total(lines)
        recorded = sum(len(event.facts["states"]) for event in events if event.kind == "ResultStored")
        prices = self._prices
        return ReceiptView(
            goal=goal_id,
            state=goal.state,
            tasks=goal.tasks,
            lines=tuple(
                ReceiptLine(
                    service=line.service,
                    what=line.what,
                    quantity=line.quantity,
                    unit=line.unit,
                    dollars=line.dollars,
                    basis="counted" if line.is_counted else "estimated",
                    how=line.how,
                )
                for line in lines
            ),
            dollars=dollars["all"],
            counted_dollars=dollars["counted"],
            dollars_per_million_tasks=dollars["all"] / goal.tasks * 1e6,
            tokens=sum(use.tokens for use in used),
            models=tuple(map(ModelUseView.of, used)),
            is_complete=goal.state.is_final and not others and recorded >= sum(goal.counts.values()),
            prices={"region": prices.region, "day": prices.day.isoformat(), "source": prices.source},
            not_included=NOT_INCLUDED,
        )


def _stand_in(result: Result) -> Event:
    """What the history would say of a result that it does not hold; its size is estimated."""
    size = len(canonical([outcome.output for outcome in result.outcomes])) + _RESULT_FIELDS
    facts = {
        "unit": result.unit,
        "states": "".join(outcome.state.value[0] for outcome in result.outcomes),
        "agent": result.agent,
        "started": int(result.started.timestamp() * 1e6),
        "seconds": result.duration,
        "writes": int(write_units(size)),
    } | ({"origin": result.origin} if result.origin else {})
    return Event(0, result.started, EventKind.RESULT, facts)


def _goal_bytes(events: list[Event]) -> int:
    """About how large the goal's item is: its writes are counted twice, for the index too."""
    return max((int(event.facts["writes"]) * 512 for event in events if "unit" not in event.facts), default=0)
