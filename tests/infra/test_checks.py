"""The checks of others: cdk-nag at synth and cfn-lint on its output."""

import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_sqs as sqs
from cdk_nag import AwsSolutionsChecks

from tests.infra.templates import ROOT, Templates


def test_cfn_lint_finds_nothing(tiny: Templates) -> None:
    """Every kind of resource is valid, warnings included; more pools would only be more of the same."""
    files = [str(tiny.folder / f"{stack}.template.json") for stack in tiny.bodies]

    command = [str(Path(sys.executable).with_name("cfn-lint")), *files]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (finished.returncode, finished.stdout) == (0, "")


def test_cdk_nag_would_have_failed_the_synth(tmp_path: Path) -> None:
    """The `templates` of all other tests were synthesized under a check that does fail on a bare queue."""
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    sqs.Queue(Stack(app, "Bare"), "Queue")
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    with pytest.raises(RuntimeError, match="AwsSolutions-SQS3"):
        app.synth()
