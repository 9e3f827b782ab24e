"""fleet.toml: what it may say, and how it is told that it is wrong."""

from pathlib import Path

import pytest

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.budget import Limits
from agentfleet.domain.guardrails import Guardrails
from cdk.catalog import read_fleet
from cdk.errors import FleetError
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import ROOT


def test_a_pool_has_sensible_defaults(tmp_path: Path) -> None:
    """A description is all that a pool must say."""
    fleet = read_fleet(write_project(tmp_path))

    pool = fleet.pools["echo"]
    assert fleet.name == "tiny"
    assert (pool.memory, pool.spec.timeout, pool.spec.batch, pool.spec.weight) == (512, 60, 10, 1)
    assert (pool.spec.min_concurrency, pool.spec.concurrency, pool.spec.max_concurrency) == (2, 10, 100)
    assert (pool.layers, pool.grants, pool.settings) == ((), frozenset(), {})
    assert pool.folder == tmp_path / "functions" / "echo"


def test_everything_that_a_pool_says_arrives(tmp_path: Path) -> None:
    """Each field ends up in the catalog or beside it."""
    block = """
memory = 2048
timeout = 300
concurrency = 7
min_concurrency = 3
max_concurrency = 9
batch = 4
layers = ["extra"]
weight = 5
grants = ["blobs:read"]
[pools.echo.settings]
volume = 11
"""
    fleet = read_fleet(write_project(tmp_path, FLEET + block))

    pool = fleet.pools["echo"]
    assert (pool.memory, pool.layers, pool.settings) == (2048, ("extra",), {"volume": 11})
    assert pool.grants == {"blobs:read"}
    spec = fleet.catalog.pools["echo"]
    assert (spec.timeout, spec.batch, spec.weight) == (300, 4, 5)
    assert (spec.min_concurrency, spec.concurrency, spec.max_concurrency) == (3, 7, 9)


def test_budgets_and_approvals_arrive_in_the_catalog(tmp_path: Path) -> None:
    """Defaults for goals and days, rules in their order; what a rule covers shares no message with anything."""
    rules = """
[[approvals]]
capability = "echo.s*y"
when = "loud"
"""
    bounds = FLEET + "[fleet.budget]\ngoal_dollars = 2\ntenant_dollars_per_day = 20.5\n" + rules
    plain, bounded = tmp_path / "a", tmp_path / "b"
    for folder in (plain, bounded):
        folder.mkdir()

    before = read_fleet(write_project(plain)).catalog
    after = read_fleet(write_project(bounded, bounds)).catalog

    assert (before.budget.goal, before.budget.day, before.approvals) == (Limits(), Limits(), ())
    assert (after.budget.goal, after.budget.day) == (Limits.of(dollars=2), Limits.of(dollars=20.5))
    assert after.approvals == (ApprovalRule(capability="echo.s*y", when="loud"),)
    assert [one.chunk for one in before.pools["echo"].capabilities] == [10, 1]
    assert [one.chunk for one in after.pools["echo"].capabilities] == [1, 1]


def test_tools_and_guardrails_of_a_pool_arrive(tmp_path: Path) -> None:
    """Tools in the catalog, where thinking agents find them; guardrails beside it, for the function's environment."""
    block = 'tools = ["echo.*", "knowledge.search"]\n[pools.echo.guardrails]\noutput = { pii = "mask", injection = "block" }'

    pool = read_fleet(write_project(tmp_path, FLEET + block)).pools["echo"]

    assert pool.spec.tools == ("echo.*", "knowledge.search")
    assert pool.guardrails == Guardrails(output={"pii": "mask", "injection": "block"})


def test_scaling_is_said_for_the_fleet_or_for_a_pool(tmp_path: Path) -> None:
    """Automatic unless `[fleet]` says otherwise, and a pool has the last word."""
    dry = FLEET.replace('name = "tiny"', 'name = "tiny"\nscaling = "dry-run"')
    by_default, by_fleet, by_pool = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    for folder in (by_default, by_fleet, by_pool):
        folder.mkdir()

    assert read_fleet(write_project(by_default)).pools["echo"].spec.scaling == "auto"
    assert read_fleet(write_project(by_fleet, dry)).pools["echo"].spec.scaling == "dry-run"
    own = read_fleet(write_project(by_pool, dry + 'scaling = "off"\ndaily_budget = 5\nmemory = 256')).pools["echo"].spec
    assert (own.scaling, own.daily_budget, own.memory) == ("off", 5.0, 256)


