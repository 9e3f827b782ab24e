"""Models on Amazon Bedrock, through Converse and ConverseStream: the same request whoever made the model."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.eventstream import ParserError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EventStreamError,
    ReadTimeoutError,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamTimeout

from agentfleet.domain.errors import (
    FleetError,
    ModelFailed,
    ModelInputTooLong,
    ModelRequestInvalid,
    ModelThrottled,
    ModelTimeout,
    ModelUnavailable,
)
from agentfleet.domain.model import (
    Message,
    ModelRequest,
    Part,
    Reasoning,
    Reply,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from agentfleet.domain.model_prices import UNKNOWN, facts_of

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

_THROTTLED: Final = frozenset(
    {"ThrottlingException", "TooManyRequestsException", "ServiceQuotaExceededException", "ModelNotReadyException"}
)
_UNAVAILABLE: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException", "UnrecognizedClientException"})
_TIMEOUT: Final = frozenset({"ModelTimeoutException", "RequestTimeoutException"})
_INVALID: Final = frozenset({"ValidationException", "SerializationException"})
_TOO_LONG: Final = re.compile(
    r"too long|too many (input )?tokens|too large|(context|input) (length|window|size)|exceeds? .*(tokens|context)",
    re.IGNORECASE,
)
"""Bedrock has one error for all that is wrong with a request; each maker words this one differently."""
_NOT_HERE: Final = re.compile(
    r"on-demand throughput isn.t supported|model identifier is invalid|end of its life", re.IGNORECASE
)

_STOPS: Final[Mapping[str, StopReason]] = {
    "end_turn": StopReason.END,
    "tool_use": StopReason.TOOLS,
    "stop_sequence": StopReason.SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "guardrail_intervened": StopReason.REFUSED,
    "content_filtered": StopReason.REFUSED,
    "refusal": StopReason.REFUSED,
    "malformed_model_output": StopReason.MALFORMED,
    "malformed_tool_use": StopReason.MALFORMED,
}
_CACHE_POINT: Final = {"cachePoint": {"type": "default"}}


class BedrockModels:
    """A ModelPort: `BedrockModels(client)`; `client` gives one that waits at least so many seconds, and never retries."""

    def __init__(self, client: "Callable[[float], BedrockRuntimeClient]") -> None:
        self._client = client

    def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
        """One call; see ModelPort."""
        with _translated(model):
            body: Any = self._client(timeout).converse(modelId=model, **encode(model, request))
            return read_reply(body)

    def stream(self, model: str, request: ModelRequest, timeout: float) -> Iterator[str | Reply]:
        """One call whose words come as they are written; see ModelPort."""
        with _translated(model):
            answer: Any = self._client(timeout).converse_stream(modelId=model, **encode(model, request))
            blocks: dict[int, dict[str, Any]] = {}
            stop, usage, served, ended = None, Usage(), None, False
            events = answer["stream"]
            try:
                for event in events:
                    if "contentBlockStart" in event:
                        start = event["contentBlockStart"]
                        blocks[start["contentBlockIndex"]] = {"tool": start["start"].get("toolUse")}
                    elif "contentBlockDelta" in event:
                        delta = event["contentBlockDelta"]
                        words = _add(blocks.setdefault(delta["contentBlockIndex"], {}), delta["delta"])
                        if words:
                            yield words
                    elif "messageStop" in event:
                        stop = event["messageStop"]["stopReason"]
                    elif "metadata" in event:
                        usage, served, ended = _usage(event["metadata"]["usage"]), _served(event["metadata"]), True
            finally:
                events.close()
            if stop is None or not ended:
                raise ModelFailed(f"{model}: the stream ended in the middle of an answer")
            reason = _stop(stop)
            yield Reply(parts=tuple(_collected(model, blocks, reason)), stop=reason, usage=usage, served=served)


def read_reply(body: Mapping[str, Any]) -> Reply:
    """What Converse answered, as botocore read it or as a bulk job wrote it down."""
    usage, served = _usage(body.get("usage", {})), _served(body)
    blocks = body.get("output", {}).get("message", {}).get("content", [])
    return Reply(parts=tuple(_parts(blocks)), stop=_stop(body.get("stopReason")), usage=usage, served=served)


def encode(model: str, request: ModelRequest) -> dict[str, Any]:
    """The request as Converse takes it, without the model's id."""
    facts = facts_of(model)
    caches = request.cache_prompt and facts.caches
    messages: list[dict[str, Any]] = [_message(message) for message in request.messages]
    # What suits the first model of a chain may be more than the next one can write.
    most = request.max_tokens if facts is UNKNOWN else min(request.max_tokens, facts.max_output)
    body: dict[str, Any] = {"messages": messages, "inferenceConfig": {"maxTokens": most}}
    if facts.temperature:
        body["inferenceConfig"]["temperature"] = request.temperature
    if request.stop:
        body["inferenceConfig"]["stopSequences"] = list(request.stop)
    system = request.system
    if request.tools:
        tools: list[dict[str, Any]] = [
            {"toolSpec": {"name": tool.name, "description": tool.description, "inputSchema": {"json": tool.input_schema}}}
            for tool in request.tools
        ]
        body["toolConfig"] = {"tools": tools}
        if request.tool_choice == "any":
            body["toolConfig"]["toolChoice"] = {"any": {}}
        elif request.tool_choice != "auto" and facts.forced_tool:
            body["toolConfig"]["toolChoice"] = {"tool": {"name": request.tool_choice}}
        elif request.tool_choice != "auto":
            # A model that can't be made to call a tool is told to.
            system = f"{system}\n\nAnswer only by calling the tool {request.tool_choice}.".strip()
        if caches and not system:
            tools.append(dict(_CACHE_POINT))
    if system:
        # What stands before this point, the tools included, is kept.
        body["system"] = [{"text": system}, *([dict(_CACHE_POINT)] if caches else [])]
    if caches and len(messages) > 1:
        messages[-2]["content"].append(dict(_CACHE_POINT))
    return body


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": [_block(part) for part in message.parts]}


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"text": part.text}
        case ToolCall():
            return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": part.input}}
        case ToolResult():
            content = {"text": part.content} if isinstance(part.content, str) else {"json": part.content}
            # The status is said only where it isn't the usual one: not every model takes it.
            return {
                "toolResult": {"toolUseId": part.id, "content": [content], **({"status": "error"} if part.is_error else {})}
            }
        case Reasoning():
            if part.redacted is not None:
                return {"reasoningContent": {"redactedContent": base64.b64decode(part.redacted)}}
            signed = {} if part.signature is None else {"signature": part.signature}
            return {"reasoningContent": {"reasoningText": {"text": part.text, **signed}}}


