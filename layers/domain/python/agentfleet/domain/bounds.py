"""What an agent set going may do, and all that follows from it: capabilities by name, and hosts that addresses may lead to.

An agent that thinks decides by what it reads, so what it starts is held to its pool's lists wherever it ends up: in a task
of its own goal, in a sub-plan of that task, in the input that a sub-plan puts together.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.errors import PermanentError

_ADDRESS: Final = re.compile(r"(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,30}):[/\\]{1,4}[^\s\"'<>]*")
"""Anything that some reader may take for an address with a host."""
_OWN: Final = frozenset({"s3"})
"""Schemes of the fleet's own files: whose they are is checked where they are read."""
_PARTS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_CLOSING: Final = ").,;:!?]}*_`"
"""What may follow an address in a sentence."""
_PLAIN_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?")


class EgressRefused(PermanentError):
    """An address in what a task is given leads to a host that whoever set it going may not reach."""


class Bounds(Struct, frozen=True):
    """Lists that all must allow something. None of either kind: nothing is limited in that way."""

    tools: tuple[tuple[str, ...], ...] = ()
    """Each a list of names and patterns of capabilities; an empty list allows none."""
    hosts: tuple[tuple[str, ...], ...] = ()
    """Each a list of host names and patterns; an empty list allows none."""

    def __bool__(self) -> bool:
        return bool(self.tools or self.hosts)

    def within(self, outer: "Bounds | None") -> "Bounds":
        """These bounds and those of whoever set their owner going, each list once."""
        if not outer:
            return self
        return Bounds(tuple(dict.fromkeys((*outer.tools, *self.tools))), tuple(dict.fromkeys((*outer.hosts, *self.hosts))))

    def allows(self, capability: str) -> bool:
        """May a task of this capability run?"""
        return all(any(fnmatchcase(capability, one) for one in patterns) for patterns in self.tools)

    def reaches(self, host: str) -> bool:
        """May an address lead to this host (small letters)?"""
        return all(any(fnmatchcase(host, one) for one in patterns) for patterns in self.hosts)

    def check_hosts(self, value: Any) -> None:
        """Look at every address in a JSON value. Raises EgressRefused naming the first host that is not allowed."""
        if not self.hosts:
            return
        for address, host in addresses(value):
            if host is None:
                raise EgressRefused(f"{address[:100]!r} is no plain address: its host can't be told")
            if not self.reaches(host):
                listed = "; ".join(", ".join(patterns) or "none" for patterns in self.hosts)
                raise EgressRefused(f"addresses may not lead to {host[:100]!r}; allowed hosts: {listed}")


def addresses(value: Any) -> Iterable[tuple[str, str | None]]:
    """Every address in the texts of a JSON value, keys included, with its host; None where readers may disagree about that."""
    if isinstance(value, str):
        whole = value.strip()
        if (begins := _ADDRESS.match(whole)) and begins[1].lower() not in _OWN:
            yield whole, _host(whole)  # all of it, as whoever asks for it will read it
        for found in _ADDRESS.finditer(value):
            if found[1].lower() not in _OWN:
                yield found[0], _host(found[0].rstrip(_CLOSING))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from addresses(str(key))
            yield from addresses(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from addresses(inner)


def _host(address: str) -> str | None:
    """The host that an address leads to; None for what two readers may read in two ways (RFC 3986 and what browsers take)."""
    parts = _PARTS.match(address)
    authority = parts[1].lower() if parts else ""
    host = authority.partition(":")[0].rstrip(".")
    # Users, brackets, back-slashes, spaces and characters that are folded into others are no part of a plain authority.
    return host if re.fullmatch(r"[a-z0-9.-]+(:[0-9]{0,5})?", authority) and _PLAIN_HOST.fullmatch(host) else None


def to_json(bounds: Bounds) -> dict[str, Any]:
    """Bounds as plain JSON."""
    return {"tools": [list(one) for one in bounds.tools], "hosts": [list(one) for one in bounds.hosts]}


def from_json(value: Mapping[str, Sequence[Sequence[str]]]) -> Bounds:
    """The bounds that `to_json` gave this for."""
    return Bounds(tuple(tuple(one) for one in value["tools"]), tuple(tuple(one) for one in value["hosts"]))
