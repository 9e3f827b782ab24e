"""Which query the words of a question choose, and which figures an answer may hold."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.table_questions import Kind, TableColumn, choose, told, unsupported

SALES = [
    TableColumn("day", "time", 31),
    TableColumn("amount", "number", 25),
    TableColumn("itemsSold", "number", 9),
    TableColumn("shop", "text", 3),
    TableColumn("customer", "text", 30),
]


@pytest.mark.parametrize(
    ("question", "rule", "has"),
    [
        ("How many rows are there?", "how many rows there are", "count(*)"),
        ("How many sales per shop?", "how many rows there are by shop", "GROUP BY 1"),
        ("What is the average amount per shop?", "the average of amount by shop", 'avg("amount")'),
        ("Which shop sold the most items sold?", "the largest of itemsSold by shop", 'max("itemsSold")'),
        ("amount by shop", "the total of amount by shop", 'sum("amount")'),
        ("What is the median amount?", "the median of amount", 'median("amount")'),
        ("Which customer has the highest amount?", "the rows with the largest amount", "DESC LIMIT 10"),
        ("Show the cheapest amount", "the rows with the smallest amount", "ASC LIMIT 10"),
        ("How does the amount develop over time?", "the total of amount by month of day", "date_trunc"),
        ("Are there unusual amounts?", "rows whose amount lies more than 3.5 robust deviations", "mad("),
        ("Tell me something", "how the columns are filled", "UNION ALL"),
    ],
)
def test_the_words_choose_the_query(question: str, rule: str, has: str) -> None:
    """By what is to be known, of which column, by which group; the rule says what was understood."""
    chosen = choose(question, SALES, 31)

    assert chosen.rule.startswith(rule)
    assert has in chosen.sql


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(str.strip)
TYPES: dict[Kind, str] = {"number": "DOUBLE", "time": "DATE", "text": "VARCHAR"}
WORDS = st.sampled_from(
    ["how many", "average", "most", "least", "by", "over time", "outliers", "total", "which", "median", "rows"]
)


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(sorted(TYPES))), min_size=1, max_size=5, unique_by=lambda one: one[0].lower()),
    st.lists(WORDS, max_size=4),
    st.data(),
)
def test_every_choice_is_a_query_that_runs(columns: list[tuple[str, Kind]], words: list[str], data: st.DataObject) -> None:
    """Whatever the columns are called and the question says."""
    asked = [*words, *data.draw(st.lists(st.sampled_from([name for name, _ in columns]), max_size=3))]
    fields = ", ".join('"' + name.replace('"', '""') + f'" {TYPES[kind]}' for name, kind in columns)

    chosen = choose(" ".join(asked), [TableColumn(name, kind, 2) for name, kind in columns], 3)

    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE data ({fields})")
        connection.execute(chosen.sql)


def test_an_answer_without_a_model_is_what_was_asked_for_and_the_first_rows() -> None:
    """And how many more there are."""
    rows = [{"shop": "a", "total": 1234.5}, {"shop": "b", "total": 2}]

    assert told("the total by shop", rows, 12) == "The total by shop: shop a, total 1,234.5; shop b, total 2; 10 more."
    assert told("the rows", [], 0) == "The rows: there are none."


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("Shop a sold 1,234.57 in 2026.", []),
        ("Shop a sold about 1,235.", []),
        ("The share is 25 %, of 3 shops.", []),
        ("Shop a sold 1,300.", ["1,300"]),
        ("It grew by 17.5 % since 2019.", ["17.5", "2019"]),
        ("As you asked, for 4711: 1234.567.", []),
    ],
)
def test_figures_of_an_answer_stand_in_its_rows(answer: str, wrong: list[str]) -> None:
    """Rounded or not, in percent, part of a date, or in the question; small ones may count."""
    rows = [{"shop": "a", "total": 1234.567, "share": 0.25, "day": "2026-01-31"}]

    assert unsupported(answer, rows, "What about 4711?") == wrong
