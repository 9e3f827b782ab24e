"""The check of the pool whose agents think, and what the scripted model says that it gives them."""

import json
from typing import Any, Final
from uuid import uuid4

from agentfleet.adapters.memory import DynamoFacts
from agentfleet.domain.memory import Policy, forgotten_at, new_fact
from tests.emulator.grants.hand import FLEET, TENANT, Hand, Refused, utc_now
from tests.emulator.scripted import Chat

FACTS: Final = 10
"""So many long facts are more than a model is shown of one answer: all of it becomes a file."""
SUBJECT: Final = "lighthouses"


def remembering(chat: Chat) -> dict[str, Any]:
    """What a scripted model says: it remembers a fact, recalls what it can, and says that it is done."""
    asked = max(place for place, message in enumerate(chat["messages"]) if message["role"] == "user")
    return _turn(sum(message["role"] == "assistant" for message in chat["messages"][asked:]))


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
