"""How peers are chosen, and what becomes of one that can't be measured."""

from pathlib import Path

import pytest

from bench.peers import run
from bench.peers.client import measure, percentiles
from bench.peers.setups import PEERS, PeerSetup
from bench.programs import BenchFailed


class Counter:
    """A peer that only counts."""

    def __init__(self) -> None:
        self.fans: list[int] = []
        self.lones = 0

    def fan_out(self, count: int, timeout: float) -> None:
        """Nothing but the count."""
        self.fans.append(count)

    def lone(self, timeout: float) -> None:
        """Nothing but the count."""
        self.lones += 1


def test_no_choice_is_every_peer() -> None:
    """An empty list, or names apart by commas or blanks."""
    assert [one.name for one in run.choose("")] == list(PEERS)
    assert [one.name for one in run.choose("dbos, celery")] == ["dbos", "celery"]


def test_an_unknown_peer_is_refused_by_name() -> None:
    """With the names that there are."""
    with pytest.raises(BenchFailed, match="no peer 'airflow'; there are celery, dramatiq"):
        run.choose("celery,airflow")


def test_a_peer_that_cannot_be_installed_is_missing_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says why, on one line; the next peer is measured."""

    def install(setup: PeerSetup, progress: object) -> Path:
        if setup.name == "celery":
            raise BenchFailed("uv pip install\nended with status 1:\nno network")
        return Path()

    monkeypatch.setattr(run, "ensure_environment", install)
    monkeypatch.setattr(run, "_measure", lambda setup, programs, tasks: {"tasks_per_second": 1.0})

    rows = run.measure_peers(run.choose("celery dramatiq"))

    assert rows["celery"] == {"missing": "no network", "version": "5.7.0", "store": "Valkey, in memory"}
    assert rows["dramatiq"]["tasks_per_second"] == 1.0


def test_every_peer_pins_all_that_it_installs() -> None:
    """Its own version among it, which is the one that is told."""
    for setup in PEERS.values():
        lines = (run.REQUIREMENTS / f"{setup.name}.txt").read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert all("==" in line for line in pins)
        assert any(line.startswith(f"{setup.package}==") for line in pins)


def test_a_quick_peer_has_a_warm_up_three_runs_and_two_hundred_lone_tasks() -> None:
    """CPU is per task of a run."""
    peer, clock = Counter(), iter([0.0, 1.0, 2.0, 3.0, 5.0, 6.0])

    row = measure(peer, 1_000, lambda: next(clock))

    assert peer.fans == [200, 1_000, 1_000, 1_000]
    assert peer.lones == 200
    assert row["cpu_ms_per_task"] == 1.0


def test_percentiles_are_of_the_sorted_waits() -> None:
    """The middle one, and the one that a twentieth exceeds."""
    assert percentiles([float(n) for n in range(100, 0, -1)]) == {"p50_ms": 51.0, "p95_ms": 96.0}
