"""Which models a pool's agents may use: the block `[pools.<name>.model]` of fleet.toml, and the function's variable MODEL."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from agentfleet.domain.model_prices import ModelPrice, facts_of, price_of

ModelId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9.:_-]{2,127}$")]
"""A foundation model's id, or the id of a cross-region inference profile (`us.…`, `eu.…`, `global.…`)."""

MAX_CHAIN: Final = 5


class ModelChoice(BaseModel):
    """A chain of models, the preferred one first, and how they are called unless an agent says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: tuple[ModelId, ...] = Field(min_length=1, max_length=MAX_CHAIN)
    """Where a model can't be had, the next one is asked."""
    max_tokens: int = Field(default=1024, ge=1, le=64_000)
    """Of an answer."""
    temperature: float = Field(default=0.0, ge=0.0, le=1.0)
    timeout: float = Field(default=120.0, gt=0, le=890)
    """Seconds that one call may take, where the task has that long."""
    prices: dict[ModelId, ModelPrice] = Field(default_factory=dict)
    """For models that the price table doesn't know."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.chain)) < len(self.chain):
            raise ValueError("chain: names a model twice")
        for model in self.chain:
            if self.price_of(model) is None:
                raise ValueError(
                    f'chain: the price of {model!r} is not known: add [pools.<name>.model.prices."{model}"] with '
                    "input and output in dollars per million tokens"
                )
            most = facts_of(model).max_output
            if facts_of(model).price is not None and self.max_tokens > most:
                raise ValueError(f"max_tokens: {self.max_tokens} is more than {model} can write, {most}")
        return self

    def price_of(self, model: str) -> ModelPrice | None:
        """The price of a model of the chain."""
        return self.prices.get(model) or price_of(model)
