"""What shows that a function can do all that it is there for: one check per function, seconds each. Raise when not."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, Final
from uuid import uuid4

from msgspec.structs import replace

from agentfleet.adapters.episodes import DynamoEpisodes
from agentfleet.adapters.health import DynamoHealth
from agentfleet.domain.archives import pack
from agentfleet.domain.budget import Budget, Limits
from agentfleet.domain.codec import encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.episode import EpisodeHead, Measured
from agentfleet.domain.goal import Goal, GoalState, Parent
from agentfleet.domain.healing import Incident
from agentfleet.domain.ids import child_goal_id
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.domain.task import PlanSpec
from tests.emulator.grants.calling import serve_mcp
from tests.emulator.grants.hand import FLEET, LARGE, Hand, Refused, noise, step, utc_now
from tests.emulator.grants.keeping import archive_history, record_history, remember_life
from tests.emulator.grants.knowing import keep_documents, serve_knowledge
from tests.emulator.grants.thinking import think
from tests.emulator.grants.undoing import COMPENSATE, compensate_goals, set_undoing, take_part, undoable

Check = Callable[[Hand], None]
MEMORY_TABLE: Final = f"{FLEET}-memory"


def carry_out(pool: str) -> Check:
    """An agent: large inputs read, results stored, joined and released, the goal ended with a large output, and told."""

    def check(hand: Hand) -> None:
        # Skipped, so that no capability needs an input that makes sense: all else is done as ever.
        capability = min(hand.catalog.pools[pool].capabilities, key=lambda one: one.chunk).name
        skipped = {"capability": capability, "when": {"$from": "big", "path": "nothing"}}
        tasks = [step("big", noise()), *({"id": name, **skipped} for name in ("one", "two"))]
        last = {"id": "last", **skipped, "depends_on": ["one", "two"]}
        goal = hand.submit(*tasks, last, output={"$from": "big"})
        hand.put_result(goal, "big", "x" * LARGE)
        hand.deliver(pool, hand.pointers(goal, "one", "two"))
        hand.deliver(pool, hand.pointers(goal, "last"))
        if hand.goal(goal.id).state is not GoalState.SUCCEEDED:
            raise Refused(f"{goal.id} did not end")
        hand.deliver(pool, ["no task"], back=1)
        if not [agent for agent in hand.platform.registry.discover(pool=pool) if agent.seen > goal.created]:
            raise Refused(f"no agent of {pool} says that it lives")
        take_part(hand, pool, capability)
        if work := CAPABILITIES.get(pool):
            work(hand)

    return check


def _data(hand: Hand) -> None:
    """Files written and read."""
    load = {"id": "load", "capability": "data.load", "input": {"text": "a,b\n1,2\n"}}
    profile = {"id": "profile", "capability": "data.profile", "input": {"table": {"$from": "load", "path": "uri"}}}
    goal = hand.submit(load, profile)
    hand.deliver("data", hand.pointers(goal, "load"))
    hand.deliver("data", hand.pointers(goal, "profile"))
    hand.output(goal, "profile")


def _report(hand: Hand) -> None:
    """Documents written."""
    section = {"heading": "One", "text": "Some text."}
    goal = hand.submit({"id": "r", "capability": "report.render", "input": {"title": "A report", "sections": [section]}})
    hand.deliver("report", hand.pointers(goal, "r"))
    hand.output(goal, "r")


def _flow(hand: Hand) -> None:
    """A sub-plan that does not fit an item; a large output; a file under a claim."""
    items = [noise()[:20_000] for _ in range(3)]
    spread = {"id": "m", "capability": "flow.map", "input": {"items": items, "capability": "flow.step"}}
    record = {"id": "record", "capability": "flow.record", "input": {"value": "paid"}}
    goal = hand.submit(spread, step("large", noise()), record)
    hand.deliver("flow", hand.pointers(goal, "m", "large", "record"))
    for task in ("large", "record"):
        hand.output(goal, task)


def _web(hand: Hand) -> None:
    """A large page fetched from this machine: into a file, behind a breaker, and into the cache."""
    with _page() as url:
        goal = hand.submit({"id": "w", "capability": "http.fetch", "input": {"url": url}, "retries": 0})
        hand.deliver("web", hand.pointers(goal, "w"))
    hand.output(goal, "w")
    found = hand.clients.s3.list_objects_v2(Bucket=hand.cloud.outputs["Bucket"], Prefix="cache/")
    newest = max((one["LastModified"] for one in found.get("Contents", ())), default=None)
    if newest is None or newest < goal.created.replace(microsecond=0):
        raise Refused("nothing was put into the cache")


@contextmanager
def _page() -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"\x00\x01" * 50_000
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "max-age=600")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: this is a test's."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{uuid4().hex}"
        finally:
            server.shutdown()
            thread.join()


def _memory(hand: Hand) -> None:
    """Facts of its own kept, recalled, dropped."""
    name = f"a{uuid4().hex[:8]}"
    keep = {"id": "keep", "capability": "memory.remember", "input": {"text": "A fact.", "agent": name}}
    find = {"id": "find", "capability": "memory.recall", "input": {"agent": name}, "depends_on": ["keep"]}
    dropped = {"id": {"$from": "keep", "path": "id"}, "agent": name}
    goal = hand.submit(keep, find, {"id": "drop", "capability": "memory.forget", "input": dropped, "depends_on": ["find"]})
    for name_of in ("keep", "find", "drop"):
        hand.deliver("memory", hand.pointers(goal, name_of))
    if hand.output(goal, "drop") != {"was_there": True}:
        raise Refused("memory: the fact was not there")


def _code(hand: Hand) -> None:
    """An archive read, a package's figures written."""
    body = pack({"pkg/a.py": b"a = 1\n"})
    uri = hand.platform.outside.blobs.put(f"blobs/default/uploads/{uuid4().hex}/code.zip", body, "application/zip")
    unpack = {"id": "u", "capability": "code.unpack", "input": {"uri": uri}}
    goal = hand.submit(unpack, {"id": "p", "capability": "code.package", "input": {"package": "json"}})
    hand.deliver("code", hand.pointers(goal, "u", "p"))
    for task in ("u", "p"):
        hand.output(goal, task)


