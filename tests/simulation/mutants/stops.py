"""Bugs in the kill switch."""

from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.services.kill import KillStage, KillSwitch, stopped_by
from agentfleet.services.run import TaskRunner
from agentfleet.services.work import Batch
from tests.simulation.mutants.mutant import Mutant

_concerns = KillSwitch._concerns
_send_again = TaskRunner._send_again


def _give_back(self: KillStage, batch: Batch) -> None:
    """Leaves what is stopped to its queue, which counts."""
    for work in list(batch.works):
        if kill := self._switch.stopping(work.goal.tenant, self._pool):
            batch.give_back(work, stopped_by(kill, self._clock(), 0.0), timedelta(seconds=5))


def _count_the_stop(self: TaskRunner, batch: Batch) -> None:
    batch.again = [replace(one, has_failed=True) for one in batch.again]
    _send_again(self, batch)


def _pools_only(self: KillSwitch, kill: Any, tenant: str, pool: str | None) -> bool:
    return kill.scope.kind == "pool" and _concerns(self, kill, tenant, pool)


STOPS: Final = (
    Mutant("what is stopped runs", KillStage, "__call__", lambda self, batch: None, first=27),
    Mutant("what is stopped is given back", KillStage, "__call__", _give_back, first=27),
    Mutant("a stopped pool's work uses up an attempt", TaskRunner, "_send_again", _count_the_stop, first=27),
    Mutant("the healer sends what is stopped", KillSwitch, "quiet_until", lambda self, tenant, pools: None, first=46),
    Mutant("only pools can be stopped", KillSwitch, "_concerns", _pools_only, first=46),
)
