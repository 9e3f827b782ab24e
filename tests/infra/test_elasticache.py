"""The fleet with a Valkey of its own (`-c cache=elasticache`): what is in its network, and who gets in."""

import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App

from cdk.catalog import read_fleet
from cdk.errors import FleetError
from cdk.stage import Stage
from tests.infra.projects import FLEET, HANDLER, write_project
from tests.infra.templates import ROOT, Resource, Templates, flat, synthesize_project

TWO_POOLS = FLEET + '\n[pools.plain]\ndescription = "Keeps nothing"\n'


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """A pool whose results may be kept, and one whose may not; cdk-nag looks on."""
    root = write_project(tmp_path_factory.mktemp("cached"), TWO_POOLS, HANDLER.replace("chunk=10", "cacheable=True"))
    (root / "functions" / "plain").mkdir()
    (root / "functions" / "plain" / "handler.py").write_text(HANDLER.replace("echo", "plain"))
    return synthesize_project(read_fleet(root), tmp_path_factory.mktemp("cached-out"), nag=True, cache="elasticache")


def test_only_agents_that_keep_results_are_in_the_network(cached: Templates) -> None:
    """A VPC costs a cold start and a NAT gateway's traffic: nobody pays that for nothing."""
    inside = {
        function.properties["FunctionName"]
        for function in cached.of_type("AWS::Lambda::Function")
        if "VpcConfig" in function.properties
    }

    assert inside == {"tiny-echo"}


def test_agents_learn_where_the_cache_is_and_may_sign_in(cached: Templates) -> None:
    """The address comes from the cache's stack; the role names this cache and this user and no other."""
    (echo,) = [one for one in cached.of_type("AWS::Lambda::Function") if one.properties["FunctionName"] == "tiny-echo"]
    variables = echo.properties["Environment"]["Variables"]

    assert (variables["CACHE_GROUP"], variables["CACHE_USER"]) == ("tiny-cache", "tiny-cache")
    assert flat(variables["CACHE_URL"]).startswith("valkeys://<")
    (connect,) = [statement for _, statement in cached.statements() if statement["Action"] == "elasticache:Connect"]
    resources = [flat(arn).partition("<AWS::AccountId>:")[2] for arn in connect["Resource"]]
    assert resources == ["replicationgroup:tiny-cache", "user:tiny-cache"]


def test_the_cache_is_encrypted_and_survives_a_zone(cached: Templates) -> None:
    """On the way and at rest, with the fleet's key; two nodes in two zones; no password anywhere."""
    (valkey,) = cached.of_type("AWS::ElastiCache::ReplicationGroup")
    (user,) = cached.of_type("AWS::ElastiCache::User")

    assert valkey.properties["TransitEncryptionMode"] == "required"
    assert valkey.properties["AtRestEncryptionEnabled"] is True
    assert "KmsKeyId" in valkey.properties
    assert (valkey.properties["MultiAZEnabled"], valkey.properties["NumCacheClusters"]) == (True, 2)
    assert user.properties["AuthenticationMode"] == {"Type": "iam"}
    assert user.properties["AccessString"].startswith("on ~tiny:* -@all ")


def test_nobody_but_the_agents_reaches_the_cache(cached: Templates) -> None:
    """One rule lets in, and it names the agents' security group."""
    (rule,) = cached.of_type("AWS::EC2::SecurityGroupIngress")

    assert cached.target(rule, rule.properties["GroupId"]).properties["GroupDescription"] == "Cache of tiny"
    assert described(cached, rule) == "Agents of tiny that use its cache"
    assert (rule.properties["FromPort"], rule.properties["ToPort"]) == (6380, 6380)


def described(templates: Templates, rule: Resource) -> str:
    """What the security group that a rule lets in says of itself."""
    text: str = templates.target(rule, rule.properties["SourceSecurityGroupId"]).properties["GroupDescription"]
    return text


def test_cfn_lint_finds_nothing(cached: Templates) -> None:
    """The stack with the network, and the functions in it."""
    files = [str(cached.folder / f"tiny-{stack}.template.json") for stack in ("cache", "agents")]

    command = [str(Path(sys.executable).with_name("cfn-lint")), *files]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (finished.returncode, finished.stdout) == (0, "")


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"cache": "redis"}, "context cache: must be none or elasticache, got 'redis'"),
        ({"cache": "elasticache", "cache_url": "valkey://here"}, "context cache_url: can't be used with cache=elasticache"),
    ],
)
def test_what_makes_no_sense_is_refused(context: dict[str, str], says: str) -> None:
    """Before anything is synthesized."""
    with pytest.raises(FleetError, match=says):
        Stage.from_context(App(context=context, analytics_reporting=False).node)