def _plan(hand: Hand) -> None:
    """A goal in words planned by rules, and its plan kept as a file."""
    words = 'Measure the packages "json" and "tomllib" of the standard library and report on them'
    goal = hand.submit({"id": "m", "capability": "plan.make", "input": {"goal": words}})
    hand.deliver("plan", hand.pointers(goal, "m"))
    made = child_goal_id(goal.id, hand.unit(goal, "m"), 0)
    if made not in hand.platform.outside.goals.get([made]):
        raise Refused(f"plan.make did not have the plan of {goal.id} carried out")


CAPABILITIES: Final[dict[str, Check]] = {
    "agents": think,
    "code": _code,
    "data": _data,
    "flow": _flow,
    "knowledge": keep_documents,
    "memory": _memory,
    "plan": _plan,
    "report": _report,
    "web": _web,
}
"""What pools do beyond what every pool does."""


def accept_goals(hand: Hand) -> None:
    """Small and large plans, wide ones, goals known already: unfinished, and finished with a large output."""

    def event(name: str, *tasks: dict[str, Any]) -> str:
        detail = {"name": name, "plan": {"tasks": list(tasks)}}
        return json.dumps({"id": uuid4().hex, "detail-type": "GoalSubmitted", "detail": detail})

    large = event("large", step("a", noise()), step("b", {"$from": "a"}), step("c", {"$from": "a"}))
    wide = event("wide", *[step(f"t.{number}") for number in range(501)])
    hand.deliver("accept-goals", [large, wide])
    goal = next(goal for goal in hand.platform.outside.goals.list("default", None, 5, None).items if goal.name == "large")
    hand.set_back(goal, state=GoalState.PLANNING)
    hand.deliver("accept-goals", [large])
    if hand.goal(goal.id).state is not GoalState.RUNNING:
        raise Refused(f"{goal.id} was not taken up again")
    ended = hand.goal(goal.id).move(GoalState.SUCCEEDED, finished=utc_now(), output="x" * LARGE)
    hand.platform.outside.goals.replace(hand.goal(goal.id), ended)
    hand.deliver("accept-goals", [large])


def release_tasks(hand: Hand) -> None:
    """A part of a large plan; a part of a goal that has ended with a large output."""
    goal = hand.submit(step("a", noise()), step("b"), step("c"))
    part = {"goal": goal.id, "units": [[0, 2]]}
    hand.deliver("release-tasks", [part])
    ended = hand.goal(goal.id).move(GoalState.SUCCEEDED, finished=utc_now(), output="x" * LARGE)
    hand.platform.outside.goals.replace(hand.goal(goal.id), ended)
    hand.deliver("release-tasks", [part])


