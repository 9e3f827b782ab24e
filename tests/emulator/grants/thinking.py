"""The check of the pool whose agents think, and the model that it gives them: one that follows a script."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from uuid import uuid4

from agentfleet.adapters.memory import DynamoFacts
from agentfleet.domain.memory import Policy, forgotten_at, new_fact
from tests.emulator.grants.hand import FLEET, TENANT, Hand, Refused, utc_now

FACTS: Final = 10
"""So many long facts are more than a model is shown of one answer: all of it becomes a file."""
SUBJECT: Final = "lighthouses"


@contextmanager
def scripted_model() -> Iterator[str]:
    """An OpenAI-compatible server's address: its model remembers a fact, recalls what it can, and says that it is done."""

    class Model(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"data": [{"id": "scripted"}]})

        def do_POST(self) -> None:
            chat = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = max(place for place, message in enumerate(chat["messages"]) if message["role"] == "user")
            turn = sum(message["role"] == "assistant" for message in chat["messages"][asked:])
            self._send({"choices": [_turn(turn)], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})

        def _send(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing: this is a test's."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _turn(number: int) -> dict[str, Any]:
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("remember", {"text": f"Of {SUBJECT}: {uuid4().hex}."}),
        ("recall", {"query": SUBJECT, "limit": 20}),
    )
    if number >= len(calls):
        return {"message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}
    name, arguments = calls[number]
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}


def think(hand: Hand) -> None:
    """Two tasks of one conversation, within a budget, each of which remembers and recalls."""
    facts, policy = DynamoFacts(hand.clients.dynamodb, f"{FLEET}-memory", hand.clients.threads), Policy()
    for number in range(FACTS):
        fact = new_fact("shared", f"{number} of {SUBJECT}: " + "they shine; " * 150, SUBJECT, "a test", utc_now())
        facts.put_fact(TENANT, fact, forgotten_at(fact, policy), None)
    session = f"s{uuid4().hex}"
    for _ in range(2):
        work = {"task": "Remember, then recall.", "session": session, "tools": ["remember", "recall"]}
        task = {"id": "w", "capability": "agent.work", "input": work, "timeout": 60}
        goal = hand.submit(task, request={"budget": {"tokens": 1_000_000}})
        hand.deliver("agents", hand.pointers(goal, "w"))
        output = hand.output(goal, "w")
        if [call["ok"] for call in output["tool_calls"]] != [True, True] or output["answer"] != "Done.":
            raise Refused(f"agents: {str(output)[:400]}")
