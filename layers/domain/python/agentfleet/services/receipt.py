"""What a goal has cost so far, made up when somebody asks."""

from typing import Final

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.history import Event
from agentfleet.domain.prices import PRICES, PriceTable
from agentfleet.domain.receipt import Sizes, price_goal, total
from agentfleet.ports import PlanStore
from agentfleet.services.audit_views import ReceiptLine, ReceiptView
from agentfleet.services.history import Historian

MAX_TASKS: Final = 20_000
"""A receipt reads the goal's whole plan and history; above this an answer would take longer than the API may."""
_SEGMENT_FIELDS: Final = 300
"""Bytes of a segment's item besides its events: keys, head, expiry."""
NOT_INCLUDED: Final = (
    "requests that look at the goal (GET), empty receives of idle queues, and what the fleet costs per month",
    "attempts that failed and were tried again",
    "the goals of sub-plans: each has a receipt of its own",
    "S3, KMS and CloudWatch Logs, other than the outputs and plan parts above; data transfer",
    "the function that records the history, about a millisecond per event",
)


class Accountant:
    """Receipts as a tenant may see them: `Accountant(plans, historian, catalog, prices=PRICES)`."""

    def __init__(
        self,
        plans: PlanStore,
        historian: Historian,
        catalog: Catalog,
        prices: PriceTable = PRICES,
    ) -> None:
        self._plans = plans
        self._historian = historian
        self._catalog = catalog
        self._prices = prices

    def receipt(self, tenant: str, goal_id: str) -> ReceiptView:
        """What the goal has cost. Raises NotFound; raises InvalidRequest for a goal of more than 20,000 tasks."""
        goal = self._historian.own(tenant, goal_id)
        if goal.tasks > MAX_TASKS:
            raise InvalidRequest.of("goal", f"has {goal.tasks:,} tasks; receipts are made for up to {MAX_TASKS:,}")
        plan = self._plans.read(goal_id).whole()
        encoded = encode(plan)
        events, segments = self._historian.events(goal_id)
        sizes = Sizes(encoded.size, encoded.is_inline, len(encoded.parts), _goal_bytes(events))
        stored = [len(segment.text.encode()) + _SEGMENT_FIELDS for segment in segments]
        lines = price_goal(events, stored, plan, sizes, self._catalog, self._prices)
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
            is_complete=goal.state.is_final and recorded >= sum(goal.counts.values()),
            prices={"region": prices.region, "day": prices.day.isoformat(), "source": prices.source},
            not_included=NOT_INCLUDED,
        )


def _goal_bytes(events: list[Event]) -> int:
    """About how large the goal's item is: its writes are counted twice, for the index too."""
    return max((int(event.facts["writes"]) * 512 for event in events if "unit" not in event.facts), default=0)
