"""What AWS allows and how long it takes, as far as the calculations here need it. Nothing on this page was measured by us.

As of 2026-11-22, us-east-1. Sources: AWS Lambda Developer Guide, 'Lambda quotas', 'Lambda scaling behavior', 'Using Lambda with
Amazon SQS' and 'Configuring scaling behavior'; Amazon SQS Developer Guide, 'Amazon SQS quotas'; Amazon DynamoDB Developer
Guide, 'Quotas' and 'On-demand capacity mode'. Latencies: bitesizedserverless.com, September 2022, eu-west-1, warm, from the
producer's stamp to the consuming function; those of writes and of cold starts are common experience, not a measurement.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

DAY: Final = date(2026, 11, 22)
MB_PER_CPU: Final = 1769
"""AWS Lambda Developer Guide, 'Configure Lambda function memory': so much comes with one vCPU, less with a share of it."""


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """A distribution, by two of its percentiles."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of a request each."""

    hop: Milliseconds = Milliseconds(16.2, 105.0)
    """From a message's sending to the start of its function."""
    write: Milliseconds = Milliseconds(5.0, 15.0)
    """A DynamoDB request; an SQS request is taken to be as long."""
    cold_start: Milliseconds = Milliseconds(300.0, 1000.0)
    """Of a function on Python 3.13 and arm64 with libraries."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of one account with default quotas."""

    trigger_start: int = 5
    """Concurrent invocations that an SQS trigger begins with …"""
    trigger_per_minute: int = 300
    """… and adds while messages wait …"""
    trigger_most: int = 1_250
    """… up to here."""
    provisioned_per_poller: int = 10
    """Concurrent invocations per provisioned poller."""
    provisioned_per_minute: int = 1_000
    environments: int = 1_000
    """Concurrent executions of an account."""
    environments_per_10_s: int = 1_000
    """New execution environments of a function."""
    table_new: int = 4_000
    """Write units a second of a new table on demand …"""
    table_double_minutes: int = 30
    """… which may double its earlier peak in so many minutes …"""
    table_most: int = 40_000
    """… up to the default quota of a table."""
    partition_key: int = 1_000
    """Write units a second of one partition key."""
    in_flight: int = 120_000
    """Messages of a standard queue that are received and not yet deleted."""


QUOTAS: Final = Quotas()
LATENCIES: Final = Latencies()
