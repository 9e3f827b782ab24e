"""What others charge, and AWS for what this platform does not use; what it does use is priced in agentfleet.domain.prices.

List prices in us-east-1 without free tiers, on the day of PRICES.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final


@dataclass(frozen=True, slots=True)
class OtherPrices:
    """Dollars, of one region on one day."""

    region: str
    day: date
    sources: tuple[str, ...]
    transitions_standard: float
    """Step Functions Standard: per million state transitions."""
    requests_express: float
    """Step Functions Express: per million executions."""
    gb_hour_express: float
    """Per GB-hour; memory in steps of 64 MB, time in steps of 100 ms."""
    operations_durable: float
    """Lambda durable functions: per million operations; a step is one."""
    written_durable: float
    """Per GB written."""
    retained_durable: float
    """Per GB and month kept."""
    actions_temporal: tuple[tuple[float, float], ...]
    """Temporal Cloud: up to so many million actions a month, dollars per million of them; more than the last cost as much."""
    vcpu_hour_fargate: float
    """Arm."""
    gb_hour_fargate: float
    gb_hour_valkey: float
    """ElastiCache Serverless for Valkey, at least a tenth of a GB."""
    units_valkey: float
    """Per million ElastiCache processing units: a simple command on up to 1 KB is one."""
    poller_hour: float
    """One provisioned poller of an SQS trigger."""


OTHERS: Final = OtherPrices(
    region="us-east-1",
    day=date(2026, 11, 22),
    sources=(
        "AWS Step Functions pricing",
        "AWS Lambda pricing (durable functions, provisioned mode of event source mappings)",
        "Amazon ElastiCache pricing",
        "AWS Fargate pricing, Linux/ARM (read on 2026-11-22 as vantage.sh/blog/fargate-pricing quotes it)",
        "Temporal Cloud pricing; the plan's monthly fee ($100 or more) is left out",
    ),
    transitions_standard=25.0,
    requests_express=1.00,
    gb_hour_express=0.060012,
    operations_durable=8.0,
    written_durable=0.25,
    retained_durable=0.15,
    actions_temporal=((5, 50.0), (10, 45.0), (20, 40.0), (50, 35.0), (100, 30.0), (200, 25.0)),
    vcpu_hour_fargate=0.03238,
    gb_hour_fargate=0.00356,
    gb_hour_valkey=0.084,
    units_valkey=0.0023,
    poller_hour=0.00925,
)


def temporal_dollars(actions: float, steps: tuple[tuple[float, float], ...] = OTHERS.actions_temporal) -> float:
    """Dollars a month for so many million actions: each step's price is for the actions within it."""
    dollars, below = 0.0, 0.0
    for upto, price in steps:
        dollars += max(0.0, min(actions, upto) - below) * price
        below = upto
    return dollars + max(0.0, actions - below) * steps[-1][1]
