"""The check of the function that serves the fleet as tools, by the Model Context Protocol."""

import json
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.emulator.grants.hand import LARGE, TENANT, Hand, Refused, noise, step
from tests.emulator.grants.knowing import TOOL_DOMAIN, keep_one, must_find_both_ways
from tests.emulator.grants.undoing import COMPENSATE, parents_must_go_on, parts_that_end, undoable

HEADERS: Final = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-06-18",
}


def serve_mcp(hand: Hand) -> None:
    """Every tool that needs something of AWS: goals, small and wide, looked at, ended; a result with a file; a search."""
    goal = _call(hand, "submit_goal", plan={"tasks": [step("a", noise()), step("b", {"$from": "a"})]})
    _call(hand, "get_goal", goal_id=goal["id"])
    _call(hand, "list_goals")
    wide = _call(hand, "submit_goal", plan={"tasks": [step(f"t.{number}") for number in range(100)]})
    _call(hand, "cancel_goal", goal_id=wide["id"])
    _call(hand, "cancel_goal", goal_id=goal["id"])
    done = hand.submit(step("a"), output={"$from": "a"})
    hand.platform.outside.blobs.put(f"blobs/{TENANT}/{done.id}/a/file.txt", b"text", "text/plain")
    hand.put_result(done, "a", "x" * LARGE)
    result = _call(hand, "get_result", goal_id=done.id)
    if [_fetch(file["url"]) for file in result["files"]] != [b"text"] or result["output"] != "x" * LARGE:
        raise Refused(f"result of {done.id}: {str(result)[:400]}")
    parts = parts_that_end(hand)
    for part in parts:
        _call(hand, "cancel_goal", goal_id=part.id)
    parents_must_go_on(hand, parts)
    _call(hand, "cancel_goal", goal_id=hand.submit(undoable("a"), request=COMPENSATE).id)
    must_find_both_ways(_call(hand, "search_knowledge", query=keep_one(hand), domain=TOOL_DOMAIN))
    must_find_both_ways(_call(hand, "search_knowledge", query=keep_one(hand), limit=1))


def _call(hand: Hand, tool: str, **arguments: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    request = {"http": {"method": "POST", "path": "/mcp"}, "authorizer": {"lambda": {"tenant": TENANT}}}
    answer = hand.call("serve-mcp", {"requestContext": request, "headers": HEADERS, "body": json.dumps(body)})
    told = json.loads(answer["body"])
    if answer["statusCode"] != 200 or "error" in told or told["result"].get("isError"):
        raise Refused(f"{tool}: {answer['body'][:600]}")
    return told["result"].get("structuredContent")


def _fetch(url: str) -> bytes:
    try:
        with urlopen(url, timeout=10) as response:
            body: bytes = response.read()
            return body
    except HTTPError as error:
        raise Refused(f"{url}: {error}") from error
