"""In-memory stand-ins for everything outside: simple, and as strict as the real things (see tests/contract)."""

from tests.fakes.blobs import FakeBlobs
from tests.fakes.bus import FakeBus
from tests.fakes.cache import FakeCache
from tests.fakes.clock import START, FixedClock
from tests.fakes.health import FakeDeadLetters, FakeHealth, FakeQueueWatch
from tests.fakes.history import FakeHistory
from tests.fakes.knowledge import FakeDocuments, FakeEmbedder, FakePages, FakeVectors, FakeWords
from tests.fakes.memory import FakeEpisodes, FakeFacts, FakeSessions
from tests.fakes.queues import FakeQueues
from tests.fakes.registry import FakeAgents, FakeFleets, FakePools, FakeScalings, FakeSignals
from tests.fakes.work import FakeClaims, FakeGoals, FakeJoins, FakePlans, FakeResults

__all__ = [
    "START",
    "FakeAgents",
    "FakeBlobs",
    "FakeBus",
    "FakeCache",
    "FakeClaims",
    "FakeDeadLetters",
    "FakeDocuments",
    "FakeEmbedder",
    "FakeEpisodes",
    "FakeFacts",
    "FakeFleets",
    "FakeGoals",
    "FakeHealth",
    "FakeHistory",
    "FakeJoins",
    "FakePages",
    "FakePlans",
    "FakePools",
    "FakeQueueWatch",
    "FakeQueues",
    "FakeResults",
    "FakeScalings",
    "FakeSessions",
    "FakeSignals",
    "FakeVectors",
    "FakeWords",
    "FixedClock",
]
