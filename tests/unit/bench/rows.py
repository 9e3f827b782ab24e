"""Results as the benchmarks write them, with round numbers."""

from typing import Any

ROW: dict[str, Any] = {
    "wru_per_task": 1.1,
    "rru_per_task": 0.04,
    "sqs_requests_per_task": 0.3,
    "dynamodb_requests_per_task": 0.2,
    "other_requests_per_task": 0.001,
    "api_requests_per_task": 0.0,
    "event_requests_per_task": 0.001,
    "s3_puts_per_task": 0.0,
    "s3_gets_per_task": 0.0,
    "invocations_per_task": 0.1,
    "dollars_per_million_tasks": 0.1,
    "cpu_ms_per_task": 3.0,
    "cpu_functions_ms_per_task": 1.0,
    "cpu_emulator_ms_per_task": 1.8,
    "cpu_client_ms_per_task": 0.1,
    "tasks_per_second": 200.0,
    "last_run": {"uncounted": {}},
}
RESULTS: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "workload": {"runs": 3},
    "machine": {"cpus": 2},
    "versions": {"python": "3.13.1"},
    "single": ROW,
    "chunked": {**ROW, "wru_per_task": 0.12, "invocations_per_task": 0.01, "cpu_functions_ms_per_task": 0.2},
    "large": ROW,
    "lone": {**ROW, "p50_ms": 100.0, "p95_ms": 200.0},
}
_MEASURED: dict[str, Any] = {"date": "2026-01-02T03:04:05+00:00", "machine": {"cpus": 2}, "p50_ms": 3.0, "p95_ms": 5.0}
PEERS: dict[str, Any] = {
    "fleet": {**_MEASURED, "cpu_ms_per_task": 2.5, "tasks_per_second": 250.0, "version": "0.1.0", "store": "memory"},
    "fleet-chunked": {**_MEASURED, "cpu_ms_per_task": 0.5, "tasks_per_second": 1500.0, "version": "0.1.0", "store": "memory"},
    "celery": {**_MEASURED, "cpu_ms_per_task": 10.0, "tasks_per_second": 100.0, "version": "5.7.0", "store": "Valkey"},
    "dbos": {"missing": "no network", "version": "3.4.0", "store": "PostgreSQL 18"},
}
