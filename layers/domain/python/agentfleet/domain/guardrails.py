"""Local rules about what may go into a task and come out of it: personal data, secrets, marks of prompt injection.

Pure functions over JSON values. A finding says which rule, and where, and never what was found: findings are logged.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agentfleet.domain.errors import PermanentError

Check = Literal["pii", "secrets", "injection"]
InputAction = Literal["block", "note"]
OutputAction = Literal["block", "mask", "note"]

MOST_FINDINGS: Final = 20


class Guardrails(BaseModel):
    """`[pools.<name>.guardrails]`: what to look for, and what to do about it. What isn't named isn't looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: dict[Check, InputAction] = Field(default_factory=dict)
    """`block`: the task fails; `note`: it is logged."""
    output: dict[Check, OutputAction] = Field(default_factory=dict)
    """`mask`: what was found is replaced by its rule's name; a mark of injection takes its whole text with it."""

    tools: dict[Check, OutputAction] = Field(default_factory=dict)
    """Of agents that call tools: `block` and `mask` refuse a call whose arguments hold it; what a tool answers is refused by
    `block` and masked by `mask` before the agent reads it."""

    bedrock: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,64}:([1-9][0-9]{0,7}|DRAFT)$")] | None = None
    """`id:version` of a guardrail of Amazon Bedrock that must not intervene, whatever it does then. None: none is asked."""

    def __bool__(self) -> bool:
        return bool(self.input or self.output or self.tools or self.bedrock)


class Finding(Struct, frozen=True):
    """Something that a rule found."""

    check: Check | Literal["bedrock"]
    rule: str
    """Such as `email` or `ignore-instructions`."""
    where: str
    """`input.to[0]`."""

    def __str__(self) -> str:
        return f"{self.where}: {self.check} ({self.rule})"


