"""Spans of agents that think, by OpenTelemetry: sent to a collector before the environment that made them may be frozen."""

from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

PATH: Final = "/v1/traces"
"""Below a collector's address (OpenTelemetry Protocol specification, 'OTLP/HTTP Request')."""
EXPORT_SECONDS: Final = 2.0
"""That a collector may take; a task does not wait longer for one."""


class Traces:
    """`Traces(service, endpoint)`: all spans that Strands makes in this process from now on, of agents, turns and tools.

    A collector that is away costs its spans and a line in the log, never a task. A process has one: the first one counts.
    """

    def __init__(self, service: str, endpoint: str, exporter: SpanExporter | None = None) -> None:
        """`endpoint`: the collector's base address; `exporter` sends spans elsewhere."""
        sent = exporter or OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH, timeout=EXPORT_SECONDS)
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
        self._provider.add_span_processor(BatchSpanProcessor(sent))
        trace.set_tracer_provider(self._provider)

    def flush(self) -> None:
        """Send what has ended."""
        self._provider.force_flush(int(EXPORT_SECONDS * 1000))

    def close(self) -> None:
        """Send what has ended, and no more."""
        self._provider.shutdown()
