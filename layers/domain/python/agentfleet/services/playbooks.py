"""The playbooks that goals can be made from."""

from collections.abc import Mapping, Sequence

from agentfleet.domain.errors import NotFound, closest
from agentfleet.domain.playbook import Playbook


class PlaybookShelf:
    """Finds playbooks by name."""

    def __init__(self, playbooks: Mapping[str, Playbook]) -> None:
        self._playbooks = playbooks

    def list(self) -> Sequence[Playbook]:
        """All of them, by name."""
        return [self._playbooks[name] for name in sorted(self._playbooks)]

    def describe(self, name: str) -> Playbook:
        """One of them. Raises NotFound."""
        if name not in self._playbooks:
            raise NotFound(f"there is no playbook {name!r:.80}; {closest(name, [*self._playbooks])}")
        return self._playbooks[name]
