"""How an output came about: what every capability says that puts something into words."""

from typing import Literal

from pydantic import BaseModel


class Made(BaseModel):
    """How an output came about, and what it took."""

    how: Literal["model", "quotations", "rules"]
    why: str = ""
    """Why not by a model."""
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0
