"""Where agents that think send their spans: nowhere, unless the deployment names a collector."""

import aws_cdk
import pytest

from cdk.errors import FleetError
from cdk.models import TRACED, trace_environment
from cdk.stage import Stage

COLLECTOR = "http://localhost:4318"


def test_a_pool_with_the_layer_is_told_the_collector() -> None:
    """By OpenTelemetry's own variable; and that what was said stays out of what is sent."""
    told = trace_environment(("core", TRACED), Stage("prod", traces=COLLECTOR))

    assert told == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_unredacted_attributes=",
    }


def test_no_other_is() -> None:
    """Neither without a collector nor without OpenTelemetry in its layers."""
    assert trace_environment((TRACED,), Stage("prod")) == {}
    assert trace_environment(("data",), Stage("prod", traces=COLLECTOR)) == {}


def test_the_collector_is_named_in_the_context() -> None:
    """As an address; what is none is refused."""
    assert Stage.from_context(aws_cdk.App(context={"traces": COLLECTOR}).node).traces == COLLECTOR
    assert Stage.from_context(aws_cdk.App().node).traces is None

    with pytest.raises(FleetError, match=r"context traces: must be the address of a collector.*got 'here'"):
        Stage.from_context(aws_cdk.App(context={"traces": "here"}).node)
