"""The API's calls as data: what to send and how to read what comes back, shared by the two clients."""

import base64
import gzip
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import GoalRequest
from agentfleet.services import (
    audit_views,
    fleet_views,
    goal_views,
    governance_views,
    health_views,
    routing_views,
    upload_views,
    views,
)
from agentfleet.services import knowledge_views as known
from client.errors import FleetApiError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

GZIP_BYTES: Final = 65_536
"""Bodies over this size are sent gzipped: plans of many alike tasks shrink to a tenth."""
RETRIED: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the reading of its answer."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    read: Callable[[bytes], T]
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    is_repeatable: bool = True
    """May it be sent again when nobody knows whether it was carried out?"""

    def may_retry(self, status: int) -> bool:
        """Is trying again after this answer right?"""
        return status in RETRIED and (self.is_repeatable or status == 429)

    def answer(self, status: int, content: bytes) -> T:
        """What the call gives. Raises FleetApiError."""
        if status >= 400:
            raise error_of(status, content)
        try:
            return self.read(content)
        except ValidationError as error:
            message = f"{self.method} {self.path} gave something that is not what the API promises: {error.errors()[0]['msg']}"
            raise FleetApiError(status, "unreadable_answer", message) from error


def error_of(status: int, content: bytes) -> FleetApiError:
    """The error that an answer stands for; gateways have other bodies than the API itself."""
    try:
        shown = views.ErrorView.model_validate_json(content)
    except ValidationError:
        if status in {401, 403}:
            return FleetApiError.of(status, "unauthorized", "the API does not know this key")
        text = content.decode(errors="replace").strip()[:300]
        return FleetApiError.of(status, "http_error", f"HTTP {status}{': ' if text else ''}{text}")
    return FleetApiError.of(status, shown.error, shown.message, shown.problems)


def _params(**given: Any) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _get(path: str, model: type[M], **params: Any) -> Call[M]:
    return Call("GET", path, model.model_validate_json, _params(**params))


def _send(
    method: Literal["POST", "PATCH"],
    path: str,
    model: type[M],
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    is_repeatable: bool = True,
) -> Call[M]:
    kind = {"content-type": "application/json"}
    if len(body) > GZIP_BYTES:
        # An HTTP API hands a body over untouched only if its type is not one of text, whatever Content-Encoding says.
        body, kind = gzip.compress(body, 6, mtime=0), {"content-type": "application/octet-stream", "content-encoding": "gzip"}
    return Call(method, path, model.model_validate_json, {}, {**kind, **(headers or {})}, body, is_repeatable)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _nothing(_: bytes) -> None:
    return None


def submit_goal(goal: GoalRequest | Mapping[str, Any], key: str | None = None) -> Call[goal_views.GoalView]:
    """A key is made if none is given, so that a submission that is sent twice makes one goal."""
    body = goal.model_dump_json(exclude_defaults=True).encode() if isinstance(goal, GoalRequest) else _json(goal)
    return _send("POST", "/goals", goal_views.GoalView, body, headers={"idempotency-key": key or secrets.token_hex(16)})


def list_goals(state: GoalState | None, limit: int | None, cursor: str | None) -> Call[goal_views.GoalPage]:
    """One page of goals."""
    return _get("/goals", goal_views.GoalPage, state=state, limit=limit, cursor=cursor)


def get_goal(goal_id: str) -> Call[goal_views.GoalView]:
    """One goal."""
    return _get(f"/goals/{_step(goal_id)}", goal_views.GoalView)


def list_tasks(goal_id: str, state: TaskState | None, limit: int | None, cursor: str | None) -> Call[goal_views.TaskPage]:
    """One page of tasks."""
    return _get(f"/goals/{_step(goal_id)}/tasks", goal_views.TaskPage, state=state, limit=limit, cursor=cursor)


def get_task(ref: str) -> Call[goal_views.TaskDetail]:
    """One task with its output."""
    return _get(f"/tasks/{_step(ref)}", goal_views.TaskDetail)


def get_result(goal_id: str) -> Call[goal_views.GoalResult]:
    """A goal's result."""
    return _get(f"/goals/{_step(goal_id)}/result", goal_views.GoalResult)


def get_history(goal_id: str, limit: int | None, cursor: str | None) -> Call[audit_views.HistoryPage]:
    """One page of a goal's events."""
    return _get(f"/goals/{_step(goal_id)}/history", audit_views.HistoryPage, limit=limit, cursor=cursor)


def verify_history(goal_id: str) -> Call[audit_views.VerdictView]:
    """Whether a goal's history holds."""
    return _get(f"/goals/{_step(goal_id)}/verify", audit_views.VerdictView)


def get_receipt(goal_id: str) -> Call[audit_views.ReceiptView]:
    """What a goal has cost."""
    return _get(f"/goals/{_step(goal_id)}/receipt", audit_views.ReceiptView)


