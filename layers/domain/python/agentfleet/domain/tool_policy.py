"""Which tools a pool's agents may call: a list of names and patterns, checked outside of any prompt."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from agentfleet.domain.errors import PermanentError

OWN_TOOLS: Final = ("knowledge.search", "ask_person", "hand_off", "recall", "remember")
"""Tools of the platform itself, beside the fleet's capabilities."""


class ToolNotAllowed(PermanentError):
    """A tool that the pool's list does not name."""


class ToolPolicy(Struct, frozen=True):
    """`[pools.<name>] tools`. What it does not name is not allowed, so an empty list allows nothing."""

    pool: str
    allowed: tuple[str, ...] = ()
    """Names, or patterns with `*`."""

    def allows(self, tool: str) -> bool:
        """May agents of the pool call it?"""
        return any(fnmatchcase(tool, pattern) for pattern in self.allowed)

    def check(self, tool: str) -> str:
        """The tool's name, if it is allowed. Raises ToolNotAllowed."""
        if self.allows(tool):
            return tool
        listed = ", ".join(self.allowed) or "none"
        raise ToolNotAllowed(f"agents of pool {self.pool} may not call {tool[:64]!r}; allowed are {listed}")

    def among(self, tools: Iterable[str]) -> tuple[str, ...]:
        """Those of these tools that are allowed, in their order: what a model is shown."""
        return tuple(tool for tool in tools if self.allows(tool))


def unknown_tools(allowed: Sequence[str], capabilities: Iterable[str]) -> tuple[str, ...]:
    """The entries of a list that match no capability and no tool of the platform: slips of the pen, most likely."""
    known = (*OWN_TOOLS, *capabilities)
    return tuple(pattern for pattern in allowed if not any(fnmatchcase(name, pattern) for name in known))
