"""The fleet's templates, synthesized once: cdk-nag looks at them on the way and fails the synth if it finds anything."""

from pathlib import Path

import pytest

from tests.infra.templates import Templates, synthesize


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep this folder in one worker, which synthesizes once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("infra"))


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """What `cdk synth` makes for AWS."""
    return synthesize(tmp_path_factory.mktemp("aws"), nag=True)


@pytest.fixture(scope="session")
def local_templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """What `cdk synth -c stage=local` makes for the emulator."""
    return synthesize(tmp_path_factory.mktemp("local"), stage="local")
