"""Who offers a capability, as the API shows it."""

from agentfleet.domain.pool_health import HealthState
from agentfleet.services.views import View


class OfferView(View):
    """A pool that offers a capability."""

    pool: str
    health: HealthState
    reason: str = ""
    """Why it isn't healthy."""
    weight: int
    """As fleet.toml says; the shards of a pool divide it."""
    share: float
    """Its part of the capability's new work now, 0 to 1."""
    agents: int
    """How many of its agents live."""


class OfferList(View):
    """The pools that offer a capability: those that get most of its work first."""

    capability: str
    offers: tuple[OfferView, ...]