def heal_work(hand: Hand) -> None:
    """Everything that can stand still, and a dead letter of each sort."""
    sqs = hand.clients.sqs
    names = ("flow-normal", "flow-dead", "release", "code-low")
    urls = {name: sqs.get_queue_url(QueueName=f"{FLEET}-{name}")["QueueUrl"] for name in names}
    hand.calm()  # what other checks left standing still would be healed too, and stay open
    lost = hand.submit(step("a", noise()), step("b"), step("c", depends_on=["a", "b"]))
    hand.put_result(lost, "a", 1, advance=False)
    done = hand.submit(step("a"), output={"$from": "a"})
    hand.put_result(done, "a", "x" * LARGE, advance=False)
    unheard = set_undoing(hand, hand.submit(undoable("a")))
    # What lies in a queue is not lost; and no metric is read unless some queue holds something.
    for name in ("flow-normal", "flow-dead", "release"):
        sqs.purge_queue(QueueUrl=urls[name])
    sqs.send_message(QueueUrl=urls["code-low"], MessageBody="waits")
    sqs.send_message(QueueUrl=urls["flow-dead"], MessageBody="no task")
    report = _heal(hand)
    if lost.id not in _standing(hand) or hand.goal(done.id).state is not GoalState.SUCCEEDED:
        raise Refused(f"heal-work: {report}")
    if unheard.id not in _standing(hand):
        raise Refused(f"heal-work did not have {unheard.id} undone")
    gone = hand.submit(step("a"))
    for action in ("REDRIVE", "FAIL"):
        sqs.send_message(QueueUrl=urls["flow-dead"], MessageBody=json.dumps(hand.pointers(gone, "a")[0]))
        if (letters := _heal(hand)["Letters"]) != {action: 1, "KEEP": 1}:
            raise Refused(f"heal-work: {letters}")
    sqs.purge_queue(QueueUrl=urls["flow-dead"])
    hand.platform.finisher.cancel(lost)
    _heal(hand)
    if hand.goal(gone.id).state is not GoalState.FAILED or {lost.id, done.id, gone.id} & _standing(hand).keys():
        raise Refused(f"heal-work left {gone.id} or an incident open")


def _standing(hand: Hand) -> dict[str, Incident]:
    """Incidents that are not healed, by goal."""
    return DynamoHealth(hand.clients.dynamodb, f"{FLEET}-registry").open_incidents()


def _heal(hand: Hand) -> dict[str, Any]:
    report: dict[str, Any] = hand.call("heal-work", {"quiet_seconds": 0})
    if report["RepairsFailed"]:
        raise Refused(f"heal-work: {report}")
    return report


def manage_fleet(hand: Hand) -> None:
    """A pass over pools of which one has a backlog."""
    hand.submit(*[step(f"t.{number}") for number in range(40)])
    if hand.call("manage-fleet", {}).keys() < hand.catalog.pools.keys():
        raise Refused("manage-fleet left pools out")


def serve_api(hand: Hand) -> None:
    """Every route that needs something of AWS."""
    with hand.client() as client:
        large = {"plan": {"tasks": [step("a", noise()), step("b"), step("c", depends_on=["a", "b"])]}}
        goal = client.submit(large, key=(key := uuid4().hex))
        client.submit(large, key=key)
        client.submit({"plan": {"tasks": [step(f"t.{number}") for number in range(501)]}})
        client.pause(goal.id)
        client.resume(goal.id)
        hand.put_result(hand.goal(goal.id), "a", "x" * LARGE)
        client.task(goal.id, "a")
        client.tasks(goal.id)
        client.goals()
        fork = client.fork(goal.id, ["a"])
        client.cancel(goal.id)
        client.cancel(fork.id)
        undone = client.submit({"plan": {"tasks": [undoable("a")]}, **COMPENSATE})
        client.cancel(undone.id)
        client.compensate(undone.id)
        told = remember_life(hand)
        if not client.verify(told.id).holds or len(client.history(told.id).events) < 2:
            raise Refused(f"the history of {told.id}")
        client.receipt(told.id)
        done = hand.submit(step("a"))
        hand.platform.outside.blobs.put(f"blobs/default/{done.id}/a/file.txt", b"text", "text/plain")
        hand.put_result(done, "a", "x" * LARGE)
        result = client.result(done.id)
        if [client.download(file) for file in result.files] != [b"text"] or result.output != "x" * LARGE:
            raise Refused(f"result of {done.id}: {result}")
        client.upload("file.txt", b"text")
        _run_the_fleet(client)
        _tend(hand, client)
        _govern(hand, client)
        _remember(hand, client)


