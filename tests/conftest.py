"""How the tests are shared out among processes: what needs the same costly preparation goes to the same one."""

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

BY_FILE: Final = (
    "tests/contract/",
    "tests/infra/test_cold_start",
    "tests/infra/test_layers",
    "tests/unit/bench/test_knowledge",
)
"""Files whose tests share what one of them prepared."""
TOGETHER: Final = "tests/infra/"
"""A folder whose tests share the synthesized templates."""


class Scheduling(LoadScopeScheduling):
    """Shares out tests one by one, but for those that belong together; the largest groups go first."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BY_FILE):
            return nodeid.partition("::")[0]
        return TOGETHER if nodeid.startswith(TOGETHER) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Take the place of xdist's own: its groups by mark have no effect with pytest 9.2 (pytest-xdist issue 1386)."""
    return Scheduling(config, log)