def _parts(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Part]:
    """What the blocks say; kinds that nobody here reads (images, citations' sources) are left out."""
    for block in blocks:
        if "text" in block:
            yield Text(text=block["text"])
        elif "toolUse" in block:
            use = block["toolUse"]
            yield ToolCall(id=use["toolUseId"], name=use["name"], input=use.get("input"))
        elif "citationsContent" in block:
            yield from (Text(text=one["text"]) for one in block["citationsContent"].get("content", []) if "text" in one)
        elif "reasoningContent" in block:
            thought = block["reasoningContent"].get("reasoningText", {})
            hidden = block["reasoningContent"].get("redactedContent")
            yield Reasoning(
                text=thought.get("text", ""),
                signature=thought.get("signature"),
                redacted=None if hidden is None else base64.b64encode(hidden).decode(),
            )


def _add(block: dict[str, Any], delta: Mapping[str, Any]) -> str:
    """Put a delta to its block; gives the words in it."""
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
        return str(delta["text"])
    if "toolUse" in delta:
        block["input"] = block.get("input", "") + delta["toolUse"]["input"]
    elif "reasoningContent" in delta:
        thought = delta["reasoningContent"]
        block["thought"] = block.get("thought", "") + thought.get("text", "")
        block["signature"] = thought.get("signature", block.get("signature"))
    return ""


def _collected(model: str, blocks: Mapping[int, Mapping[str, Any]], stop: StopReason) -> Iterator[Part]:
    """The parts of a streamed answer. A tool call that was cut off is left out; one that is no JSON fails the call."""
    for _, block in sorted(blocks.items()):
        tool = block.get("tool")
        if tool:
            try:
                given = json.loads(block.get("input") or "{}")
            except ValueError as error:
                if stop is StopReason.LENGTH:
                    continue
                raise ModelFailed(f"{model}: the input of its call to {tool['name']} is not JSON: {error}") from error
            yield ToolCall(id=tool["toolUseId"], name=tool["name"], input=given)
        elif "text" in block:
            yield Text(text=block["text"])
        elif "thought" in block:
            yield Reasoning(text=block["thought"], signature=block.get("signature"))


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        input=usage.get("inputTokens", 0),
        output=usage.get("outputTokens", 0),
        cache_read=usage.get("cacheReadInputTokens", 0),
        cache_write=usage.get("cacheWriteInputTokens", 0),
    )


def _served(body: Mapping[str, Any]) -> str | None:
    """Who answered, where a router chose: its id."""
    invoked = body.get("trace", {}).get("promptRouter", {}).get("invokedModelId")
    return invoked.rpartition(":foundation-model/")[2] if invoked else None


def _stop(reason: str | None) -> StopReason:
    # A reason that is newer than this table is an answer that ended, unless the reader finds that it didn't.
    return _STOPS.get(reason or "", StopReason.END)


@contextmanager
def _translated(model: str) -> Iterator[None]:
    """Whatever goes wrong on the way, as the errors of the port."""
    try:
        yield
    except (ClientError, EventStreamError) as error:
        raise _named(model, error) from error
    except (ReadTimeoutError, ConnectTimeoutError, StreamTimeout) as error:
        raise ModelTimeout(f"{model}: {error}") from error
    except (BotoCoreError, ParserError, HTTPError, OSError) as error:
        raise ModelFailed(f"{model}: {error}") from error


def _named(model: str, error: ClientError) -> FleetError:
    code = error.response.get("Error", {}).get("Code", "")
    # In a stream the name is the event's: it begins with a small letter.
    code = code[:1].upper() + code[1:]
    message = error.response.get("Error", {}).get("Message", "") or str(error)
    said = f"{model}: {code}: {message}"
    if code in _THROTTLED:
        return ModelThrottled(said, _retry_after(error))
    if code in _TIMEOUT:
        return ModelTimeout(said)
    if code in _UNAVAILABLE or (code in _INVALID and _NOT_HERE.search(message)):
        return ModelUnavailable(said)
    if code in _INVALID:
        return ModelInputTooLong(said) if _TOO_LONG.search(message) else ModelRequestInvalid(said)
    return ModelFailed(said)


def _retry_after(error: ClientError) -> float | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return min(60.0, max(0.0, float(headers.get("retry-after", ""))))
    except ValueError:
        return None
