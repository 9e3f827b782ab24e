"""What agents remember as several processes see it: facts, conversations, episodes."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from agentfleet.domain.episode import EpisodeHead, Measured
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.memory import Fact, new_fact
from agentfleet.domain.session import MOST_TURN_BYTES, SessionHead, Turn, read_turn
from agentfleet.ports_memory import Added
from tests.contract.world import FLEET, AwsWorld, World

DAY = timedelta(days=1)


def fact_of(world: World, text: str, agent: str = "scout") -> Fact:
    """A fact that was said just now, by task g/t."""
    return new_fact(agent, text, "things", "g/t", world.clock())


def turn_of(text: str) -> Turn:
    """A user's words."""
    return read_turn([{"role": "user", "content": [{"text": text}]}])


def add(world: World, tenant: str, before: SessionHead | None, text: str, key: str, name: str = "talk") -> SessionHead:
    """The session after a turn was added to it."""
    base = before or SessionHead(name, world.clock(), world.clock())
    turn = turn_of(text)
    after = replace(base, turns=base.turns + 1, size=base.size + turn.size, updated=world.clock())
    assert world.sessions.add_turn(tenant, before, after, turn, key) is Added.ADDED
    return after


def episode_of(name: str, when: datetime) -> EpisodeHead:
    """A goal in words that succeeded."""
    return EpisodeHead(name, f"words of {name}", True, 12.5, 0.000000001, when, 3)


def test_facts_come_back_exactly_by_agent_and_tenant(world: World) -> None:
    """Every field, to the microsecond and the last bit; another agent's and another tenant's are apart."""
    tenant, other = world.fresh("tenant"), world.fresh("tenant")
    world.clock.advance(timedelta(microseconds=1))
    first = replace(fact_of(world, "Größe zählt: 5 € – „ja“"), strength=1 / 3, touched_by="g/u")
    second, third = fact_of(world, "second", "scout2"), fact_of(world, "third")
    for fact in (first, second, third):
        assert world.facts.put_fact(tenant, fact, world.clock() + DAY, None)

    assert list(world.facts.facts(tenant, "scout")) == sorted([first, third], key=lambda fact: fact.id)
    assert set(world.facts.facts(tenant)) == {first, second, third}
    assert not world.facts.facts(other)
    assert not world.facts.facts(tenant, "sco")


def test_a_fact_is_changed_by_who_saw_it_last(world: World) -> None:
    """Storing says what it replaces: a fact that is there, was touched meanwhile or is gone is not overwritten."""
    tenant = world.fresh("tenant")
    fact, expires = fact_of(world, "one"), world.clock() + DAY
    assert world.facts.put_fact(tenant, fact, expires, None)
    assert not world.facts.put_fact(tenant, fact, expires, None)
    stronger = replace(fact, strength=1.5, touched=fact.touched + DAY, touched_by="g/u")

    assert world.facts.put_fact(tenant, stronger, expires, fact)
    assert not world.facts.put_fact(tenant, replace(fact, strength=9.0), expires, fact)
    assert list(world.facts.facts(tenant)) == [stronger]
    assert world.facts.drop_fact(tenant, "scout", fact.id)
    assert not world.facts.drop_fact(tenant, "scout", fact.id)
    assert not world.facts.put_fact(tenant, stronger, expires, stronger)
    assert not world.facts.facts(tenant)


def test_many_facts_are_dropped_at_once(world: World) -> None:
    """More than one request carries, some of them gone already."""
    tenant = world.fresh("tenant")
    facts = [fact_of(world, f"fact {number}") for number in range(30)]
    for fact in facts[:28]:
        world.facts.put_fact(tenant, fact, world.clock() + DAY, None)

    world.facts.drop_facts(tenant, facts[1:])
    world.facts.drop_facts(tenant, [])

    assert list(world.facts.facts(tenant)) == facts[:1]


def test_turns_are_added_once_per_key_and_in_order(world: World) -> None:
    """The same key again changes nothing, even when others came after it; a stale view of the session adds nothing."""
    tenant = world.fresh("tenant")
    one = add(world, tenant, None, "one", "a")
    two = add(world, tenant, one, "two", "b")

    stale = replace(one, turns=2)
    assert world.sessions.add_turn(tenant, two, replace(two, turns=3), turn_of("one"), "a") is Added.BEFORE
    assert world.sessions.add_turn(tenant, one, stale, turn_of("late"), "c") is Added.MEANWHILE
    assert world.sessions.add_turn(tenant, None, one, turn_of("new"), "d") is Added.MEANWHILE
    assert world.sessions.head(tenant, "talk") == two
    assert list(world.sessions.turns(tenant, two)) == [turn_of("one"), turn_of("two")]
    assert world.sessions.head(tenant, "walk") is None


def test_a_summary_takes_the_place_of_turns(world: World) -> None:
    """Turns that it stands for are gone, the others stay; a session that was changed meanwhile is not summarised."""
    tenant = world.fresh("tenant")
    head = None
    for number in range(30):
        head = add(world, tenant, head, f"turn {number}", f"key {number}")
    assert head is not None
    folded = replace(head, folded=28, size=10, summary="Much was said.", how="model", model="a.model")

    assert not world.sessions.fold(tenant, replace(head, turns=29), folded)
    assert world.sessions.fold(tenant, head, folded)
    assert not world.sessions.fold(tenant, head, replace(folded, summary="again"))
    assert world.sessions.head(tenant, "talk") == folded
    assert list(world.sessions.turns(tenant, folded)) == [turn_of("turn 28"), turn_of("turn 29")]
    assert list(world.sessions.turns(tenant, head)) == [turn_of("turn 28"), turn_of("turn 29")]