def cancel_goal(goal_id: str) -> Call[goal_views.GoalView]:
    """Cancel."""
    return Call("DELETE", f"/goals/{_step(goal_id)}", goal_views.GoalView.model_validate_json)


def pause_goal(goal_id: str) -> Call[goal_views.GoalView]:
    """Hold its tasks back."""
    return Call("POST", f"/goals/{_step(goal_id)}/pause", goal_views.GoalView.model_validate_json)


def resume_goal(goal_id: str) -> Call[goal_views.GoalView]:
    """Let it go on."""
    return Call("POST", f"/goals/{_step(goal_id)}/resume", goal_views.GoalView.model_validate_json)


def compensate_goal(goal_id: str) -> Call[goal_views.GoalView]:
    """Go on undoing it."""
    return Call("POST", f"/goals/{_step(goal_id)}/compensate", goal_views.GoalView.model_validate_json)


def fork_goal(
    goal_id: str, keep: Sequence[str], changes: Mapping[str, Mapping[str, Any]], key: str | None = None
) -> Call[goal_views.GoalView]:
    """A key is made if none is given, as for a submission."""
    body = _json({"keep": list(keep), "set": changes})
    headers = {"idempotency-key": key or secrets.token_hex(16)}
    return _send("POST", f"/goals/{_step(goal_id)}/fork", goal_views.GoalView, body, headers=headers)


def list_agents(capability: str | None, pool: str | None) -> Call[fleet_views.AgentList]:
    """Living agents."""
    return _get("/agents", fleet_views.AgentList, capability=capability, pool=pool)


def list_pools() -> Call[fleet_views.PoolList]:
    """All pools."""
    return _get("/pools", fleet_views.PoolList)


def get_pool(name: str) -> Call[fleet_views.PoolView]:
    """One pool."""
    return _get(f"/pools/{_step(name)}", fleet_views.PoolView)


def scale_pool(name: str, concurrency: int) -> Call[fleet_views.PoolView]:
    """Another concurrency."""
    return _send("PATCH", f"/pools/{_step(name)}", fleet_views.PoolView, _json({"concurrency": concurrency}))


def drain_pool(name: str) -> Call[fleet_views.PoolView]:
    """No new work for a pool."""
    return Call("POST", f"/pools/{_step(name)}/drain", fleet_views.PoolView.model_validate_json)


def undrain_pool(name: str) -> Call[fleet_views.PoolView]:
    """Work for a pool again."""
    return Call("POST", f"/pools/{_step(name)}/undrain", fleet_views.PoolView.model_validate_json)


def discover(capability: str) -> Call[routing_views.OfferList]:
    """Who offers a capability."""
    return _get(f"/capabilities/{_step(capability)}", routing_views.OfferList)


def get_logs(name: str, minutes: int | None, limit: int | None) -> Call[fleet_views.LogPage]:
    """A pool's newest lines."""
    return _get(f"/pools/{_step(name)}/logs", fleet_views.LogPage, minutes=minutes, limit=limit)


def spawn_fleet(size: int, capabilities: Sequence[str] | None) -> Call[fleet_views.FleetView]:
    """A fleet. Sent again it would be another one."""
    body = _json({"size": size, "capabilities": None if capabilities is None else list(capabilities)})
    return _send("POST", "/fleets", fleet_views.FleetView, body, is_repeatable=False)


def list_fleets() -> Call[fleet_views.FleetList]:
    """Fleets that are held."""
    return _get("/fleets", fleet_views.FleetList)


def get_fleet(fleet_id: str) -> Call[fleet_views.FleetView]:
    """One fleet."""
    return _get(f"/fleets/{_step(fleet_id)}", fleet_views.FleetView)


def resize_fleet(fleet_id: str, size: int) -> Call[fleet_views.FleetView]:
    """Another size."""
    return _send("PATCH", f"/fleets/{_step(fleet_id)}", fleet_views.FleetView, _json({"size": size}))


def release_fleet(fleet_id: str) -> Call[fleet_views.FleetView]:
    """Give it back."""
    return Call("DELETE", f"/fleets/{_step(fleet_id)}", fleet_views.FleetView.model_validate_json)


def list_playbooks() -> Call[goal_views.PlaybookList]:
    """All playbooks."""
    return _get("/playbooks", goal_views.PlaybookList)


def get_playbook(name: str) -> Call[goal_views.PlaybookDetail]:
    """One playbook with its plan."""
    return _get(f"/playbooks/{_step(name)}", goal_views.PlaybookDetail)


def list_documents(domain: str | None) -> Call[known.DocumentList]:
    """Documents."""
    return _get("/knowledge", known.DocumentList, domain=domain)


def search_documents(query: str, domains: Sequence[str] | None, limit: int | None) -> Call[known.FindingList]:
    """Pieces of documents that match the query."""
    return _get("/knowledge/search", known.FindingList, query=query, domain=",".join(domains or ()) or None, limit=limit)


