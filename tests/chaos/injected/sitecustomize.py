"""Faults inside a function: its interpreter loads this at its start because the chaos run put this folder on its PYTHONPATH.

Orders lie as files in $CHAOS_FOLDER/orders/<function>; the first process of that function whose next AWS call an order is meant
for takes it, carries it out and notes it in $CHAOS_FOLDER/done. While an invocation runs, $CHAOS_FOLDER/busy/<pid> says which
messages it has. Nothing of this is in the fleet's code, layers or templates.
"""

import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ["CHAOS_FOLDER"])
FUNCTION = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
TASK_QUEUE_SEND = "AmazonSQS.SendMessageBatch"

_lock = Lock()
_active: dict[str, Any] = {}
_bodies: list[str] = []


def _write(path: Path, value: Any) -> None:
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_text(json.dumps(value), encoding="utf-8")
    work.replace(path)


def _watch(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The handler, with a note of what it is at for as long as it runs."""
    busy = FOLDER / "busy" / str(os.getpid())

    def watched(event: Any, context: Any) -> Any:
        records = event.get("Records", ()) if isinstance(event, dict) else ()
        _bodies[:] = [str(record.get("body", "")) for record in records]
        _write(busy, {"function": FUNCTION, "bodies": _bodies})
        try:
            return handler(event, context)
        finally:
            busy.unlink()

    return watched


def _import(name: str, package: str | None = None) -> ModuleType:
    module = _import_module(name, package)
    if name == "handler":
        for attribute in ("agent", "handler"):
            if callable(found := getattr(module, attribute, None)):
                setattr(module, attribute, _watch(found))
    return module


_import_module = importlib.import_module
importlib.import_module = _import

import botocore.httpsession  # noqa: E402 - the first use of it, before any handler's
from botocore.awsrequest import AWSResponse  # noqa: E402
from botocore.compat import HTTPHeaders  # noqa: E402
from botocore.exceptions import ConnectionClosedError  # noqa: E402

_send = botocore.httpsession.URLLib3Session.send


def _target(request: Any) -> str:
    """Such as `DynamoDB_20120810.UpdateItem`, `AmazonSQS.SendMessageBatch`, `S3.PUT`."""
    target = request.headers.get("X-Amz-Target")
    if target:
        return target.decode() if isinstance(target, bytes) else str(target)
    return f"S3.{request.method}"


def _take(target: str) -> dict[str, Any] | None:
    """The order that this call falls under: one that is being carried out, or one that waits for such a call."""
    with _lock:
        if _active:
            _active["calls"] -= 1
            order = dict(_active)
            if _active["calls"] <= 0:
                _active.clear()
            return order
        try:
            waiting = sorted(os.scandir(FOLDER / "orders" / FUNCTION), key=lambda entry: entry.name)
        except FileNotFoundError:
            return None
        for entry in waiting:
            found = _claim(Path(entry.path), target)
            if found is not None:
                if found["calls"] > 1:
                    _active.update(found, calls=found["calls"] - 1, first=False)
                return found
        return None


def _claim(path: Path, target: str) -> dict[str, Any] | None:
    try:
        order: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if order["target"] not in target:
            return None
        path.rename(FOLDER / "taken" / path.name)
    except FileNotFoundError:
        return None  # somebody else was quicker
    order["first"] = True
    return order


def _note(order: dict[str, Any], target: str, bodies: list[str]) -> None:
    if order.pop("first", False):
        note = {"id": order["id"], "at": time.time(), "function": FUNCTION, "pid": os.getpid(), "target": target}
        _write(FOLDER / "done" / f"{order['id']}.json", note | {"bodies": bodies})


class _Raw:
    """A body as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Any:
        yield self._body


def _answer(request: Any, status: int, body: str) -> AWSResponse:
    kind = "application/xml" if body.startswith("<") else "application/x-amz-json-1.0"
    return AWSResponse(request.url, status, HTTPHeaders.from_dict({"content-type": kind}), _Raw(body.encode()))


def _refusal(request: Any, target: str, kind: str) -> AWSResponse:
    name, status, xml = ("ThrottlingException", 400, 503) if kind == "throttle" else ("InternalServerError", 500, 500)
    if target.startswith("S3."):
        code = "SlowDown" if kind == "throttle" else "InternalError"
        return _answer(request, xml, f"<Error><Code>{code}</Code><Message>chaos</Message></Error>")
    return _answer(request, status, json.dumps({"__type": name, "message": "chaos"}))


def _entries(request: Any) -> list[dict[str, Any]]:
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    entries: list[dict[str, Any]] = json.loads(body)["Entries"]
    return entries


def _chaotic(session: Any, request: Any) -> Any:
    """`send` with whatever order falls on this call."""
    target = _target(request)
    order = _take(target)
    if order is None:
        return _send(session, request)
    kind = order["kind"]
    sent = [entry["MessageBody"] for entry in _entries(request)] if target == TASK_QUEUE_SEND else []
    _note(order, target, sent if kind in {"lose", "duplicate"} else list(_bodies))
    match kind:
        case "throttle" | "error":
            return _refusal(request, target, kind)
        case "reset-before":
            raise ConnectionClosedError(endpoint_url=request.url)
        case "reset-after":
            _send(session, request)
            raise ConnectionClosedError(endpoint_url=request.url)
        case "slow":
            time.sleep(order["seconds"])
        case "die-before":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die-after":
            _send(session, request)
            os.kill(os.getpid(), signal.SIGKILL)
        case "duplicate":
            _send(session, request)
        case "lose":
            taken = [{"Id": entry["Id"], "MessageId": f"lost-{order['id']}"} for entry in _entries(request)]
            return _answer(request, 200, json.dumps({"Successful": taken}))
    return _send(session, request)


setattr(botocore.httpsession.URLLib3Session, "send", _chaotic)  # noqa: B010 - a method, which mypy guards