def _run_the_fleet(client: Any) -> None:
    client.agents()
    client.pools()
    for size in (1, 12):
        client.scale_pool("code", size)
    client.logs("flow", 5, 10)
    fleet = client.spawn_fleet(11)
    client.fleets()
    client.release_fleet(fleet.id)
    client.health()


def _tend(hand: Hand, client: Any) -> None:
    goal = hand.submit(step("a"))
    dead = hand.clients.sqs.get_queue_url(QueueName=f"{FLEET}-flow-dead")["QueueUrl"]
    for body in (json.dumps(hand.pointers(goal, "a")[0]), "no task"):
        hand.clients.sqs.send_message(QueueUrl=dead, MessageBody=body)
    letters = {letter.cause: letter.key for letter in client.dead_letters("flow").letters}
    client.redrive("flow", f"{goal.id}.0")
    client.bury("flow", letters["UNREADABLE"], "a test's")
    client.cancel(goal.id)
    client.heal()
    client.incidents()


def _govern(hand: Hand, client: Any) -> None:
    bounded = client.submit({"plan": {"tasks": [step("a")]}, "budget": {"dollars": 1}})
    client.add_to_budget(bounded.id, dollars=1)
    client.cancel(bounded.id)
    client.kill("tenant", "nobody", reason="a test's")
    client.unkill("tenant", "nobody")
    client.approvals()


def _remember(hand: Hand, client: Any) -> None:
    """Facts, a conversation and an episode: kept, shown, forgotten one by one and all together."""
    client.forget_fact("grants", client.remember("A fact.", agent="grants").id)
    for name in ("one", "two"):
        client.add_turn(name, [{"role": "user", "content": [{"text": "hello"}]}])
    client.session("one")
    client.forget_session("one")
    client.remember("Another fact.", agent="grants")
    client.figures()
    head = EpisodeHead(f"g{uuid4().hex[:21]}", "Some words", True, 1.0, 0.0, utc_now())
    DynamoEpisodes(hand.clients.dynamodb, MEMORY_TABLE, hand.clients.threads).keep("default", head, {"tasks": []}, {})
    client.episode(head.goal_id)
    client.forget_everything()


def remember_goals(hand: Hand) -> None:
    """A goal in words with a budget, a large plan and large outputs becomes an episode."""
    outside, now = hand.platform.outside, utc_now()
    budget = Budget(Limits(tokens=1))
    name = f"g{uuid4().hex[:21]}"
    goal = Goal(name, "default", "n", GoalState.SUCCEEDED, now, 1, 1, words="Some words", budget=budget, finished=now)
    planned = replace(goal, id=child_goal_id(name, 0, 0), words="", budget=None, parent=Parent(name, 0, 0, (name,)))
    spec = PlanSpec.model_validate({"tasks": [step("a", noise()), step("b", noise()[:20_000])]})
    outside.plans.put(planned.id, encode(compile_plan(spec, hand.catalog)))
    done = TaskOutcome(TaskState.SUCCEEDED, "x" * LARGE)
    outside.results.put(1, [Result(planned.id, unit, (done,), "flow-1", now, 1.0) for unit in (0, 1)])
    for one in (goal, planned):
        outside.goals.create(one)
    kept = DynamoEpisodes(hand.clients.dynamodb, MEMORY_TABLE, hand.clients.threads)
    before = kept.sums("default").get("flow.step", Measured()).count
    hand.deliver("remember-goals", [json.dumps({"id": "e", "detail-type": "GoalSucceeded", "detail": {"goal": name}})])
    if kept.sums("default")["flow.step"].count != before + 2:
        raise Refused(f"{name} was not remembered")


def authorize_request(hand: Hand) -> None:
    """The right key is known."""
    event = {"headers": {"authorization": f"Bearer {hand.cloud.api_key}"}}
    if not hand.call("authorize-request", event)["isAuthorized"]:
        raise Refused("authorize-request did not know the key")


FUNCTIONS: Final[dict[str, Check]] = {
    "accept-goals": accept_goals,
    "archive-history": archive_history,
    "compensate-goals": compensate_goals,
    "record-history": record_history,
    "serve-knowledge": serve_knowledge,
    "serve-mcp": serve_mcp,
    "release-tasks": release_tasks,
    "remember-goals": remember_goals,
    "heal-work": heal_work,
    "manage-fleet": manage_fleet,
    "serve-api": serve_api,
    "authorize-request": authorize_request,
}


def check_of(function: str, pools: dict[str, Any]) -> Check | None:
    """The check of a function, by its name without the fleet's; None for one that has none yet."""
    return carry_out(function) if function in pools else FUNCTIONS.get(function)
