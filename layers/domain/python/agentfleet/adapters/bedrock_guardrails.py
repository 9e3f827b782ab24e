"""Amazon Bedrock Guardrails: ApplyGuardrail on texts, without any model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from agentfleet.domain.guardrails import Finding

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_bedrock_runtime.type_defs import GuardrailAssessmentTypeDef

Side = Literal["input", "output"]

_INTERVENED: Final = "GUARDRAIL_INTERVENED"
_NAMED: Final = (
    ("topicPolicy", "topics", "name"),
    ("contentPolicy", "filters", "type"),
    ("sensitiveInformationPolicy", "piiEntities", "type"),
    ("sensitiveInformationPolicy", "regexes", "name"),
    ("contextualGroundingPolicy", "filters", "type"),
    ("wordPolicy", "managedWordLists", "type"),
)
"""Where an assessment says which of a guardrail's rules did something. Never what it matched."""


class BedrockGuardrail:
    """A Moderator: `BedrockGuardrail(client, "id:version")`; the version is a number or DRAFT."""

    def __init__(self, client: "BedrockRuntimeClient", guardrail: str) -> None:
        self._client = client
        self._id, _, self._version = guardrail.partition(":")

    def judge(self, text: str, side: Side) -> list[Finding]:
        """What made the guardrail intervene; empty if it did not."""
        answer = self._client.apply_guardrail(
            guardrailIdentifier=self._id,
            guardrailVersion=self._version,
            source="INPUT" if side == "input" else "OUTPUT",
            content=[{"text": {"text": text}}],
        )
        if answer["action"] != _INTERVENED:
            return []
        rules = sorted({rule for assessment in answer.get("assessments", ()) for rule in _rules(assessment)})
        return [Finding("bedrock", rule, side) for rule in rules or ["intervened"]]


def _rules(assessment: "GuardrailAssessmentTypeDef") -> Iterator[str]:
    found: dict[str, Any] = {**assessment}
    for policy, group, name in _NAMED:
        for one in found.get(policy, {}).get(group, ()):
            if one.get("action") != "NONE":
                yield str(one[name])
    if any(one.get("action") != "NONE" for one in found.get("wordPolicy", {}).get("customWords", ())):
        yield "word"
