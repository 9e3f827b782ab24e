"""An agent of the deployed pool, killed by its process id while its model thinks, and deployed anew while a person does."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from agentfleet.domain import names
from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.local import LocalCloud
from tests.emulator.conftest import Aws, until
from tests.emulator.scripted import serving
from tests.emulator.test_governance import renew

HIDDEN = 8
"""Seconds that a message stays hidden when its agent dies; half an hour where it is deployed."""


class ScriptedServer:
    """An OpenAI-compatible server whose turns follow from the conversation; the second is kept back until it is let go."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.may_answer = threading.Event()
        self.shown: list[Any] = []

    def answer(self, chat: dict[str, Any]) -> dict[str, Any]:
        """The next turn of this conversation."""
        turn = sum(message["role"] == "assistant" for message in chat["messages"])
        self.asked[turn] += 1
        self.shown.append(chat["messages"])
        if turn == 1:
            self.may_answer.wait(60)
        match turn:
            case 0 | 1:
                return _calling("flow__collect", {"items": [[turn], [turn]], "flatten": True})
            case 2:
                return _calling("ask_person", {"question": "Is that right?"})
        return {"message": {"role": "assistant", "content": "It is."}, "finish_reason": "stop"}


def _calling(name: str, arguments: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}


@pytest.fixture
def server() -> Iterator[tuple[ScriptedServer, str]]:
    """A running one, and its address."""
    script = ScriptedServer()
    with serving(script.answer) as address:
        yield script, address
        script.may_answer.set()


@pytest.fixture
def modelled(cloud: LocalCloud, server: tuple[ScriptedServer, str], aws: Aws) -> Iterator[ScriptedServer]:
    """The deployed fleet with the scripted model; without it again afterwards."""
    cloud.models.start(server[1])
    cloud.deploy()
    sqs = aws("sqs")
    for priority in names.PRIORITIES:
        url = sqs.get_queue_url(QueueName=names.task_queue("fleet", "agents", priority))["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(HIDDEN)})
    yield server[0]
    server[0].may_answer.set()
    cloud.models.stop()
    cloud.deploy()


def processes(cloud: LocalCloud, function: str) -> list[psutil.Process]:
    """The function's processes in this emulator."""
    found = []
    for process in psutil.process_iter():
        try:
            if function in " ".join(process.cmdline()) and process.environ().get("AWS_ENDPOINT_URL") == cloud.endpoint:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def test_a_killed_agent_goes_on_from_its_last_turn_and_waits_through_a_deployment(
    cloud: LocalCloud, client: FleetClient, aws: Aws, modelled: ScriptedServer
) -> None:
    """The turn in flight is asked for again and no other; the approval is given to another environment."""
    task = {
        "id": "a",
        "capability": "agent.work",
        "input": {"task": "Collect, then ask.", "tools": ["flow.*", "ask_person"]},
        "timeout": 40,  # so long nobody else goes on with what the killed agent was at
    }
    goal = client.submit({"plan": {"tasks": [task], "output": {"$from": "a"}}})
    until(lambda: modelled.asked[1] == 1)
    killed = processes(cloud, "fleet-agents")
    for process in killed:
        process.kill()
    modelled.may_answer.set()

    waiting = until(lambda: [one for one in client.approvals().approvals if one.capability == "flow.approve"], 120)
    renew(aws, "fleet-agents")
    for process in processes(cloud, "fleet-agents"):
        process.kill()  # the emulator takes the code away from old environments, but leaves them running
    client.approve(waiting[0].ref, "it is")
    result = client.wait(goal.id, timeout=120)

    assert killed
    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert (result.output["answer"], result.output["turns"], result.output["input_tokens"]) == ("It is.", 4, 40)
    assert [one["name"] for one in result.output["tool_calls"]] == ["flow.collect", "flow.collect", "ask_person"]
    assert modelled.asked == {0: 1, 1: 2, 2: 1, 3: 1}
    assert [one.id for one in client.goals().goals if one.id == goal.id] == [goal.id]
