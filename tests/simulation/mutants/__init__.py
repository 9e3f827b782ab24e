"""Deliberate bugs, put in at run time: what the simulation must catch."""

from tests.simulation.mutants.budgets import BUDGETS
from tests.simulation.mutants.forks import FORKS
from tests.simulation.mutants.healing import HEALING
from tests.simulation.mutants.outside import OUTSIDE
from tests.simulation.mutants.sagas import SAGAS
from tests.simulation.mutants.services import SERVICES
from tests.simulation.mutants.stops import STOPS

MUTANTS = (*SERVICES, *OUTSIDE, *SAGAS, *HEALING, *BUDGETS, *FORKS, *STOPS)

__all__ = ["MUTANTS"]
