"""What AWS charges, as far as a goal's receipt needs it: list prices, on demand, first tier, without the free tier."""

from datetime import date
from typing import Final

from msgspec import Struct


class PriceTable(Struct, frozen=True):
    """Dollars, of one region on one day."""

    region: str
    day: date
    source: str
    write_units: float
    """Per million, as are all that follow up to `requests_http`."""
    read_units: float
    requests_sqs: float
    requests_lambda: float
    requests_events: float
    requests_s3_put: float
    requests_s3_get: float
    requests_http: float
    gb_second_arm: float
    """Per GB-second on arm64."""
    transitions: float
    """Of Step Functions' Standard workflows, per million."""


PRICES: Final = PriceTable(
    region="us-east-1",
    day=date(2026, 11, 22),
    source="the services' pricing pages on aws.amazon.com: DynamoDB on demand, SQS standard, Lambda arm64, EventBridge custom "
    "events, S3 Standard, API Gateway HTTP API, Step Functions Standard",
    write_units=0.625,
    read_units=0.125,
    requests_sqs=0.40,
    requests_lambda=0.20,
    requests_events=1.00,
    requests_s3_put=5.00,
    requests_s3_get=0.40,
    requests_http=1.00,
    gb_second_arm=1.33334e-05,
    transitions=25.00,
)
