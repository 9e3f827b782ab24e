"""Values of a given shape, at the wire: asked for, checked, and corrected."""

import asyncio
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentfleet.domain.errors import ModelAnswerInvalid, ModelRefused
from agentfleet.domain.model import json_in, plain_schema
from agentfleet.services.structured import Structured
from tests.unit.model.conftest import FIRST, Task
from tests.unit.model.scripted import Script, calling, replying, saying

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


class Place(BaseModel):
    """Where something is."""

    country: str


class City(BaseModel):
    """A city and how many live there."""

    name: str
    people: int = Field(ge=0)
    size: Literal["small", "large"] = "large"
    place: Place | None = None


GOOD = {"name": "Oslo", "people": 717_710}


def find(task: Any, **given: Any) -> Structured[City]:
    """A city, past the cache."""
    return asyncio.run(task.model.structured(City, "Oslo?", cache=False, **given))


def test_a_value_is_asked_for_as_a_tool_that_must_be_called(script: Script, task: Task) -> None:
    """The model's schema is the tool's, without references that not every model reads."""
    script.add(calling("City", GOOD))

    found = find(task())

    assert found.value == City(name="Oslo", people=717_710)
    assert (found.rounds, found.model) == (1, FIRST)
    config = script.seen[0].body["toolConfig"]
    assert config["toolChoice"] == {"tool": {"name": "City"}}
    [tool] = [one["toolSpec"] for one in config["tools"]]
    assert tool["description"] == "A city and how many live there."
    schema = tool["inputSchema"]["json"]
    assert schema["required"] == ["name", "people"]
    assert "$ref" not in str(schema)
    assert schema["properties"]["place"]["anyOf"][0]["required"] == ["country"]


def test_a_wrong_field_is_told_and_corrected(script: Script, task: Task) -> None:
    """The repair turn holds the call and what was wrong with it; all rounds are counted."""
    script.add(calling("City", {"name": "Oslo", "people": -3}), calling("City", GOOD, id="tooluse_2"))

    found = find(task())

    assert (found.rounds, found.usage.total, found.value.people) == (2, 60, 717_710)
    said, told = script.seen[1].body["messages"][1:]
    assert said["content"][0]["toolUse"]["input"] == {"name": "Oslo", "people": -3}
    result = told["content"][0]["toolResult"]
    assert result["status"] == "error"
    assert "people: Input should be greater than or equal to 0" in result["content"][0]["text"]


def test_the_prompt_is_kept_for_turns_that_mend_an_answer(script: Script, task: Task) -> None:
    """Not for the first, which may be the only one, unless the caller asks for it: writing costs more than reading."""
    point = {"cachePoint": {"type": "default"}}
    wrong, good = calling("City", {"name": "Oslo"}), calling("City", GOOD)
    script.add(wrong, good, wrong, good)

    find(task(), system="Be exact.")
    find(task(), system="Be exact.", cache_prompt=True)

    kept = [point in seen.body["system"] for seen in script.seen]
    assert kept == [False, True, True, True]
    assert script.seen[1].body["messages"][1]["content"][-1] == point
    assert all(point not in seen.body["messages"][0]["content"] for seen in script.seen)


def test_a_value_that_stays_wrong_is_an_error_for_good(script: Script, task: Task) -> None:
    """After as many rounds as allowed; the last problem is named."""
    script.always = calling("City", {"name": "Oslo"})

    with pytest.raises(ModelAnswerInvalid, match=r"no valid City in 2 rounds.*people: Field required"):
        find(task(), rounds=2)

    assert len(script.seen) == 2


@pytest.mark.parametrize(
    "text", ['{"name": "Oslo", "people": 717710}', 'Here:\n```json\n{"name": "Oslo", "people": 717710}\n```\nDone {it}.']
)
def test_json_in_words_will_do(script: Script, task: Task, text: str) -> None:
    """Not every model calls the tool that it must."""
    script.add(saying(text))

    assert find(task()).value.people == 717_710


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (saying("I would say Oslo."), "there is no JSON value"),
        (saying("[1, 2]"), "must be a JSON object, not list"),
        (saying(""), "there is no JSON value"),
        (calling("city_finder", GOOD), "there is no tool 'city_finder'"),
        (calling("City", "Oslo"), "must be a JSON object, not str"),
        (calling("City", None), "must be a JSON object, not NoneType"),
        (replying([{"text": " "}, {"toolUse": {"toolUseId": "x", "name": "City", "input": {}}}], "tool_use"), "name: Field"),
    ],
)
def test_whatever_a_model_does_instead_it_is_told(script: Script, task: Task, wrong: Any, says: str) -> None:
    """The repair turn is one that Bedrock takes, however odd the answer was."""
    script.add(wrong, calling("City", GOOD))

    assert find(task()).rounds == 2
    assert says in str(script.seen[1].body["messages"][-1])


def test_a_value_that_was_cut_off_gets_more_room(script: Script, task: Task) -> None:
    """Truncated JSON: asked again with twice the tokens, without the fragment."""
    script.add(saying('{"name": "Os', "max_tokens"), calling("City", GOOD))

    assert find(task(), max_tokens=50).rounds == 2

    first, second = (seen.body for seen in script.seen)
    assert (first["inferenceConfig"]["maxTokens"], second["inferenceConfig"]["maxTokens"]) == (50, 100)
    assert len(second["messages"]) == 1


def test_a_model_that_can_not_be_made_to_call_is_told_to(script: Script, task: Task) -> None:
    """Without a toolChoice, which Llama's models refuse."""
    script.add(calling("City", GOOD))

    find(task(chain=("meta.llama3-3-70b-instruct-v1:0",)))

    assert "toolChoice" not in script.seen[0].body["toolConfig"]
    assert "calling the tool City" in script.seen[0].body["system"][0]["text"]


def test_a_refusal_is_not_repaired(script: Script, task: Task) -> None:
    """It is an answer."""
    script.add(saying("no", "guardrail_intervened"))

    with pytest.raises(ModelRefused):
        find(task())


def test_schemas_that_hold_themselves_are_refused() -> None:
    """A model can't be held to one; a name that isn't there is a mistake too."""

    class Tree(BaseModel):
        children: list["Tree"]

    with pytest.raises(ValueError, match="contains itself"):
        plain_schema(Tree.model_json_schema())
    with pytest.raises(ValueError, match="not in its"):
        plain_schema({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}})


def test_a_property_may_be_called_title() -> None:
    """Titles of schemas go, properties of that name stay."""

    class Book(BaseModel):
        title: str

    assert plain_schema(Book.model_json_schema()) == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
    }


@pytest.mark.parametrize("text", ["", "no", "{", "{a}" * 5000])
def test_text_without_json_is_said_to_have_none(text: str) -> None:
    """However long it is."""
    with pytest.raises(ValueError, match="there is no JSON"):
        json_in(text)
