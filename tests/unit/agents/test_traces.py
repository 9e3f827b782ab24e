"""Spans of agents that think: what they tell, what they keep to themselves, and how they reach a collector."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once
from strands.telemetry import tracer

from agentfleet import bootstrap_pools
from agentfleet.adapters.traces import Traces
from agentfleet.domain.goal import GoalState
from functions.agents import handler
from tests.fakes.models import call, say
from tests.unit.agents.fleet import AgentFleet

SECRET = "the moon is made of tea"


class Collector(BaseHTTPRequestHandler):
    """What takes OTLP over HTTP."""

    seen: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        type(self).seen.append((self.path, json.loads(plain)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has no tracer provider yet, and whose spans keep to themselves what was said, as deployed."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(tracer, "_tracer_instance", None)
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_unredacted_attributes=")
    bootstrap_pools.tracing.cache_clear()
    yield
    bootstrap_pools.tracing.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_spans_name_the_task_the_model_the_tools_and_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the GenAI conventions, a trace for each time that the task is carried out; what was said is in none of them."""
    kept = InMemorySpanExporter()
    traces = Traces("fleet-agents", "http://nowhere", kept)
    monkeypatch.setattr(handler, "tracing", lambda: traces)
    fleet = AgentFleet([call(("shop__price", {"thing": "tea"})), say(SECRET)])

    goal = fleet.ask(SECRET)
    spans = kept.get_finished_spans()
    traces.close()

    agents = [dict(span.attributes or {}) for span in spans if span.name.startswith("invoke_agent")]
    told = {span.attributes["gen_ai.operation.name"]: dict(span.attributes) for span in spans if span.attributes}
    agent = told["invoke_agent"]
    assert goal.state is GoalState.SUCCEEDED
    assert len({span.context.trace_id for span in spans}) == 2  # it was put off while the tool's own goal ran
    assert (agent["agentfleet.goal"], agent["agentfleet.task"]) == (goal.id, "a")
    assert agent["agentfleet.tenant"] == goal.tenant
    assert [one["gen_ai.usage.input_tokens"] for one in agents] == [10, 10]  # what was written down before is not paid twice
    assert told["chat"]["gen_ai.usage.output_tokens"] == 5
    assert (
        told["chat"]["gen_ai.request.model"] == agent["gen_ai.request.model"] == "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    )
    assert told["execute_tool"]["gen_ai.tool.name"] == "shop__price"
    assert SECRET not in "".join(span.to_json() for span in spans)
    assert spans[0].resource.attributes["service.name"] == "fleet-agents"


@pytest.mark.usefixtures("fresh")
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_named_collector_has_the_spans_when_the_task_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is the switch: an environment may be frozen after its task, so nothing is left for later."""
    Collector.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}", **POOL}.items():
        monkeypatch.setenv(name, value)

    AgentFleet([say("Done.")]).ask()
    sent = list(Collector.seen)
    traces = bootstrap_pools.tracing()
    assert traces is not None
    traces.close()
    server.shutdown()
    thread.join()
    server.server_close()

    assert {path for path, _ in sent} == {"/v1/traces"}
    names = [
        span["name"]
        for _, body in sent
        for resource in body["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert any(name.startswith("invoke_agent") for name in names)
    assert any(name.startswith("chat") for name in names)


@pytest.mark.usefixtures("fresh")
def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider is set, and a task has nobody to wait for."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)

    goal = AgentFleet([say("Done.")]).ask()

    assert goal.state is GoalState.SUCCEEDED
    assert bootstrap_pools.tracing() is None
    assert trace._TRACER_PROVIDER is None


POOL = {
    "FLEET": "fleet",
    "POOL": "agents",
    "WORK_TABLE": "fleet-work",
    "REGISTRY_TABLE": "fleet-registry",
    "BUCKET": "bucket",
    "BUS": "fleet-events",
    "RELEASE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/fleet-release",
}
