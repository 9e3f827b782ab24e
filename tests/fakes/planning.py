"""A small fleet to plan for: pages and texts, flights that can be given back, payments that are approved, mail that is gone."""

from typing import Any

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.playbook import Playbook, read_playbook

TEXT = {"type": "string"}
NUMBER = {"type": "integer", "minimum": 0}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object that takes these fields and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


CAPABILITIES = (
    CapabilitySpec(
        name="web.fetch",
        pool="web",
        description="Get a web page",
        idempotent=True,
        timeout=20,
        input=fields(("url",), url=TEXT, method={"enum": ["GET", "HEAD"], "type": "string"}),
        output=fields(url=TEXT, status=NUMBER, text=TEXT, links={"type": "array", "items": fields(title=TEXT)}),
    ),
    CapabilitySpec(
        name="text.sum",
        pool="text",
        description="Say what texts are about",
        idempotent=True,
        timeout=60,
        input=fields(("texts",), texts={"type": "array", "items": TEXT}, about=TEXT, sentences=NUMBER),
        output=fields(summary=TEXT),
    ),
    CapabilitySpec(name="text.any", pool="text", description="Whatever you like", idempotent=True),
    CapabilitySpec(
        name="flights.book",
        pool="trips",
        description="Book a flight to a city",
        undone_by="flights.cancel",
        input=fields(("city",), city=TEXT, day=TEXT),
        output=fields(seat=TEXT, price=NUMBER),
    ),
    CapabilitySpec(
        name="flights.cancel",
        pool="trips",
        description="Give a flight back",
        idempotent=True,
        input=fields(("seat", "city"), seat=TEXT, city=TEXT, reason=TEXT),
    ),
    CapabilitySpec(
        name="bank.pay",
        pool="trips",
        description="Pay a sum",
        approval="required",
        input=fields(("sum",), sum=NUMBER, to=TEXT),
    ),
    CapabilitySpec(name="mail.send", pool="trips", description="Send a letter", input=fields(("text",), text=TEXT)),
    CapabilitySpec(
        name="many.run",
        pool="text",
        description="Run a task of a capability per item",
        idempotent=True,
        input=fields(("items", "capability"), items={"type": "array"}, capability=TEXT, input={"type": "object"}),
    ),
    CapabilitySpec(name="plan.make", pool="plan", description="Plan", idempotent=True, timeout=280),
    CapabilitySpec(name="plan.repair", pool="plan", description="Find another way", idempotent=True, timeout=280),
)


def catalog(tools: tuple[str, ...] = ("*",), *rules: ApprovalRule, call_dollars: float = 0.01) -> Catalog:
    """The fleet; pool `plan` may plan with `tools`, and pool `text` asks models."""
    pools = {
        name: PoolSpec(
            name=name,
            memory=1024,
            call_dollars=call_dollars if name == "text" else 0.0,
            call_tokens=100 if name == "text" else 0,
            capabilities=tuple(one for one in CAPABILITIES if one.pool == name),
            tools=tools if name == "plan" else (),
        )
        for name in sorted({one.pool for one in CAPABILITIES})
    }
    return Catalog(fleet="fleet", pools=pools, approvals=rules)


def playbooks() -> dict[str, Playbook]:
    """`digest` reads pages, `asked` answers a question, `letter` can't be planned by words."""
    bodies: list[dict[str, Any]] = [
        {
            "name": "digest",
            "description": "Fetch web pages and say what they are about",
            "parameters": {"urls": {"type": "list", "description": "Addresses"}},
            "plan": {
                "tasks": [
                    {
                        "id": "page",
                        "foreach": {"$param": "urls"},
                        "capability": "web.fetch",
                        "input": {"url": {"$item": ""}},
                    },
                    {"id": "sum", "capability": "text.sum", "input": {"texts": {"$from": "page.*", "path": "[].text"}}},
                ],
                "output": {"about": {"$from": "sum", "path": "summary"}},
            },
        },
        {
            "name": "asked",
            "description": "Answer a question about the weather in a city",
            "parameters": {"question": {"type": "string"}, "city": {"type": "string"}},
            "plan": {"tasks": [{"id": "a", "capability": "text.any", "input": {"q": {"$param": "question"}}}]},
        },
        {
            "name": "letter",
            "description": "Send a letter with kind regards",
            "plan": {"tasks": [{"id": "send", "capability": "mail.send", "input": {"text": "Hello"}}]},
        },
    ]
    return {body["name"]: read_playbook(body, body["name"]) for body in bodies}
