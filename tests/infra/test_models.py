"""Pools with language models: what fleet.toml may say of them, and what their functions may do."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.model_prices import price_of
from cdk.catalog import FleetDefinition, read_fleet
from cdk.errors import FleetError
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import Templates, as_list, flat, synthesize_project

CHAIN = ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "global.amazon.nova-2-lite-v1:0", "amazon.nova-micro-v1:0")
MODEL = f"[pools.echo.model]\nchain = {json.dumps(CHAIN)}\nmax_tokens = 300\n"


def fleet_with(root: Path, block: str) -> FleetDefinition:
    """A fleet whose one pool has this block."""
    return read_fleet(write_project(root, FLEET + block))


def asking(templates: Templates) -> list[dict[str, Any]]:
    """The statements that let a role call models."""
    return [statement for _, statement in templates.statements() if "bedrock:InvokeModel" in statement["Action"]]


def variables(templates: Templates, function: str = "tiny-echo") -> dict[str, Any]:
    """The environment of a function."""
    functions = templates.of_type("AWS::Lambda::Function")
    [found] = [one for one in functions if one.properties["FunctionName"] == function]
    return dict(found.properties["Environment"]["Variables"])


def test_the_catalog_knows_what_a_call_may_cost(tmp_path: Path) -> None:
    """With the dearest of the chain, a tenth more in a geography; nothing without models."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()

    pool = fleet_with(tmp_path / "with", MODEL).pools["echo"].spec
    assert pool.call_dollars == pytest.approx((8_600 * 1.25 + 300 * 5.0) * 1.1 / 1e6)
    assert fleet_with(tmp_path / "without", "").pools["echo"].spec.call_dollars == 0.0


def test_a_pool_may_call_exactly_its_models(tmp_path: Path) -> None:
    """By id here, through a profile in its geography, and through the global one; never by a wildcard."""
    (tmp_path / "project").mkdir()
    templates = synthesize_project(fleet_with(tmp_path / "project", MODEL), tmp_path / "out")

    statements = asking(templates)
    text = " ".join(flat(resource) for one in statements for resource in as_list(one["Resource"]))

    assert "*" not in text
    assert {action for one in statements for action in one["Action"]} == {
        "bedrock:InvokeModel",
        "bedrock:InvokeModelWithResponseStream",
    }
    assert "inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0" in text
    assert ":eu-west-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0" in text
    assert ":us-east-1::foundation-model/anthropic" not in text
    assert "inference-profile/global.amazon.nova-2-lite-v1:0" in text
    assert ":bedrock:::foundation-model/amazon.nova-2-lite-v1:0" in text
    assert "::foundation-model/amazon.nova-micro-v1:0" in text
    through = [one for one in statements if "Condition" in one]
    assert len(through) == 3
    assert all("bedrock:InferenceProfileArn" in one["Condition"]["StringEquals"] for one in through)


def test_the_function_is_told_its_models(tmp_path: Path) -> None:
    """As JSON that it reads back; and it may keep answers in the cache."""
    (tmp_path / "project").mkdir()
    fleet = fleet_with(tmp_path / "project", MODEL)
    templates = synthesize_project(fleet, tmp_path / "out")

    found = variables(templates)

    assert ModelChoice.model_validate_json(found["MODEL"]) == ModelChoice(chain=CHAIN, max_tokens=300)
    assert "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" not in found
    assert fleet.catalog.pools["echo"].models == CHAIN
    assert "/cache/*" in json.dumps([statement for _, statement in templates.statements()])


def test_a_pool_without_models_has_nothing_of_them(templates: Templates) -> None:
    """Neither variable nor permission."""
    assert "MODEL" in variables(templates, "fleet-think")
    for function in ("fleet-code", "fleet-flow", "fleet-web"):
        assert "MODEL" not in variables(templates, function)


def test_without_a_local_model_the_local_fleet_has_none(local_templates: Templates) -> None:
    """The emulator would make up an answer."""
    assert "MODEL" not in variables(local_templates, "fleet-think")
    assert not asking(local_templates)


def test_every_price_that_the_project_needs_is_known() -> None:
    """A budget can't be kept by guesses."""
    fleet = read_fleet(Path(__file__).parents[2])

    assert all(price_of(model) for pool in fleet.pools.values() if pool.model for model in pool.model.chain)


def test_staying_in_a_region_costs_a_tenth_more() -> None:
    """For the models that AWS prices so; older ones cost the same everywhere."""
    haiku, nova = "anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0"
    everywhere, here, local = price_of(f"global.{haiku}"), price_of(f"eu.{haiku}"), price_of("local/x")
    assert everywhere
    assert here
    assert local

    assert (everywhere.input, everywhere.cache_write) == (1.0, 1.25)
    assert here.output == pytest.approx(5.5)
    assert price_of(f"us.{nova}") == price_of(nova)
    assert (local.input, local.output) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("[pools.echo.model]", "pools.echo.model.chain: Field required"),
        ("[pools.echo.model]\nchain = []", "chain: Tuple should have at least 1 item"),
        ('[pools.echo.model]\nchain = ["nobody.knows-v1:0"]', "the price of 'nobody.knows-v1:0' is not known"),
        ('[pools.echo.model]\nchain = ["amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"]', "names a model twice"),
        ('[pools.echo.model]\nchain = ["*"]', "chain.0: String should match pattern"),
        (
            '[pools.echo.model]\nchain = ["amazon.nova-lite-v1:0"]\nmax_tokens = 20000',
            "more than amazon.nova-lite-v1:0 can write",
        ),
        (
            '[pools.echo.model]\nchain = ["amazon.nova-lite-v1:0"]\ntemprature = 0',
            "temprature: unknown field; allowed are chain",
        ),
        ('[pools.echo.model]\nchain = ["amazon.nova-lite-v1:0"]\ntemperature = 2', "less than or equal to 1"),
    ],
)
def test_a_wrong_model_block_is_explained(tmp_path: Path, block: str, says: str) -> None:
    """Field, what is wrong, what is allowed."""
    with pytest.raises(FleetError) as raised:
        fleet_with(tmp_path, block)

    assert says in str(raised.value)


def test_a_price_of_ones_own_is_taken(tmp_path: Path) -> None:
    """For models that the table doesn't have."""
    block = '[pools.echo.model]\nchain = ["nobody.knows-v1:0"]\n'
    block += '[pools.echo.model.prices."nobody.knows-v1:0"]\ninput = 2.0\noutput = 8.0\n'

    model = fleet_with(tmp_path, block).pools["echo"].model

    assert model is not None
    price = model.price_of("nobody.knows-v1:0")
    assert price is not None
    assert price.output == 8.0