def ask_documents(question: str, domains: Sequence[str] | None) -> Call[known.AnswerView]:
    """An answer from documents."""
    return _get("/knowledge/ask", known.AnswerView, question=question, domain=",".join(domains or ()) or None)


def add_document(order: known.DocumentOrder | Mapping[str, Any]) -> Call[known.DocumentView]:
    """Keep a document; again it is the same one."""
    body = order.model_dump_json(exclude_none=True).encode() if isinstance(order, known.DocumentOrder) else _json(dict(order))
    return _send("POST", "/knowledge", known.DocumentView, body)


def delete_document(domain: str, document_id: str) -> Call[None]:
    """Forget a document."""
    return Call("DELETE", f"/knowledge/{_step(domain)}/{_step(document_id)}", _nothing)


def upload_file(name: str, body: bytes) -> Call[upload_views.UploadView]:
    """Take in a file; again it is the same one."""
    content = base64.b64encode(body).decode()
    return _send("POST", "/uploads", upload_views.UploadView, _json({"name": name, "content": content}))


def heal() -> Call[health_views.HealView]:
    """Run the healer."""
    return _send("POST", "/heal", health_views.HealView, _json({}))


def get_incidents() -> Call[health_views.IncidentSummary]:
    """Goals that stood still."""
    return _get("/health/incidents", health_views.IncidentSummary)


def list_dead_letters(pool: str | None, limit: int | None, key: str | None) -> Call[health_views.DeadLetterList]:
    """Dead letters."""
    return _get("/dead-letters", health_views.DeadLetterList, pool=pool, limit=limit, key=key)


def redrive_dead_letters(pool: str, key: str | None) -> Call[health_views.DeadLetterList]:
    """Sent again it finds them gone."""
    return _send("POST", f"/dead-letters/{_step(pool)}/redrive", health_views.DeadLetterList, _json({"key": key}))


def bury_dead_letter(pool: str, key: str, reason: str) -> Call[health_views.DeadLetterView]:
    """Take one out of its queue. Not sent again: it would not be found."""
    body = _json({"key": key, "reason": reason})
    return _send("POST", f"/dead-letters/{_step(pool)}/bury", health_views.DeadLetterView, body, is_repeatable=False)


def get_budget(goal_id: str | None) -> Call[governance_views.BudgetView]:
    """A goal's budget, or the tenant's day."""
    return _get(f"/goals/{_step(goal_id)}/budget" if goal_id is not None else "/budget", governance_views.BudgetView)


def add_to_budget(goal_id: str, dollars: float, tokens: int, seconds: float) -> Call[governance_views.BudgetView]:
    """Not sent again: it would be added twice."""
    body = _json({"dollars": dollars, "tokens": tokens, "seconds": seconds})
    return _send("POST", f"/goals/{_step(goal_id)}/budget", governance_views.BudgetView, body, is_repeatable=False)


def list_approvals(limit: int | None, cursor: str | None) -> Call[governance_views.ApprovalPage]:
    """One page of what waits for approval."""
    return _get("/approvals", governance_views.ApprovalPage, limit=limit, cursor=cursor)


def approve(ref: str, note: str | None) -> Call[governance_views.ApprovalView]:
    """Again it is the same decision."""
    return _send("POST", f"/approvals/{_step(ref)}/approve", governance_views.ApprovalView, _json({"note": note}))


def reject(ref: str, reason: str) -> Call[governance_views.ApprovalView]:
    """Again it is the same decision."""
    return _send("POST", f"/approvals/{_step(ref)}/reject", governance_views.ApprovalView, _json({"reason": reason}))


def list_kills() -> Call[governance_views.KillList]:
    """What is stopped."""
    return _get("/kills", governance_views.KillList)


def kill(kind: str, name: str, reason: str) -> Call[governance_views.KillView]:
    """Stop something; again changes nothing."""
    return _send("POST", "/kills", governance_views.KillView, _json({"kind": kind, "name": name, "reason": reason}))


def unkill(kind: str, name: str) -> Call[governance_views.KillView]:
    """Let it go on. Not sent again: it would not be found."""
    body = _json({"kind": kind, "name": name})
    return _send("POST", "/kills/lift", governance_views.KillView, body, is_repeatable=False)


def get_kill_history(week: str | None) -> Call[audit_views.KillHistory]:
    """What was stopped and lifted in a week."""
    return _get("/kills/history", audit_views.KillHistory, week=week)


def get_health() -> Call[views.HealthView]:
    """Does the API answer?"""
    return _get("/health", views.HealthView)


def _step(name: str) -> str:
    """One step of a path, whatever it holds. An empty one would ask for something else."""
    if not name.strip():
        raise ValueError("an id or name must not be empty")
    return quote(name, safe=":@!$&'()*+,;=~")
