"""Converse requests as chat completions, and chat completions as Converse answers.

A tool that must be called is asked for as a JSON schema of the whole answer, because small models don't obey `tool_choice`.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

STOPS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_UNREADABLE: Final = ("image", "document", "video", "audio", "guardContent", "searchResult")
"""Blocks that a model of words can't be shown."""


class Unsupported(ValueError):
    """The request holds something that no local model reads; the message is a validation error."""


def forced_tools(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the tools one of which must be called; none if the model may choose."""
    config = body.get("toolConfig", {})
    choice = config.get("toolChoice", {})
    if "tool" in choice:
        return (choice["tool"]["name"],)
    return tuple(spec["name"] for spec in _specs(body)) if "any" in choice else ()


def to_chat(body: Mapping[str, Any], *, stream: bool) -> Json:
    """The body of a chat completion for a checked Converse request. Raises Unsupported."""
    config = body.get("inferenceConfig", {})
    chat: Json = {"model": "local", "messages": list(_messages(body)), "stream": stream}
    for ours, theirs in (
        ("maxTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("stopSequences", "stop"),
    ):
        if ours in config:
            chat[theirs] = config[ours]
    if stream:
        chat["stream_options"] = {"include_usage": True}
    forced = forced_tools(body)
    if forced:
        chat["response_format"] = _schema_format("answer", _forced_schema(body, forced))
    elif specs := _specs(body):
        chat["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": spec["name"],
                    "description": spec.get("description", ""),
                    "parameters": spec["inputSchema"]["json"],
                },
            }
            for spec in specs
        ]
    elif "outputConfig" in body and "textFormat" in body["outputConfig"]:
        wanted = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        chat["response_format"] = _schema_format(wanted.get("name", "answer"), json.loads(wanted["schema"]))
    return chat


def from_chat(chat: Mapping[str, Any], body: Mapping[str, Any], served: str, milliseconds: int) -> Json:
    """The Converse answer for a chat completion."""
    choice = chat["choices"][0]
    message = choice["message"]
    stop = STOPS.get(choice.get("finish_reason") or "stop", "end_turn")
    content: list[Json] = []
    forced = forced_tools(body)
    text = message.get("content") or ""
    if forced and stop != "max_tokens":
        content.append({"toolUse": forced_call(forced, text)})
        stop = "tool_use"
    else:
        if text:
            content.append({"text": text})
        for call in message.get("tool_calls") or ():
            content.append({"toolUse": _tool_use(call)})
        if message.get("tool_calls") and stop == "end_turn":
            stop = "tool_use"
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": usage_of(chat.get("usage") or {}),
        "metrics": {"latencyMs": milliseconds},
        "trace": trace_of(served),
    }


def usage_of(usage: Mapping[str, Any]) -> Json:
    """Tokens as Converse counts them: what was read from a cache is not input."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    read, wrote = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "inputTokens": max(0, read - cached),
        "outputTokens": wrote,
        "totalTokens": read + wrote,
        "cacheReadInputTokens": cached,
    }


def trace_of(served: str) -> Json:
    """Which model answered, in the way of a prompt router: the one that was asked for isn't here."""
    return {"promptRouter": {"invokedModelId": f"arn:aws:bedrock:local::foundation-model/{served}"}}


def forced_call(forced: Sequence[str], text: str) -> Json:
    """The call that an answer in JSON stands for. What is no JSON is handed on as text: the reader has to check it anyway."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    name, given = forced[0], value
    if len(forced) > 1 and isinstance(value, dict):
        name, given = str(value.get("name", forced[0])), value.get("arguments")
    return {"toolUseId": new_id(), "name": name, "input": given}


def new_id() -> str:
    """Of a tool call."""
    return f"tooluse_{secrets.token_urlsafe(16)}"


def _specs(body: Mapping[str, Any]) -> list[Json]:
    return [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ()) if "toolSpec" in tool]


def _forced_schema(body: Mapping[str, Any], forced: Sequence[str]) -> Json:
    schemas = {spec["name"]: spec["inputSchema"]["json"] for spec in _specs(body)}
    if len(forced) == 1:
        return dict(schemas[forced[0]])
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": schemas[name]},
            "required": ["name", "arguments"],
        }
        for name in forced
    ]
    return {"anyOf": calls}


def _schema_format(name: str, schema: Mapping[str, Any]) -> Json:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def _messages(body: Mapping[str, Any]) -> Iterator[Json]:
    system = [block["text"] for block in body.get("system", ()) if "text" in block]
    if forced := forced_tools(body):
        told = {spec["name"]: spec.get("description", "") for spec in _specs(body)}
        words = "; ".join(f"{name}: {told[name]}" if told[name] else name for name in forced)
        schema = json.dumps(_forced_schema(body, forced), separators=(",", ":"))  # every token counts on a laptop
        system.append(f"Answer with JSON only. It is the input of: {words}\nIts JSON schema: {schema}")
    if system:
        yield {"role": "system", "content": "\n\n".join(system)}
    for message in body["messages"]:
        yield from _turns(message)


def _turns(message: Mapping[str, Any]) -> Iterator[Json]:
    """A Converse turn as chat messages: each tool's result is one of its own."""
    words: list[str] = []
    calls: list[Json] = []
    for block in message["content"]:
        if unreadable := next((kind for kind in _UNREADABLE if kind in block), None):
            raise Unsupported(f"This model doesn't support the content block {unreadable}; it reads text only.")
        if "text" in block:
            words.append(block["text"])
        elif "toolUse" in block:
            use = block["toolUse"]
            arguments = {"name": use["name"], "arguments": json.dumps(use["input"])}
            calls.append({"id": use["toolUseId"], "type": "function", "function": arguments})
        elif "toolResult" in block:
            result = block["toolResult"]
            yield {"role": "tool", "tool_call_id": result["toolUseId"], "content": _told(result["content"])}
    if words or calls:
        turn: Json = {"role": message["role"], "content": "\n".join(words)}
        yield {**turn, "tool_calls": calls} if calls else turn


def _told(content: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(block["text"] if "text" in block else json.dumps(block.get("json")) for block in content)


def _tool_use(call: Mapping[str, Any]) -> Json:
    function = call["function"]
    try:
        given = json.loads(function.get("arguments") or "{}")
    except ValueError:
        given = function["arguments"]
    return {"toolUseId": call.get("id") or new_id(), "name": function["name"], "input": given}
