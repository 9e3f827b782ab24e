"""References: found, resolved, and never shared."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain import ids, references

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5).filter(lambda k: k != "$from"), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(value=JSON)
def test_a_value_without_references_resolves_to_itself(value: Any) -> None:
    """Resolving is the identity where nothing is referred to."""
    assert list(references.find(value)) == []
    assert references.resolve(value, lambda _: "never") == value


@given(output=JSON)
def test_what_a_reference_gives_is_a_copy(output: Any) -> None:
    """Two tasks that refer to one output can't change each other's."""
    resolved = references.resolve([{"$from": "a"}, {"$from": "a"}], lambda _: output)

    assert resolved == [output, output]
    if isinstance(output, dict | list):
        assert resolved[0] is not resolved[1]
        assert resolved[0] is not output


def test_paths_and_defaults() -> None:
    """JMESPath picks a part; the default stands in for null."""
    output = {"rows": [{"id": 7}]}

    def resolve(value: dict[str, Any]) -> Any:
        return references.resolve({"v": value}, lambda _: output)["v"]

    assert resolve({"$from": "a", "path": "rows[0].id"}) == 7
    assert resolve({"$from": "a", "path": "rows[1].id", "default": "none"}) == "none"
    assert [one.where for one in references.find({"a": [{"$from": "x"}], "b": {"$from": "y"}})] == ["input.a[0]", "input.b"]


def test_ids_are_derived_where_the_same_must_be_the_same() -> None:
    """Keys of different tenants, and units of different goals, never meet."""
    assert ids.derived_goal_id("a", "k") == ids.derived_goal_id("a", "k") != ids.derived_goal_id("b", "k")
    assert ids.derived_goal_id("a", "bk") != ids.derived_goal_id("ab", "k")
    assert ids.child_goal_id("g", 1, 0) != ids.child_goal_id("g", 10, 0)
    assert len(ids.derived_goal_id("a", "k")) == 23
