"""Answers, extracts and summaries: with a model that says what a test wrote down, and with none."""

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.agent import PermanentError, TaskContext
from agentfleet.domain.errors import ModelAnswerInvalid, ModelBusy, ModelInputTooLong, ModelRefused, ModelUnavailable
from agentfleet.domain.model import ModelRequest, Reply, StopReason, Text, ToolCall, Usage
from agentfleet.domain.sentences import agreement, best, central, scores, sentences_of
from agentfleet.ports_model import ModelPort
from functions.think import handler as think
from tests.unit.model.conftest import Environment

Says = Callable[[ModelRequest], Any]

HARBOURS = """Bergen has a harbour. It was founded in 1070 by King Olav Kyrre.

Oslo is the capital of Norway. Its harbour freezes in some winters, and icebreakers keep the ferries going."""
TOOLS = "A saw cuts wood. A hammer drives nails into wood. Glue needs a clamp."


class Model:
    """A ModelPort that calls a function."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.seen: list[ModelRequest] = []

    def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
        """A text, parts, or an error."""
        self.seen.append(request)
        said = self.says(request)
        if isinstance(said, Exception):
            raise said
        parts = (Text(text=said),) if isinstance(said, str) else said
        return Reply(parts=parts, stop=StopReason.END, usage=Usage(input=100, output=10))

    def stream(self, model: str, request: ModelRequest, timeout: float) -> Iterator[str | Reply]:
        """Nobody streams here."""
        raise NotImplementedError


def with_model(says: Says, **settings: Any) -> tuple[TaskContext, Model]:
    """A task with a model, and the model."""
    environment, port = Environment(), Model(says)
    checked: ModelPort = port
    return environment.task(environment.models(checked), **settings), port


def without() -> TaskContext:
    """A task of a pool without a model."""
    return Environment().task(None)


def answer(context: TaskContext, question: str, *texts: Any) -> think.AnswerOutput:
    """The outcome of one think.answer."""
    return asyncio.run(think.answer(think.AnswerInput(question=question, texts=list(texts)), context))


def test_an_answer_by_a_model_cites_its_passages() -> None:
    """Numbers in the answer are those of its sources; each is the passage's sentence that fits the question best."""
    context, model = with_model(lambda request: "Icebreakers do [2]. Wood is cut [1]. They are old [2].")

    found = answer(context, "What keeps ferries going in Oslo's harbour, wood?", {"title": "Harbours", "text": HARBOURS}, TOOLS)

    assert found.how == "model"
    assert found.answer == "Icebreakers do [1]. Wood is cut [2]. They are old [1]."
    assert len(found.sources) == 2
    assert (found.input_tokens, found.output_tokens) == (100, 10)
    assert found.dollars == pytest.approx((100 * 1.0 + 10 * 5.0) * 1.1 / 1e6)
    prompt = model.seen[0].messages[0].parts[0]
    assert isinstance(prompt, Text)
    assert "[1] Harbours\n" in prompt.text


@pytest.mark.parametrize(
    ("said", "cites"), [("Icebreakers do.", "nothing"), ("Icebreakers do [1]. [7]", "1, 7"), ("Icebreakers do [0].", "0")]
)
def test_an_answer_that_cites_nothing_or_what_was_not_shown_is_not_used(said: str, cites: str) -> None:
    """The texts' own sentences are; it is said why, who was asked, and what that cost."""
    context, _ = with_model(lambda request: said)

    found = answer(context, "What keeps ferries going in Oslo's harbour?", HARBOURS)

    assert (found.how, found.why) == ("quotations", f"{found.model} cited {cites} of 1 passages")
    assert "icebreakers keep the ferries going. [" in found.answer
    assert all(source.quote in HARBOURS for source in found.sources)
    assert (found.input_tokens, found.dollars > 0) == (100, True)


def test_a_model_may_say_that_the_texts_hold_no_answer() -> None:
    """Then there is none, and nothing is cited for it."""
    context, _ = with_model(lambda request: "NO ANSWER.")

    found = answer(context, "How deep is Oslo's harbour?", HARBOURS)

    assert (found.answer, found.sources, found.how) == ("", [], "model")


def test_a_citation_names_the_text() -> None:
    """Number, title and sentence."""
    context, _ = with_model(lambda request: "Icebreakers do [1].")

    found = answer(context, "What keeps ferries going in Oslo's harbour?", TOOLS, {"title": "Harbours", "text": HARBOURS})

    assert found.answer == "Icebreakers do [1]."
    [source] = found.sources
    assert (source.source, source.title) == (2, "Harbours")
    assert source.quote == "Its harbour freezes in some winters, and icebreakers keep the ferries going."


