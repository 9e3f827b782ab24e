"""What models on Amazon Bedrock charge, and what they can do, by id.

Prices are dollars per million tokens, on demand; a batch job costs half.
"""

import re
from datetime import date
from typing import Final

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from agentfleet.domain.model import Cost, ModelRequest, Usage

DAY: Final = date(2026, 11, 22)
SOURCE: Final = (
    "Amazon Bedrock pricing (aws.amazon.com/bedrock/pricing), us-east-1, on demand, as quoted by public price lists of 2026; "
    "prompt caching: 'Prompt caching for faster model inference', Amazon Bedrock User Guide"
)
REGIONAL_PREMIUM: Final = 1.1
"""Endpoints that stay in one region or geography cost a tenth more than the global one, since Claude 4.5 and Nova 2."""
BATCH_DISCOUNT: Final = 0.5

LOCAL: Final = "local/"
"""Prefix by which the gateway on a laptop names its models; they cost nothing."""
TOOL_PROMPT: Final = 600
"""Tokens that a server may add to a request on its own, for tools and turns (Anthropic: tool use system prompt, 313–530)."""


class ModelPrice(BaseModel):
    """Dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    """None: as input."""
    cache_write: float | None = Field(default=None, ge=0)

    def times(self, factor: float) -> "ModelPrice":
        """Every price times a factor."""
        read, write = self.cache_read, self.cache_write
        return ModelPrice(
            input=self.input * factor,
            output=self.output * factor,
            cache_read=None if read is None else read * factor,
            cache_write=None if write is None else write * factor,
        )

    def dollars(self, usage: Usage) -> float:
        """What these tokens cost."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        total = usage.input * self.input + usage.output * self.output + usage.cache_read * read + usage.cache_write * write
        return total / 1e6

    def at_most(self, request: ModelRequest, seconds: float) -> Cost:
        """The most that a call can cost: as many tokens in as it has bytes, all that it may write, at the dearest rate."""
        tokens_in = request.size + TOOL_PROMPT
        dearest = max(self.input, self.cache_write or 0.0)
        dollars = (tokens_in * dearest + request.max_tokens * self.output) / 1e6
        return Cost(dollars=dollars, tokens=tokens_in + request.max_tokens, seconds=seconds)


class ModelFacts(Struct, frozen=True):
    """What is known of a model family; `match` finds it in an id without its geography."""

    match: str
    price: ModelPrice | None
    premium: bool = False
    caches: bool = False
    """Takes cachePoint blocks."""
    forced_tool: bool = True
    """Takes a toolChoice that demands a tool."""
    temperature: bool = True
    """Takes a temperature; Claude refuses one since Opus 4.7 ('What's new in Claude Opus 4.7', Claude docs)."""
    max_output: int = 4096


def _claude(input: float, output: float) -> ModelPrice:
    return ModelPrice(input=input, output=output, cache_read=input * 0.1, cache_write=input * 1.25)


def _nova(input: float, output: float) -> ModelPrice:
    return ModelPrice(input=input, output=output, cache_read=input * 0.25, cache_write=input)


FACTS: Final = (
    ModelFacts(r"anthropic\.claude-haiku-4-5", _claude(1.0, 5.0), premium=True, caches=True, max_output=64_000),
    ModelFacts(r"anthropic\.claude-sonnet-4-[56]", _claude(3.0, 15.0), premium=True, caches=True, max_output=64_000),
    ModelFacts(r"anthropic\.claude-opus-4-[56]", _claude(5.0, 25.0), premium=True, caches=True, max_output=64_000),
    ModelFacts(
        r"anthropic\.claude-opus-4-[78]", _claude(5.0, 25.0), premium=True, caches=True, temperature=False, max_output=64_000
    ),
    ModelFacts(r"anthropic\.claude-[a-z]+-[5-9]", None, caches=True, temperature=False, max_output=64_000),
    ModelFacts(r"anthropic\.claude-sonnet-4-2", _claude(3.0, 15.0), caches=True, max_output=64_000),
    ModelFacts(r"amazon\.nova-2-lite", _nova(0.30, 2.50), premium=True, caches=True, max_output=64_000),
    ModelFacts(r"amazon\.nova-micro", _nova(0.035, 0.14), caches=True, max_output=10_000),
    ModelFacts(r"amazon\.nova-lite", _nova(0.06, 0.24), caches=True, max_output=10_000),
    ModelFacts(r"amazon\.nova-pro", _nova(0.80, 3.20), caches=True, max_output=10_000),
    ModelFacts(r"meta\.llama3-3-70b", ModelPrice(input=0.72, output=0.72), forced_tool=False, max_output=8_192),
    ModelFacts(r"mistral\.mistral-large-24", ModelPrice(input=2.0, output=6.0), max_output=8_192),
    ModelFacts(r"amazon\.titan-embed-text-v2", ModelPrice(input=0.02, output=0.0), forced_tool=False),
)

GEOGRAPHIES: Final = ("global", "us-gov", "us", "eu", "apac", "jp", "au", "ca")
UNKNOWN: Final = ModelFacts("", None)


def split_geography(model: str) -> tuple[str | None, str]:
    """`us.anthropic.x` → (`us`, `anthropic.x`); a model that is asked in its own region has no geography."""
    head, _, rest = model.rpartition("/")[2].partition(".")
    return (head, rest) if head in GEOGRAPHIES else (None, model.rpartition("/")[2])


def facts_of(model: str) -> ModelFacts:
    """What is known of a model by its id, inference profile id or ARN; nothing of one that isn't in the table."""
    name = split_geography(model)[1]
    return next((facts for facts in FACTS if re.match(facts.match, name)), UNKNOWN)


def price_of(model: str) -> ModelPrice | None:
    """The price of a model by its id, inference profile id or ARN; None if it isn't known."""
    if model.startswith(LOCAL):
        return ModelPrice(input=0.0, output=0.0)
    facts = facts_of(model)
    if facts.price is None or not facts.premium or split_geography(model)[0] == "global":
        return facts.price
    return facts.price.times(REGIONAL_PREMIUM)
