"""Which tools a pool's agents may call."""

import pytest

from agentfleet.domain.tool_policy import ToolNotAllowed, ToolPolicy, unknown_tools

TOOLS = ["http.fetch", "http.post", "bank.pay", "knowledge.search"]


def test_only_what_is_listed_is_allowed() -> None:
    """By name or by pattern, in the order in which tools are offered."""
    policy = ToolPolicy("think", ("http.*", "knowledge.search"))

    assert policy.among(TOOLS) == ("http.fetch", "http.post", "knowledge.search")
    assert policy.check("http.fetch") == "http.fetch"
    for tool in ("bank.pay", "http", "HTTP.fetch", "knowledge.searching", ""):
        with pytest.raises(
            ToolNotAllowed, match=r"agents of pool think may not call .*; allowed are http\.\*, knowledge\.search"
        ):
            policy.check(tool)


def test_an_empty_list_allows_nothing() -> None:
    """Nothing is allowed that nobody has named."""
    assert ToolPolicy("think").among(TOOLS) == ()
    with pytest.raises(ToolNotAllowed, match="allowed are none"):
        ToolPolicy("think").check("http.fetch")


def test_slips_of_the_pen_are_told() -> None:
    """An entry that matches nothing would allow nothing."""
    assert unknown_tools(["http.*", "htp.*", "knowledge.search", "bank.paid"], TOOLS[:3]) == ("htp.*", "bank.paid")
