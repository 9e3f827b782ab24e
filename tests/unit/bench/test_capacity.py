"""The sizing rule of 'DynamoDB item sizes and formats', by its own words."""

import base64

import pytest

from bench.capacity import UnknownStatement, inserted_item, item_size, read_units, value_size, write_units


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "abc"}, 3),
        ({"S": "é"}, 2),
        ({"N": "7"}, 2),
        ({"N": "42"}, 2),
        ({"N": "123"}, 3),
        ({"N": "100"}, 2),
        ({"N": "0.00120"}, 2),
        ({"N": "-12"}, 2),
        ({"N": "0"}, 1),
        ({"N": "1.5E3"}, 2),
        ({"B": base64.b64encode(b"12345").decode()}, 5),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "200"]}, 4),
        ({"BS": [base64.b64encode(b"1").decode()]}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"N": "1"}]}, 3 + 1 + 2 + 1 + 2),
        ({"M": {"key": {"S": "v"}}}, 3 + 1 + 3 + 1),
    ],
)
def test_values_have_the_documented_size(value: dict[str, object], size: int) -> None:
    """Every type counts as the guide says, numbers by their significant digits."""
    assert value_size(value) == size


def test_an_unknown_type_is_refused() -> None:
    """A type that DynamoDB does not have is an error, not a zero."""
    with pytest.raises(ValueError, match="not one of DynamoDB's types"):
        value_size({"X": "1"})


def test_an_items_size_counts_its_names() -> None:
    """Attribute names cost as much as values."""
    assert item_size({"pk": {"S": "goal"}, "n": {"N": "1"}}) == 2 + 4 + 1 + 2


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (24_577, 25)])
def test_writes_are_rounded_up_to_1_kb(size: int, units: float) -> None:
    """Every started kilobyte is a write unit."""
    assert write_units(size) == units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4096, 1), (4097, 2)])
def test_reads_are_rounded_up_to_4_kb(size: int, units: float) -> None:
    """Every started four kilobytes are a read unit, half of one if eventual consistency will do."""
    assert read_units(size, consistent=True) == units
    assert read_units(size, consistent=False) == units / 2


def test_the_item_of_an_insert_is_found() -> None:
    """An INSERT's names and parameters make the item that it writes."""
    statement = "INSERT INTO \"fleet-work\" VALUE {'pk':?,'sk':?, 'n' : ?}"

    table, item = inserted_item(statement, [{"S": "g#0"}, {"S": "R000001"}, {"N": "3"}])

    assert table == "fleet-work"
    assert item == {"pk": {"S": "g#0"}, "sk": {"S": "R000001"}, "n": {"N": "3"}}


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ('SELECT * FROM "t" WHERE pk=?', [{"S": "a"}]),
        ("INSERT INTO \"t\" VALUE {'pk':?,'sk':?}", [{"S": "a"}]),
        ("INSERT INTO \"t\" VALUE {'pk':'literal'}", [{"S": "a"}]),
    ],
)
def test_other_statements_are_refused(statement: str, parameters: list[dict[str, str]]) -> None:
    """What can't be sized is said, not guessed."""
    with pytest.raises(UnknownStatement):
        inserted_item(statement, parameters)
