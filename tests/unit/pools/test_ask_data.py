"""Questions in words about a table: with a model whose SQL is tried first, and by rules without one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentfleet.agent import TaskContext
from agentfleet.domain.errors import ModelRefused, NotFound
from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import ModelRequest, ToolCall
from agentfleet.ports_model import ModelPort
from cdk.playbooks import read_playbooks
from functions.data import handler as data
from functions.report import handler as report
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import Environment
from tests.unit.pools.test_think import Model, with_model

ROWS: list[dict[str, Any]] = [
    {"day": f"2026-01-{day:02d}", "amount": 100 + day % 7, "shop": "ab"[day % 2]} for day in range(1, 31)
]
CSV = "day,amount,shop\n" + "".join(f"{row['day']},{row['amount']},{row['shop']}\n" for row in ROWS)
BY_SHOP = "SELECT shop, sum(amount) AS total FROM data GROUP BY shop ORDER BY total DESC"


def ask(context: TaskContext, question: str = "Which shop has the largest total amount?", **given: Any) -> data.AskOutput:
    """The outcome of one data.ask."""
    return asyncio.run(data.ask(data.AskInput(question=question, table=ROWS, **given), context))


def saying(*queries: str, words: Any = "Shop b, with 1545.") -> Any:
    """A model that writes these queries in turn, then words."""
    said = iter(queries)

    def says(request: ModelRequest) -> Any:
        if request.tools:
            return (ToolCall(id="t", name="Query", input={"sql": next(said), "meaning": "totals by shop"}),)
        return words

    return says


def test_a_model_writes_the_query_and_words_the_rows() -> None:
    """It sees the columns and a few values, never the table; the rows are there as evidence."""
    totals = {shop: sum(row["amount"] for row in ROWS if row["shop"] == shop) for shop in "ab"}
    best = max(totals, key=lambda shop: totals[shop])
    context, model = with_model(saying(BY_SHOP, words=f"Shop {best}, with {totals[best]}."))

    found = ask(context)

    assert (found.how, found.sql, found.rounds) == ("model", BY_SHOP, 1)
    assert found.answer == f"Shop {best}, with {totals[best]}."
    assert found.rows[0] == {"shop": best, "total": totals[best]}
    assert (found.input_tokens, found.output_tokens) == (200, 20)
    assert "2026-01-17" not in str(model.seen[0].messages)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("SELECT shop, sum(amout) FROM data GROUP BY shop", "amout"),
        ("DROP TABLE data", "must be a SELECT"),
        ("SELECT 1; SELECT 2", "a single SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "sql:"),
        ("SELEC", "sql:"),
    ],
)
def test_a_query_that_does_not_fit_is_told_to_the_model(wrong: str, told: str) -> None:
    """Tried on an empty table of the same columns: nothing else can be reached, and nothing is run before it fits."""
    context, model = with_model(saying(wrong, BY_SHOP, words="See the rows."))

    found = ask(context)

    assert (found.sql, found.rounds, found.answer) == (BY_SHOP, 2, "See the rows.")
    assert told in str(model.seen[1].messages[-1])


def test_words_with_figures_that_are_not_in_the_rows_are_not_used() -> None:
    """The rows are told instead, and why; what the call cost stands there."""
    context, _ = with_model(saying(BY_SHOP, words="Shop b, with 987654."))

    found = ask(context)

    assert found.how == "model"
    assert found.answer.startswith("Totals by shop: shop ")
    assert "987654" in found.why
    assert found.output_tokens == 20


@pytest.mark.parametrize("says", [lambda request: ModelRefused("no"), saying("nonsense", "nonsense", "nonsense")])
def test_a_model_that_gives_no_query_leaves_it_to_the_rules(says: Any) -> None:
    """And a query that fails only when it runs does, too."""
    context, _ = with_model(says)
    failing, _ = with_model(saying("SELECT shop::INTEGER AS n FROM data"))

    for found in (ask(context), ask(failing)):
        assert (found.how, found.rule) == ("rules", "the total of amount by shop")
        assert found.why
        assert found.count == 2


def test_without_a_model_the_words_choose_a_query(context: TaskContext) -> None:
    """It says what it understood; a question that can't be about the table is told how the columns are."""
    found = ask(context, "What is the average amount per shop?")

    assert (found.how, found.model, found.rounds) == ("rules", None, 0)
    assert found.rule == "the average of amount by shop"
    assert found.answer.startswith("The average of amount by shop: shop ")
    assert ask(context, "Hello?").rule == "how the columns are filled"
    assert ask(context, "amount by shop", limit=1).uri is not None


def test_a_table_that_cannot_be_read_fails(context: TaskContext) -> None:
    """As in every other capability."""
    with pytest.raises(NotFound):
        asyncio.run(data.ask(data.AskInput(question="How many?", table="s3://fleet-bucket/blobs/acme/nothing.txt"), context))


@pytest.mark.parametrize("says", [None, saying(BY_SHOP, words="See the rows.")])
def test_the_playbook_reports_the_answer_and_what_it_rests_on(says: Any) -> None:
    """With and without a model."""
    port: ModelPort | None = Model(says) if says else None
    models = Environment().models(port) if port else None
    playbooks = read_playbooks(Path(__file__).parents[3])
    fleet = InProcessFleet(data.agent, report.agent, playbooks=playbooks, models=models)
    goal = fleet.submit({"playbook": "ask-data", "parameters": {"question": "Total amount by shop?", "text": CSV}})
    fleet.settle()
    ended = fleet.goal(goal.id)

    assert ended.state is GoalState.SUCCEEDED, ended.failure
    assert ended.output["how"] == ("model" if says else "rules")
    assert ended.output["rows"]
    page = fleet.blobs.get(ended.output["report"]).decode()
    assert "Total amount by shop?" in page
    assert "GROUP BY" in page
    assert ended.output["answer"].split()[0] in page
