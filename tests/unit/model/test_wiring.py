"""How a function comes by its models, and what it costs one that has none."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet import bootstrap, bootstrap_pools
from agentfleet.domain.goal import GoalState
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.services.budget import GoalSpending
from agentfleet.services.capability import TaskContext
from agentfleet.services.model import Models
from agentfleet.settings import MissingSetting, PoolSettings
from functions.think import handler as think
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import SECOND, Environment
from tests.unit.model.scripted import Turn, failing, saying, scripted

SETTINGS = PoolSettings(
    fleet="fleet",
    work_table="w",
    registry_table="r",
    bucket="b",
    bus="bus",
    release_queue_url="http://q/release",
    pool="think",
    model=ModelChoice(chain=(SECOND,)).model_dump_json(),
)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_function_asks_the_endpoint_that_it_is_told(
    monkeypatch: pytest.MonkeyPatch, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two variables are all there is to it; a throttled call is logged as the fleet manager's metric."""
    bootstrap.clients.cache_clear()
    with scripted() as (script, port):
        client: Any = port._client(1)
        for name, value in {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": client.meta.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        script.add(failing("ThrottlingException"), saying("yes"))
        source = bootstrap_pools._models(SETTINGS, environment.models(port).given.cache)
        context = replace(environment.task(None), models=source)

        answer = asyncio.run(context.model.converse("hello", cache=False))

    assert (answer.text, answer.model) == ("yes", SECOND)
    assert '"ModelThrottles":1' in capsys.readouterr().out.replace(" ", "")
    for made in bootstrap.clients()._models.values():
        made.close()
    bootstrap.clients.cache_clear()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_batch_of_ten_waits_for_the_model_once(environment: Environment) -> None:
    """One invocation carries out ten tasks whose calls are under way at once: none is answered before the tenth is there."""
    with scripted() as (script, port):
        script.always = Turn(body=saying("Nails do [1].").body, together=10)
        fleet = InProcessFleet(think.agent, models=environment.models(port))
        tasks = [
            {
                "id": f"ask.{number}",
                "capability": "think.answer",
                "input": {"question": f"What holds wood together? ({number})", "texts": ["Nails hold wood together."]},
            }
            for number in range(10)
        ]
        goal = fleet.submit({"plan": {"tasks": tasks, "output": {"$from": "ask.*"}}})
        [queue] = fleet.queues.busy()

        fleet.invoke(queue)

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.SUCCEEDED
    assert {output["how"] for output in ended.output} == {"model"}
    assert len(script.seen) == 10
    assert script.peak == 10


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_call_is_paid_out_of_its_goals_budget(environment: Environment) -> None:
    """Settled to what it came to, and refused before it is made where the budget has no room."""
    with scripted() as (script, port):
        script.always = saying("Nails do.")
        given = environment.models(port).given

        def models(context: TaskContext) -> Any:
            return Models(port, replace(given, spending=GoalSpending(fleet.platform.budgets, fleet.goals)))(context)

        fleet = InProcessFleet(think.agent, models=models)
        ask = {"question": "What holds wood together?", "texts": ["Nails hold wood together."]}
        plan = {"tasks": [{"id": "a", "capability": "think.answer", "input": ask, "retries": 0}]}
        rich = fleet.submit({"plan": plan, "budget": {"dollars": 1}}).id
        poor = fleet.submit({"plan": plan, "budget": {"dollars": 0.000000001}}).id
        fleet.settle()

    [tally] = fleet.budgets.read([f"goal {rich}"]).values()
    assert tally.taken == tally.spent
    assert 0 < tally.spent.nanodollars < 1_000_000_000
    assert fleet.goal(rich).state is GoalState.SUCCEEDED
    assert fleet.budgets.read([f"goal {poor}"]) == {}
    assert len(script.seen) == 1


def test_a_variable_that_says_something_else_is_named(environment: Environment) -> None:
    """With what is wrong in it."""
    source = bootstrap_pools._models(replace(SETTINGS, model='{"chain": []}'), None)

    with pytest.raises(MissingSetting, match="MODEL is not what"):
        _ = replace(environment.task(None), models=source).model


def test_who_has_no_model_imports_nothing_of_them() -> None:
    """A cold start of the other pools carries neither the service, nor the adapter, nor the price table."""
    wanted = "('agentfleet.services.model', 'agentfleet.adapters.bedrock', 'agentfleet.domain.model', 'agentfleet.ports_model')"
    code = f"import sys, agentfleet.agent; print([name for name in {wanted} if name in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