def test_without_a_model_the_texts_speak() -> None:
    """The sentences that answer best, as they stand; it is said that no model was asked, and why."""
    found = answer(without(), "Who founded Bergen?", TOOLS, HARBOURS)

    assert (found.how, found.model, found.dollars) == ("quotations", None, 0.0)
    assert "King Olav Kyrre" in found.sources[0].quote or "Bergen" in found.sources[0].quote
    assert any("1070" in source.quote for source in found.sources)
    assert "fleet up --model" in found.why


def test_texts_that_have_nothing_to_do_with_it_give_no_answer() -> None:
    """No model is asked for what is not there."""
    context, model = with_model(lambda request: "made up")

    found = answer(context, "Quantum chromodynamics?", TOOLS)

    assert (found.answer, found.sources, found.how) == ("", [], "quotations")
    assert not model.seen


def test_a_model_with_little_room_is_shown_less() -> None:
    """Too long: half of it, until it fits."""

    def says(request: ModelRequest) -> Any:
        return "short [1]" if request.size < 3_000 else ModelInputTooLong("too long")

    context, model = with_model(says)

    found = answer(context, "Which wood does a saw cut?", *[f"A saw cuts wood number {n}. " * 40 for n in range(20)])

    assert found.how == "model"
    sizes = [request.size for request in model.seen]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 3_000


def test_a_busy_model_is_waited_for() -> None:
    """The task comes again; quotations would be given away too early."""
    context, _ = with_model(lambda request: ModelRefused("no"))
    assert answer(context, "saw?", TOOLS).how == "quotations"

    context, _ = with_model(lambda request: ModelBusy("full", 5.0))
    with pytest.raises(ModelBusy):
        answer(context, "saw?", TOOLS)


