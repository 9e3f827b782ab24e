"""Deliberate bugs, put in at run time: what the simulation must catch."""

from tests.simulation.mutants.budgets import BUDGETS
from tests.simulation.mutants.forks import FORKS
from tests.simulation.mutants.healing import HEALING
from tests.simulation.mutants.outside import OUTSIDE
from tests.simulation.mutants.sagas import SAGAS
from tests.simulation.mutants.services import SERVICES

MUTANTS = (*SERVICES, *OUTSIDE, *SAGAS, *HEALING, *BUDGETS, *FORKS)

__all__ = ["MUTANTS"]
