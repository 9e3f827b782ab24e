"""The fleet's templates, synthesized once: cdk-nag looks at them on the way and fails the synth if it finds anything."""

import pytest

from cdk.catalog import read_fleet
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import Templates, synthesize, synthesize_project


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """What `cdk synth` makes for AWS."""
    return synthesize(tmp_path_factory.mktemp("aws"), nag=True)


@pytest.fixture(scope="session")
def local_templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """What `cdk synth -c stage=local` makes for the emulator."""
    return synthesize(tmp_path_factory.mktemp("local"), stage="local")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """A fleet with one pool, of concurrency 1: every kind of resource once."""
    root = write_project(tmp_path_factory.mktemp("tiny"), FLEET + "concurrency = 1\nmax_concurrency = 20\n")
    return synthesize_project(read_fleet(root), tmp_path_factory.mktemp("tiny-out"))