class GuardrailViolation(PermanentError):
    """A task's input or output holds what its pool does not let through."""

    def __init__(self, pool: str, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        shown = "; ".join(map(str, self.findings[:5]))
        super().__init__(f"the guardrails of pool {pool} do not let this through: {shown}")


def _always(_: str) -> bool:
    return True


class _Rule(Struct, frozen=True):
    check: Check
    name: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = _always
    """Is a match really one?"""


def _is_card(text: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(one) for one in text if one.isdecimal()]
    doubled = [sum(divmod(2 * one, 10)) if place % 2 else one for place, one in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """Check digits by MOD 97-10 (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    """As many digits as a number with its country code has (ITU-T E.164: at most 15)."""
    return 9 <= sum(one.isdecimal() for one in text) <= 15


def _rule(check: Check, name: str, pattern: str, holds: Callable[[str], bool] = _always) -> _Rule:
    return _Rule(check, name, re.compile(pattern), holds)


_OLD: Final = r"(?:previous|prior|above|earlier|preceding|existing|original|former|foregoing)"
_ORDERS: Final = r"(?:instructions?|prompts?|rules|directions|guidelines|commands|context|messages?|constraints)"
_ANY: Final = r"(?:all|any|every|each|the|of|your|my|these|those|such)"
_SPELL: Final = r"[\s,.:;*_\"'`>-]{1,5}"

_RULES: Final = (
    _rule("pii", "email", r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
    _rule("pii", "card", r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])", _is_card),
    _rule("pii", "iban", r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])", _is_iban),
    _rule("pii", "us-ssn", r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
    _rule("pii", "phone", r"(?<![\w+])\+[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\w)", _is_phone),
    _rule("secrets", "aws-access-key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _rule("secrets", "aws-secret-key",
          r"(?i)aws_?secret_?access_?key[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"),
    _rule("secrets", "private-key", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----"),
    _rule("secrets", "github-token", r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,100})"),
    _rule("secrets", "slack-token", r"(?<![A-Za-z0-9])xox[abposr]-[A-Za-z0-9-]{20,200}"),
    _rule("secrets", "jwt", r"(?<![\w-])eyJ[\w-]{10,4000}\.eyJ[\w-]{10,8000}\.[\w-]{10,1000}"),
    _rule("injection", "ignore-instructions",
          rf"(?:ignore|disregard|forget|override|bypass|overlook|skip){_SPELL}(?:{_ANY}{_SPELL}){{0,4}}{_OLD}{_SPELL}"
          rf"(?:\w{{1,20}}{_SPELL}){{0,2}}{_ORDERS}"),
    _rule("injection", "ignore-everything",
          rf"(?:ignore|disregard|forget){_SPELL}(?:everything|all){_SPELL}(?:(?:that{_SPELL})?(?:was|you|i|we|they|came|said|above|before))"),
    _rule("injection", "new-instructions",
          rf"(?:new|updated|real|actual){_SPELL}(?:system{_SPELL})?instructions?(?:{_SPELL}(?:for|to){_SPELL}"
          rf"(?:the{_SPELL})?(?:assistant|ai|model|agent|llm))?\s{{0,3}}:"),
    _rule("injection", "new-role",
          rf"(?:you{_SPELL}are{_SPELL}now{_SPELL}(?:an?|in|the|dan|acting|free|no{_SPELL}longer)\b|"
          rf"from{_SPELL}now{_SPELL}on{_SPELL}you{_SPELL}(?:are|must|will{_SPELL}(?:act|obey|answer|respond|ignore|only))\b|"
          rf"pretend{_SPELL}(?:that{_SPELL})?you{_SPELL}(?:are|have)\b|"
          rf"act{_SPELL}as{_SPELL}if{_SPELL}you{_SPELL}(?:were|have{_SPELL}no|are{_SPELL}not)\b)"),
    _rule("injection", "reveal-prompt",
          rf"(?:reveal|print|show|repeat|output|display|tell|give|leak){_SPELL}(?:me{_SPELL})?(?:{_ANY}{_SPELL}){{0,2}}"
          rf"(?:(?:system|hidden|initial|secret|developer){_SPELL}){{1,2}}(?:prompt|instructions?|message)"),
    _rule("injection", "keep-from-user",
          rf"(?:do{_SPELL}not|don.?t|never){_SPELL}(?:tell|inform|mention|alert|notify)(?:{_SPELL}\w{{1,20}}){{0,4}}"
          rf"{_SPELL}(?:user|human|operator)"),
    _rule("injection", "role-marker",
          r"<\|?(?:im_start|im_end|system|assistant|user|endoftext|start_header_id|eot_id)\|?>|\[/?inst\]|<</?sys>>|"
          r"#{2,4}\s{0,2}(?:system|assistant|developer|instructions?)\b[^\n:]{0,20}:|\n\n(?:human|assistant)\s?:"),
    _rule("injection", "tool-call", r"</?(?:tool_call|function_calls?|tool_use|invoke|tool_result)\b[^>]{0,200}>"),
    _rule("injection", "carry-out-by-image",
          r"!\[[^\]\n]{0,200}\]\(\s{0,3}https?://[^)\s]{1,500}"
          r"[?&](?:data|secret|token|key|payload|content|conversation|info|prompt)\w{0,20}=[^)\s]{0,500}\)"),
)  # fmt: skip
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]{4,}")
"""Characters that no font shows and every model reads (Unicode, 'Tags' block)."""
_UNSEEN: Final = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad\U000e0000-\U000e007f]")


def scan(value: Any, checks: Iterable[Check], where: str) -> list[Finding]:
    """What the rules of these checks find in the texts of a JSON value, keys included; at most 20 findings."""
    wanted = frozenset(checks)
    found: list[Finding] = []
    for place, text in _texts(value, where):
        for check, rule in _found(text, wanted):
            found.append(Finding(check, rule, place))
            if len(found) == MOST_FINDINGS:
                return found
    return found


def mask(value: Any, checks: Iterable[Check]) -> Any:
    """The value with what these checks find replaced by the rule's name in brackets; keys stay as they are."""
    wanted = frozenset(checks)
    if isinstance(value, dict):
        return {key: mask(inner, wanted) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(inner, wanted) for inner in value]
    return _masked(value, wanted) if isinstance(value, str) else value


def _masked(text: str, checks: frozenset[Check]) -> str:
    marks = [rule for check, rule in _found(text, checks & {"injection"}) if check == "injection"]
    if marks:
        return f"[{marks[0]}]"  # what stands around an order belongs to it
    for rule in _RULES:
        if rule.check in checks:
            text = rule.pattern.sub(lambda match, rule=rule: f"[{rule.name}]" if rule.holds(match[0]) else match[0], text)  # type: ignore[misc]
    return text


def _found(text: str, checks: frozenset[Check]) -> Iterator[tuple[Check, str]]:
    if "injection" in checks and _TAGS.search(text):
        yield "injection", "unseen-text"
    folded = _fold(text) if "injection" in checks else ""
    for rule in _RULES:
        if rule.check in checks:
            read = folded if rule.check == "injection" else text
            if any(rule.holds(match[0]) for match in rule.pattern.finditer(read)):
                yield rule.check, rule.name


def _fold(text: str) -> str:
    """The text as a reader sees it: compatible characters alike, unseen ones gone, small letters."""
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{where} (a key)", str(key)
            yield from _texts(inner, f"{where}.{str(key)[:40]}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{index}]")