def test_a_session_that_is_begun_anew_has_nothing_of_the_old_one(world: World) -> None:
    """Neither turns nor keys, and other tenants' sessions of that name are their own."""
    tenant, other = world.fresh("tenant"), world.fresh("tenant")
    add(world, tenant, None, "old", "a")
    kept = add(world, other, None, "theirs", "a")

    assert world.sessions.drop_session(tenant, "talk")
    assert not world.sessions.drop_session(tenant, "talk")
    world.clock.advance(1)
    head = add(world, tenant, None, "new", "a")

    assert list(world.sessions.turns(tenant, head)) == [turn_of("new")]
    assert list(world.sessions.turns(other, kept)) == [turn_of("theirs")]


def test_turns_that_have_expired_are_left_out(world: World, is_fake: bool) -> None:
    """The session goes on with what is there; its numbers stay those of the turns."""
    if is_fake:
        pytest.skip("items of fakes don't expire")
    tenant = world.fresh("tenant")
    one = add(world, tenant, None, "one", "a")
    two = add(world, tenant, one, "two", "b")
    assert isinstance(world, AwsWorld)
    [item, *_] = world.clients.dynamodb.query(
        TableName=f"{FLEET}-memory",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :turn)",
        ExpressionAttributeValues={":pk": {"S": f"SESSION#{tenant}#talk"}, ":turn": {"S": "TURN#"}},
    )["Items"]
    world.clients.dynamodb.delete_item(TableName=f"{FLEET}-memory", Key={"pk": item["pk"], "sk": item["sk"]})

    assert int(item["expires"]["N"]) == int((one.updated + timedelta(days=90)).timestamp())
    assert list(world.sessions.turns(tenant, two)) == [turn_of("two")]
    three = add(world, tenant, two, "three", "c")
    assert list(world.sessions.turns(tenant, three)) == [turn_of("two"), turn_of("three")]


def test_sessions_are_listed_page_by_page(world: World) -> None:
    """By id; a cursor that no listing gave is refused."""
    tenant = world.fresh("tenant")
    heads = [add(world, tenant, None, "hello", "a", f"talk-{number}") for number in range(5)]

    first = world.sessions.sessions(tenant, 2, None)
    second = world.sessions.sessions(tenant, 10, first.cursor)

    assert [*first.items, *second.items] == heads
    assert second.cursor is None
    assert not world.sessions.sessions(world.fresh("tenant"), 10, None).items
    with pytest.raises(InvalidRequest):
        world.sessions.sessions(tenant, 10, "no such#cursor")


def test_a_turn_as_large_as_may_be_fits(world: World) -> None:
    """Into one item, with everything else that stands in it."""
    tenant = world.fresh("tenant")
    text = "€" * ((MOST_TURN_BYTES - 60) // 3)
    head = add(world, tenant, None, text, "a")

    assert world.sessions.turns(tenant, head)[0] == turn_of(text)


def test_a_goal_is_remembered_once(world: World) -> None:
    """Its sums are added with its episode or not at all, however often the event comes."""
    tenant, other = world.fresh("tenant"), world.fresh("tenant")
    first, second = episode_of("g1", world.clock()), episode_of("g2", world.clock() + DAY)
    plan = {"tasks": [{"id": "a", "capability": "x.y", "input": {"n": 1}}], "output": {"$from": "a"}}
    measured = {"x.y": Measured(2, 1500, 7), "x.z": Measured(1, 20, 0)}

    assert world.episodes.keep(tenant, first, plan, measured)
    assert not world.episodes.keep(tenant, first, plan, measured)
    assert world.episodes.keep(tenant, second, plan, {"x.y": Measured(1, 1, 1)})
    assert world.episodes.keep(tenant, episode_of("g3", world.clock()), None, {"x.z": Measured(1, 1, 1)})

    assert list(world.episodes.heads(tenant)) == [second, first]
    assert world.episodes.plans(tenant, ["g1", "g3"]) == {"g1": plan}
    assert world.episodes.sums(tenant) == {"x.y": Measured(3, 1501, 8), "x.z": Measured(2, 21, 1)}
    assert world.episodes.sums(tenant, ["x.z", "x.none"]) == {"x.z": Measured(2, 21, 1)}
    assert world.episodes.sums(tenant, []) == {}
    assert not world.episodes.heads(other)
    assert not world.episodes.sums(other)
    assert not world.episodes.plans(other, ["g1"])


def test_a_forgotten_goal_does_not_come_back(world: World) -> None:
    """An event that comes again after its episode was forgotten changes nothing; sums are forgotten by themselves."""
    tenant = world.fresh("tenant")
    head = episode_of("g1", world.clock())
    world.episodes.keep(tenant, head, {"tasks": [], "output": None}, {"x.y": Measured(1, 1, 1)})

    world.episodes.drop_episodes(tenant, [head, episode_of("unknown", world.clock())])
    again = world.episodes.keep(tenant, head, {"tasks": [], "output": None}, {"x.y": Measured(1, 1, 1)})

    assert not again
    assert not world.episodes.heads(tenant)
    assert not world.episodes.plans(tenant, ["g1"])
    assert world.episodes.sums(tenant) == {"x.y": Measured(1, 1, 1)}
    assert world.episodes.drop_sums(tenant) == 1
    assert not world.episodes.sums(tenant)


def test_a_goal_may_be_measured_by_as_many_capabilities_as_one_transaction_takes(world: World) -> None:
    """Ninety, with the episode beside them."""
    tenant = world.fresh("tenant")
    measured = {f"x.c{number}": Measured(1, number, 0) for number in range(90)}

    assert world.episodes.keep(tenant, episode_of("g1", world.clock()), {"tasks": [], "output": None}, measured)
    assert world.episodes.sums(tenant) == dict(sorted(measured.items()))
