"""Bounds: which capabilities, which hosts, and what counts as an address."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.bounds import Bounds, EgressRefused, from_json, to_json

HERE = Bounds(hosts=(("docs.example.com", "*.example.org"),))
PATTERNS = st.lists(st.lists(st.sampled_from(["a.*", "a.b", "c.d", "*"])).map(tuple), max_size=3).map(tuple)


@pytest.mark.parametrize(
    "value",
    [
        "no address at all",
        "https://docs.example.com/a?b=c#d",
        {"urls": ["http://a.example.org:8080/", "HTTPS://DOCS.EXAMPLE.COM/"]},
        "See https://docs.example.com/x, and (https://b.example.org).",
        {"uri": "s3://any-bucket/key"},
        "mailto:someone, 12:30, C:, a ratio of 3:2",
    ],
)
def test_what_leads_nowhere_else_is_let_through(value: Any) -> None:
    """Allowed hosts in whatever form, files of the fleet, colons in words."""
    HERE.check_hosts(value)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.net/",
        "https://docs.example.com.evil.net/",
        "https://docs.example.com@evil.net/",
        "https://user:docs.example.com@evil.net/",
        "https://evil.net\\@docs.example.com/",
        "https:\\\\docs.example.com/",
        "https:/docs.example.com/",
        "https:///docs.example.com/",
        "https://docs.example.com\t.evil.net/",
        " https://docs.example.com\n.evil.net/ ",
        "https://docs.example.com'.evil.net/",
        "https://docs\u3002example.com.evil.net/",
        "https://[::1]/",
        "https://{{ item }}/",
        "https://",
        "ftp://evil.net/",
        "xhttps://evil.net/",
        "words before https://evil.net/ and after",
    ],
)
def test_what_leads_elsewhere_or_can_not_be_told_is_refused(address: str) -> None:
    """In values, in lists, in keys."""
    for value in (address, [1, {"a": [address]}], {address: 1}):
        with pytest.raises(EgressRefused):
            HERE.check_hosts(value)


def test_no_list_allows_all_and_an_empty_one_nothing() -> None:
    """Of tools and hosts alike."""
    Bounds().check_hosts("https://any.net/")
    assert Bounds().allows("any.thing")
    assert not Bounds(tools=((),)).allows("any.thing")
    with pytest.raises(EgressRefused, match="allowed hosts: none"):
        Bounds(hosts=((),)).check_hosts("https://any.net/")


@given(PATTERNS, PATTERNS, st.sampled_from(["a.b", "a.c", "c.d", "e.f"]))
def test_bounds_within_bounds_allow_what_both_allow(inner: Any, outer: Any, name: str) -> None:
    """Nothing that is set going may more than who set it going, and JSON keeps it so."""
    both = Bounds(tools=inner).within(Bounds(tools=outer))

    assert both.allows(name) == (Bounds(tools=inner).allows(name) and Bounds(tools=outer).allows(name))
    assert from_json(to_json(both)) == both