@pytest.mark.parametrize(("concurrency", "limits"), [(1, (1, 100)), (2, (2, 100)), (500, (2, 500))])
def test_limits_make_room_for_the_concurrency(tmp_path: Path, concurrency: int, limits: tuple[int, int]) -> None:
    """Who sets only the concurrency need not think of its limits."""
    spec = read_fleet(write_project(tmp_path, f"{FLEET}concurrency = {concurrency}")).pools["echo"].spec

    assert (spec.min_concurrency, spec.max_concurrency) == limits


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory = 64", "pools.echo.memory: Input should be greater than or equal to 128 (got 64)"),
        ("memory = 20000", "pools.echo.memory: Input should be less than or equal to 10240"),
        ('memory = "512"', "pools.echo.memory: Input should be a valid integer (got '512')"),
        ("timeout = 901", "pools.echo.timeout: Input should be less than or equal to 900"),
        ("timeout = 0", "pools.echo.timeout: Input should be greater than or equal to 1"),
        ("batch = 11", "pools.echo.batch: Input should be less than or equal to 10"),
        ('scaling = "manual"', "pools.echo.scaling: Input should be 'auto', 'dry-run' or 'off' (got 'manual')"),
        ("daily_budget = 0", "pools.echo.daily_budget: Input should be greater than 0"),
        ("weight = 0", "pools.echo.weight: Input should be greater than or equal to 1"),
        ("concurrency = 1001", "pools.echo.concurrency: Input should be less than or equal to 1000"),
        ("concurrency = 5\nmin_concurrency = 6", "must lie between min_concurrency 6 and max_concurrency 100"),
        ("concurrency = 50\nmax_concurrency = 40", "must lie between min_concurrency 2 and max_concurrency 40"),
        ("memmory = 512", "pools.echo.memmory: unknown field; allowed are description, memory, timeout"),
        (
            'grants = ["blobs:delete"]',
            "pools.echo.grants.0: Input should be 'blobs:read', 'blobs:write', 'knowledge' or 'memory'",
        ),
        ('layers = ["nope"]', "pools.echo.layers: no layer 'nope'; available are extra"),
        ('layers = ["core"]', "'core' is in every pool already"),
        ('layers = ["a", "b", "c", "d"]', "pools.echo.layers: List should have at most 3 items"),
        (f'[pools.echo.settings]\nlong = "{"x" * 3000}"', "at most 2048 fit the environment"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(tmp_path: Path, line: str, says: str) -> None:
    """The message holds the path to the field and the rule it breaks."""
    root = write_project(tmp_path, FLEET + line)

    with pytest.raises(FleetError) as error:
        read_fleet(root)

    assert says in str(error.value)
    assert "echo" in str(error.value)


@pytest.mark.parametrize(
    ("fleet", "says"),
    [
        ('[fleet]\nname = "x"', "fleet.toml: pools: Field required"),
        ("[pools.echo]\ndescription = 'x'", "fleet.toml: fleet: Field required"),
        (FLEET.replace("tiny", "Tiny Fleet"), "fleet.toml: fleet.name: String should match pattern"),
        (FLEET.replace("description", "about"), "fleet.toml: pools.echo.description: Field required"),
        (FLEET.replace("[pools.echo]", "[pools.Echo]"), "fleet.toml: pools.Echo: String should match pattern"),
        (FLEET.replace("[pools.echo]", "[pools.release]"), "fleet.toml: pools.release: is a name of the fleet's own"),
        (FLEET.replace("[pools.echo]", "[pools.other]"), "pools.other: functions/other/handler.py does not exist"),
        (
            FLEET + "\n[extra]\n",
            "fleet.toml: extra: unknown field; allowed are fleet, knowledge, memory, pools, approvals, agents",
        ),
        (
            FLEET.replace('name = "tiny"', 'name = "tiny"\nregion = "x"'),
            "fleet.region: unknown field; allowed are name,",
        ),
        ("[fleet", "fleet.toml: not valid TOML"),
        (
            FLEET + 'tools = ["echo.*", "htp.*"]',
            "pools.echo.tools: nothing matches 'htp.*'; there are knowledge.search, ask_person",
        ),
        (
            FLEET + '[pools.echo.guardrails]\ninput = { pii = "mask" }',
            "guardrails.input.pii: Input should be 'block' or 'note'",
        ),
        (
            FLEET + "[fleet.budget]\neuros = 1",
            "fleet.budget.euros: unknown field; allowed are goal_dollars, tenant_dollars_per_day",
        ),
        (FLEET + "[fleet.budget]\ngoal_dollars = -1", "fleet.budget.goal_dollars: Input should be greater than or equal to 0"),
        (FLEET + '[[approvals]]\ncapability = "mail.*"', "approvals.0.capability: no capability matches 'mail.*'; there are e"),
        (FLEET + '[[approvals]]\ncapability = "echo.*"\nwhen = "]["', "approvals.0.when: is not valid JMESPath"),
        (
            FLEET + '[[approvals]]\ncapability = "echo.*"\nif = "x"',
            "approvals.0.if: unknown field; allowed are capability, when",
        ),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, fleet: str, says: str) -> None:
    """Missing, unknown and misnamed parts are each told apart."""
    root = write_project(tmp_path, fleet)

    with pytest.raises(FleetError) as error:
        read_fleet(root)

    assert says in str(error.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Nobody has to run a synth per typing error."""
    root = write_project(tmp_path, FLEET + "memory = 1\ntimeout = 0\nbatch = 0")

    with pytest.raises(FleetError) as error:
        read_fleet(root)

    assert [line.split(":")[1].strip() for line in str(error.value).splitlines()] == [
        "pools.echo.memory",
        "pools.echo.timeout",
        "pools.echo.batch",
    ]


def test_a_missing_file_is_an_error_too(tmp_path: Path) -> None:
    """The message says what the file would be for."""
    with pytest.raises(FleetError, match="it declares the fleet's pools"):
        read_fleet(tmp_path)


def test_the_fleet_of_this_project_is_valid() -> None:
    """Every pool in fleet.toml has capabilities with descriptions."""
    fleet = read_fleet(ROOT)

    assert {"data", "web", "report", "flow"} <= set(fleet.pools)
    for declarations in fleet.catalog.capabilities.values():
        assert all(capability.description for capability in declarations)


def test_shards_are_pools_of_the_same_code(tmp_path: Path) -> None:
    """The first keeps the pool's name, so that another one leaves it as it is; all say what they belong to."""
    fleet = read_fleet(write_project(tmp_path, FLEET + 'shards = 3\nweight = 2\ndependencies = ["crm"]'))

    assert list(fleet.pools) == ["echo", "echo-s2", "echo-s3"]
    specs = fleet.catalog.pools
    assert [spec.shard_of for spec in specs.values()] == [None, "echo", "echo"]
    assert {spec.dependencies for spec in specs.values()} == {("crm",)}
    assert [one.pool for one in fleet.catalog.capabilities["echo.say"]] == ["echo", "echo-s2", "echo-s3"]
    assert {pool.folder for pool in fleet.pools.values()} == {tmp_path / "functions" / "echo"}


def test_a_shards_name_is_taken(tmp_path: Path) -> None:
    """A pool that is called like another one's shard is refused by name."""
    clash = FLEET + 'shards = 2\n[pools.echo-s2]\ndescription = "Another"\n'

    with pytest.raises(FleetError, match=r"pools.echo-s2: is the name of a shard of pools.echo"):
        read_fleet(write_project(tmp_path, clash))


def test_a_tenants_window_is_said_for_the_fleet(tmp_path: Path) -> None:
    """Generous unless `[fleet]` says otherwise."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert read_fleet(write_project(tmp_path / "a")).catalog.tenant_window == 2_000
    narrow = FLEET.replace('name = "tiny"', 'name = "tiny"\ntenant_window = 50')
    assert read_fleet(write_project(tmp_path / "b", narrow)).catalog.tenant_window == 50