SCHEMA = {
    "type": "object",
    "title": "City",
    "properties": {"name": {"type": "string"}, "founded": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


def extract(context: TaskContext, schema: dict[str, Any]) -> think.ExtractOutput:
    """The outcome of one think.extract."""
    return asyncio.run(think.extract(think.ExtractInput.model_validate({"text": HARBOURS, "schema": schema}), context))


def test_an_extract_is_valid_under_its_schema() -> None:
    """What isn't is told to the model, which corrects it."""
    said = iter([{"name": "Bergen", "founded": "1070"}, {"name": "Bergen", "founded": 1070}])
    context, model = with_model(lambda request: (ToolCall(id="t", name="City", input=next(said)),))

    found = extract(context, SCHEMA)

    assert (found.value, found.rounds) == ({"name": "Bergen", "founded": 1070}, 2)
    assert (found.how, found.input_tokens) == ("model", 200)
    assert "founded: '1070' is not of type 'integer'" in str(model.seen[1].messages[-1])


def test_an_extract_needs_a_model_that_can() -> None:
    """Nothing is made up in its place."""
    with pytest.raises(ModelUnavailable):
        extract(without(), SCHEMA)
    context, _ = with_model(lambda request: "Bergen, I think.")
    with pytest.raises(ModelAnswerInvalid):
        extract(context, SCHEMA)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array"}, "at its top"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "'text' is not valid"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}, "not in its"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], says: str) -> None:
    """Before the model is asked; nothing is ever fetched for it."""
    context, model = with_model(lambda request: "x")

    with pytest.raises(PermanentError, match=says):
        extract(context, schema)
    assert not model.seen


def summarize(context: TaskContext, **given: Any) -> think.SummarizeOutput:
    """The outcome of one think.summarize."""
    return asyncio.run(think.summarize(think.SummarizeInput(**given), context))


def test_a_summary_by_a_model_and_by_none() -> None:
    """A model writes; without one the most central sentences are quoted, in their order."""
    context, model = with_model(lambda request: " Harbours. ")
    text = f"{HARBOURS}\n\nHarbours in Norway freeze in some winters. Ferries in Norway need a harbour."

    assert summarize(context, text=text, sentences=1).summary == "Harbours."
    assert "at most 1 sentences" in model.seen[0].system
    quoted = summarize(without(), text=text, sentences=2)
    assert quoted.how == "quotations"
    assert len(sentences_of(quoted.summary)) == 2
    assert "Olav" in summarize(without(), text=text, about="founded by which king", sentences=1).summary


def test_a_long_text_is_shortened_to_what_matters() -> None:
    """The sentences about what the reader wants, in their order, up to the pool's limit."""
    context, model = with_model(lambda request: "ok", passage_chars=2_000)
    topics = ["ferries and harbours", *["nothing at all"] * 9] * 40
    text = " ".join(f"Sentence {number} is about {topic} here." for number, topic in enumerate(topics))

    summarize(context, text=text, about="ferries harbours")

    shown = str(model.seen[0].messages[0])
    assert len(shown) < 2_300
    assert shown.count("ferries") > shown.count("nothing")
    assert shown.index("Sentence 0 ") < shown.index("Sentence 10 ") < shown.index("Sentence 20 ")


def test_sentences_end_where_they_end() -> None:
    """At marks before capitals, at blank lines, before list items; not at abbreviated numbers."""
    text = 'It costs 3.5 dollars. "Really?" Yes!\n\nNew part\n- first point\n- second point, v1.2'

    found = sentences_of(text)

    assert found == ["It costs 3.5 dollars.", '"Really?', "Yes!", "New part", "- first point", "- second point, v1.2"]


def test_ranking_knows_what_is_rare_and_what_is_common() -> None:
    """Words in every text weigh little, endings don't matter, and what shares nothing isn't found."""
    texts = ["the cat sat in the house", "a house burns", "houses and houses and a dog", "trees"]

    assert best("dogs", texts, 5) == [2]
    assert best("burning house", texts, 1) == [1]
    assert scores("trees of the forest", texts)[:3] == [0.0, 0.0, 0.0]
    assert best("", texts, 3) == []
    assert central([], 3) == []


WORDS = st.lists(st.sampled_from(["owls", "hunt", "mice", "by", "night", "cats", "sleep", "the", "of"]), max_size=6).map(
    " ".join
)


@given(st.lists(WORDS, min_size=1, max_size=6), st.randoms())
def test_agreement_is_a_share_and_does_not_depend_on_order(texts: list[str], random: Random) -> None:
    """From 0 to 1; equal texts agree wholly; shuffled texts keep their shares."""
    shares = agreement(texts)
    order = random.sample(range(len(texts)), len(texts))

    assert all(0.0 <= share <= 1.0 for share in shares)
    assert agreement([texts[place] for place in order]) == pytest.approx([shares[place] for place in order])
    assert agreement(["owls hunt"] * 3) == [1.0, 1.0, 1.0]


def judge(context: TaskContext, *candidates: str) -> think.JudgeOutput:
    """The outcome of one think.judge."""
    return asyncio.run(think.judge(think.JudgeInput(question="Why?", candidates=list(candidates)), context))


def test_without_a_model_the_answer_that_most_agree_with_wins() -> None:
    """It says so, and why."""
    found = judge(without(), "Cats sleep.", "Owls hunt mice by night.", "By night owls hunt mice and voles.")

    assert (found.how, found.model, found.winner) == ("rules", None, 1)
    assert found.text == "Owls hunt mice by night."
    assert [one.candidate for one in found.scores] == [0, 1, 2]
    assert "fleet up --model" in found.why


def test_a_judge_scores_each_candidate_once() -> None:
    """What it leaves out or doubles is told to it; of equals the first wins."""
    said = iter([[0, 0], [1, 0]])

    def says(request: ModelRequest) -> Any:
        scores = [{"candidate": number, "score": 8, "reason": "fine"} for number in next(said)]
        return (ToolCall(id="t", name="Scores", input={"scores": scores}),)

    context, model = with_model(says)

    assert (judge(context, "a", "b").winner, len(model.seen)) == (0, 2)
    with pytest.raises(PermanentError, match="none to judge"):
        judge(context)
    with pytest.raises(ModelUnavailable):
        judge(without())


def test_a_critic_that_wants_a_revision_says_which() -> None:
    """A bare no is told to it; a critic needs a model, and so does a writer, who must write something."""
    said = iter([{"revise": True}, {"revise": True, "remarks": ["Shorter."]}])
    context, _ = with_model(lambda request: (ToolCall(id="t", name="Critique", input=next(said)),))
    task = think.CriticizeInput(task="Write.", text="A text.")
    silent, _ = with_model(lambda request: "  ")

    found = asyncio.run(think.criticize(task, context))

    assert (found.revise, found.remarks, found.how) == (True, ["Shorter."], "model")
    with pytest.raises(ModelUnavailable):
        asyncio.run(think.criticize(task, without()))
    with pytest.raises(ModelUnavailable):
        asyncio.run(think.write(think.WriteInput(task="Write."), without()))
    with pytest.raises(ModelAnswerInvalid, match="wrote nothing"):
        asyncio.run(think.write(think.WriteInput(task="Write."), silent))


def test_a_remark_that_no_model_makes_is_none() -> None:
    """Neither without one nor by one that can't keep to the lines."""
    task = think.RemarkInput(path="a.py", text="    1 x = 1")
    stubborn, _ = with_model(
        lambda request: (
            ToolCall(id="t", name="Remarks", input={"remarks": [{"line": 9, "severity": "low", "remark": "Hm."}]}),
        )
    )

    for context in (without(), stubborn):
        found = asyncio.run(think.remark(task, context))
        assert (found.how, found.remarks) == ("rules", [])
        assert found.why
