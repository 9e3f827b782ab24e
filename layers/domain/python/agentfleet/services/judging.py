"""The shapes that judges, critics and reviewers must give their answers in, and what is checked of them."""

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.services.structured import Shape, ShapeError

_NUMBERED: Final = re.compile(r"^ *(\d+) ", re.MULTILINE)


class Strict(BaseModel):
    """What a model fills in: a field that does not exist is an error."""

    model_config = ConfigDict(extra="forbid")


class Score(BaseModel):
    """What a judge makes of a candidate."""

    candidate: int = Field(ge=0)
    """From 0, in the order given."""
    score: float = Field(ge=0, le=10)
    reason: str


class Remark(BaseModel):
    """Something about a line of a file."""

    place: str
    severity: Literal["high", "medium", "low"]
    remark: str


class Scores(Strict):
    """Gives the scores, one for each candidate."""

    scores: list[Score]


class Critique(Strict):
    """Says whether the text should be revised, and what to change."""

    revise: bool
    remarks: list[str] = Field(default_factory=list, max_length=20)


class _LineRemark(Strict):
    line: int
    severity: Literal["high", "medium", "low"]
    remark: str = Field(min_length=1, max_length=600)


class Remarks(Strict):
    """Gives the remarks, the worst first."""

    remarks: list[_LineRemark]


def scores_for(count: int) -> Shape[list[Score]]:
    """Scores for so many candidates, each exactly once."""
    plain = Shape.of(Scores)

    def check(value: Any) -> list[Score]:
        scores = plain.check(value).scores
        if sorted(one.candidate for one in scores) != list(range(count)):
            raise ShapeError(f"scores: give exactly one for each candidate, 0 to {count - 1}")
        return sorted(scores, key=lambda one: one.candidate)

    return Shape(plain.tool, check)


def critique_of(value: Any) -> Critique:
    found = _PLAIN.check(value)
    if found.revise and not found.remarks:
        raise ShapeError("remarks: say what to change, or revise: false")
    return found


_PLAIN: Final = Shape.of(Critique)
CRITIQUE: Final = Shape(_PLAIN.tool, critique_of)


def remarks_on(path: str, text: str, limit: int) -> Shape[list[Remark]]:
    """Remarks on lines that were shown."""
    plain = Shape.of(Remarks)
    shown = {int(number) for number in _NUMBERED.findall(text)}

    def check(value: Any) -> list[Remark]:
        remarks = plain.check(value).remarks
        if unknown := sorted({one.line for one in remarks} - shown):
            raise ShapeError(f"remarks: line {unknown[0]} was not shown; give the number in front of the line")
        return [Remark(place=f"{path}:{one.line}", severity=one.severity, remark=one.remark) for one in remarks[:limit]]

    return Shape(plain.tool, check)
