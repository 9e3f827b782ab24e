"""Would Amazon Bedrock take this request? By botocore's own model of the service, and by what Converse says beyond it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from botocore.model import ServiceModel
from botocore.session import Session
from botocore.validate import ParamValidator

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODEL_ID: Final = re.compile(r"[a-zA-Z0-9.:/_-]{3,2048}")


@lru_cache(maxsize=1)
def service_model() -> ServiceModel:
    """`bedrock-runtime` as the installed botocore knows it."""
    return Session().get_service_model("bedrock-runtime")


def problem_of(operation: str, model_id: str, body: Mapping[str, Any]) -> str | None:
    """What is wrong with a request's body, in the service's words where they are known; None if nothing is."""
    if not _MODEL_ID.fullmatch(model_id):
        return "The provided model identifier is invalid."
    shape = service_model().operation_model(operation).input_shape
    assert shape is not None  # noqa: S101 - every operation here has an input
    report = ParamValidator().validate({"modelId": model_id, **body}, shape)
    if report.has_errors():
        return "Malformed input request: " + "; ".join(report.generate_report().splitlines())
    if operation in {"Converse", "ConverseStream"}:
        return next(_problems(body), None)
    return None


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    messages: Sequence[Mapping[str, Any]] = body.get("messages") or ()
    if not messages:
        yield "The messages field is empty: a conversation must have at least one message."
    elif messages[0]["role"] != "user":
        yield "A conversation must start with a user message. Try again with a conversation that starts with a user message."
    for number, message in enumerate(messages):
        if number and message["role"] == messages[number - 1]["role"]:
            yield (
                "A conversation must alternate between user and assistant roles. "
                "Make sure the conversation alternates between user and assistant roles and try again."
            )
        if not message["content"]:
            yield (
                f"The content field in the Message object at messages.{number} is empty. "
                "Add a ContentBlock object to the content field and try again."
            )
        for place, block in enumerate(message["content"]):
            if "text" in block and not block["text"].strip():
                yield (
                    f"The text field in the ContentBlock object at messages.{number}.content.{place} is blank. "
                    "Add text to the text field, and try again."
                )
    yield from _tool_problems(body, messages)


def _tool_problems(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    uses_tools = any("toolUse" in block or "toolResult" in block for message in messages for block in message["content"])
    config = body.get("toolConfig")
    if uses_tools and config is None:
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    specs = [tool["toolSpec"] for tool in (config or {}).get("tools", ()) if "toolSpec" in tool]
    for place, spec in enumerate(specs):
        if not _TOOL_NAME.fullmatch(spec["name"]):
            yield (
                f"Value '{spec['name']}' at 'toolConfig.tools.{place}.member.toolSpec.name' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
            )
        if spec["inputSchema"].get("json", {}).get("type") != "object":
            yield (
                f"The value at toolConfig.tools.{place}.toolSpec.inputSchema.json.type must be one of the following: object."
            )
    wanted = (config or {}).get("toolChoice", {}).get("tool", {}).get("name")
    if wanted is not None and wanted not in {spec["name"] for spec in specs}:
        yield f"The tool {wanted} provided in toolChoice is not in toolConfig.tools."
    for number, message in enumerate(messages):
        asked = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        after = messages[number + 1]["content"] if number + 1 < len(messages) else []
        answered = [block["toolResult"]["toolUseId"] for block in after if "toolResult" in block]
        if asked and number + 1 < len(messages) and set(asked) != set(answered):
            yield (
                f"Expected toolResult blocks at messages.{number + 1}.content for the following Ids: {', '.join(asked)}, "
                f"but found: {', '.join(answered) or 'none'}"
            )
        before = messages[number - 1]["content"] if number else []
        known = {block["toolUse"]["toolUseId"] for block in before if "toolUse" in block}
        for block in message["content"]:
            if "toolResult" in block and block["toolResult"]["toolUseId"] not in known:
                yield (
                    "The number of toolResult blocks at "
                    f"messages.{number}.content exceeds the number of toolUse blocks of previous turn."
                )
