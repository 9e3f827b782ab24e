"""Without a history (`-c history=off`): nothing of it is there, and everything else is."""

from pathlib import Path

import pytest
from aws_cdk import App

from cdk.catalog import read_fleet
from cdk.errors import FleetError
from cdk.stage import Stage
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import Templates, synthesize_project


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """A fleet like `tiny` that keeps no history."""
    root = write_project(tmp_path_factory.mktemp("silent"), FLEET + "concurrency = 1\nmax_concurrency = 20\n")
    return synthesize_project(read_fleet(root), tmp_path_factory.mktemp("silent-out"), history="off")


def test_nothing_reads_the_stream(silent: Templates) -> None:
    """So that nothing is paid for it: an empty table on demand costs nothing, nor does a stream without readers."""
    functions = {one.properties["FunctionName"] for one in silent.of_type("AWS::Lambda::Function")}

    assert "tiny-history" not in silent.bodies
    assert not functions & {"tiny-record-history", "tiny-archive-history"}
    assert all("ScalingConfig" in trigger.properties for trigger in silent.of_type("AWS::Lambda::EventSourceMapping"))
    assert not [one for one in silent.of_type("AWS::CloudWatch::Alarm") if "history" in one.properties["AlarmName"]]


def test_everything_else_is_as_with_it(silent: Templates, tiny: Templates) -> None:
    """The table stays for what was recorded before, and the API still answers."""
    assert set(tiny.bodies) - set(silent.bodies) == {"tiny-history"}
    tables = [sorted(one.properties["TableName"] for one in some.of_type("AWS::DynamoDB::Table")) for some in (silent, tiny)]
    assert tables[0] == tables[1]


def test_another_word_is_refused(tmp_path: Path) -> None:
    """With what is allowed."""
    with pytest.raises(FleetError, match="context history: must be on or off, got 'no'"):
        Stage.from_context(App(outdir=str(tmp_path), context={"history": "no"}, analytics_reporting=False).node)
