"""Dramatiq: a group of no-ops with a completion barrier. Its no-ops keep no results: only the callback does.

Worker: `dramatiq bench.peers.dramatiq_peer`. The server's URL is in PEER_URL.
"""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.group_callbacks import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as BarrierBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as ResultBackend

broker = RedisBroker(url=os.environ["PEER_URL"])
broker.add_middleware(GroupCallbacks(BarrierBackend(url=os.environ["PEER_URL"])))
# redis gives up reading after 5 s by default, sooner than a group may take.
broker.add_middleware(Results(backend=ResultBackend(url=f"{os.environ['PEER_URL']}?socket_timeout=600")))
dramatiq.set_broker(broker)


def _noop(value: int) -> None:
    """Nothing."""


def _answer(value: int) -> int:
    return value


noop: Any = dramatiq.actor(_noop, actor_name="noop")
answer: Any = dramatiq.actor(_answer, actor_name="answer", store_results=True)


def fan_out(count: int, timeout: float) -> None:
    """Run `count` no-ops and one callback after them all; return when the callback's result is here."""
    done = answer.message(count)
    tasks = dramatiq.group([noop.message(number) for number in range(count)])
    tasks.add_completion_callback(done)
    tasks.run()
    done.get_result(block=True, timeout=int(timeout * 1000))


def lone(timeout: float) -> None:
    """Run one no-op and wait for its result."""
    answer.send(1).get_result(block=True, timeout=int(timeout * 1000))
