"""The contracts of JoinStore and ClaimStore."""

import random
from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from tests.contract.making import at_once, result
from tests.contract.world import World

LEASE = timedelta(seconds=60)


def test_a_join_counts_each_member_once(world: World) -> None:
    """Adding again, alone or with others, changes nothing."""
    goal_id = world.fresh("g")

    assert world.joins.add(goal_id, 1, 0, [4]) == 1
    assert world.joins.add(goal_id, 1, 0, [4]) == 1
    assert world.joins.add(goal_id, 1, 0, [1, 4, 2, 2]) == 3


def test_a_join_does_not_mind_the_order(world: World) -> None:
    """However the members come, grouped or repeated, only the last new one completes the set."""
    goal_id = world.fresh("g")
    members = [[n] for n in range(20)] + [[n, n + 1] for n in range(19)]
    random.Random(7).shuffle(members)

    sizes = [world.joins.add(goal_id, 5, 3, slots) for slots in members]

    assert sizes == sorted(sizes)
    assert sizes[-1] == 20


def test_concurrent_members_all_count(world: World) -> None:
    """Of 16 threads that each add a member, at least one sees the full set."""
    goal_id = world.fresh("g")

    sizes = at_once([partial(world.joins.add, goal_id, 1, 0, [n]) for n in range(16)])

    assert max(sizes) == 16
    assert sorted(sizes) == list(range(1, 17))


def test_joins_are_told_apart(world: World) -> None:
    """By number and by goal, also on one shard; a full-sized one holds 256 members."""
    goal_id = world.fresh("g")

    assert world.joins.add(goal_id, 1, 0, [1]) == 1
    assert world.joins.add(goal_id, 1, 1, [2]) == 1
    assert world.joins.add(world.fresh("g"), 1, 0, [3]) == 1
    assert world.joins.add(goal_id, 1, 2, range(256)) == 256


def test_a_join_takes_at_least_one_member(world: World) -> None:
    """Adding nothing is a mistake of the caller's."""
    with pytest.raises(ValueError, match="at least one"):
        world.joins.add(world.fresh("g"), 1, 0, [])


def test_joins_expire(world: World) -> None:
    """The TTL attribute is two months after the first member came."""
    goal_id = world.fresh("g")
    world.joins.add(goal_id, 2, 3, [0])
    world.clock.advance(60)
    world.joins.add(goal_id, 2, 3, [1])

    assert world.expiry(f"{goal_id}#1", "J000003") in {None, int(world.clock().timestamp()) - 60 + 60 * 86_400}


def test_a_free_unit_can_be_claimed(world: World) -> None:
    """The claim says whose it is, until when, and with which fence."""
    goal_id = world.fresh("g")

    claim = world.claims.claim(goal_id, 2, 3, "me", world.clock(), LEASE)

    assert claim is not None
    assert (claim.goal_id, claim.unit, claim.owner, claim.fence) == (goal_id, 3, "me", 1)
    assert claim.until == world.clock() + LEASE


def test_a_held_unit_is_refused_to_others_until_the_lease_ends(world: World) -> None:
    """Then another takes it over, with a higher fence; the former holder is refused from then on."""
    goal_id = world.fresh("g")
    start = world.clock()
    world.claims.claim(goal_id, 1, 0, "first", start, LEASE)

    assert world.claims.claim(goal_id, 1, 0, "second", start + LEASE - timedelta(microseconds=1), LEASE) is None
    taken = world.claims.claim(goal_id, 1, 0, "second", start + LEASE, LEASE)

    assert taken is not None
    assert taken.fence == 2
    assert world.claims.claim(goal_id, 1, 0, "first", start + LEASE, LEASE) is None


def test_the_holder_may_claim_again(world: World) -> None:
    """A request that is repeated since its answer was lost finds its own claim and extends it; the fence still grows."""
    goal_id = world.fresh("g")
    world.claims.claim(goal_id, 1, 0, "me", world.clock(), LEASE)

    again = world.claims.claim(goal_id, 1, 0, "me", world.clock() + timedelta(seconds=1), LEASE)

    assert again is not None
    assert (again.fence, again.until) == (2, world.clock() + timedelta(seconds=1) + LEASE)


def test_a_released_unit_is_free_at_once(world: World) -> None:
    """Whoever takes it then gets the next fence: it tells that somebody tried."""
    goal_id, now = world.fresh("g"), world.clock()
    first = world.claims.claim(goal_id, 2, 3, "me", now, LEASE)
    assert first is not None

    world.claims.release(first, 2, now)
    second = world.claims.claim(goal_id, 2, 3, "you", now, LEASE)

    assert second is not None
    assert (second.owner, second.fence, second.until) == ("you", 2, now + LEASE)


def test_only_the_last_claim_can_be_released(world: World) -> None:
    """Who has lost its lease to another leaves that one alone, and who holds what was never claimed nothing behind."""
    goal_id, now = world.fresh("g"), world.clock()
    first = world.claims.claim(goal_id, 1, 0, "me", now - LEASE, LEASE)
    second = world.claims.claim(goal_id, 1, 0, "you", now, LEASE)
    assert first is not None

    world.claims.release(first, 1, now)
    world.claims.release(replace(first, unit=7), 1, now)

    assert world.claims.held(goal_id, 1, [0, 7]) == {0: second}


def test_one_of_many_concurrent_claimants_wins(world: World) -> None:
    """Of ten agents that claim a unit at once, exactly one gets it."""
    goal_id, now = world.fresh("g"), world.clock()

    claims = at_once([partial(world.claims.claim, goal_id, 1, 0, f"agent {n}", now, LEASE) for n in range(10)])

    assert [claim.fence for claim in claims if claim] == [1]


def test_units_are_claimed_one_by_one(world: World) -> None:
    """A claim of one unit says nothing about another."""
    goal_id = world.fresh("g")
    world.claims.claim(goal_id, 1, 0, "me", world.clock(), LEASE)

    assert world.claims.claim(goal_id, 1, 1, "you", world.clock(), LEASE) is not None


def test_claims_expire(world: World) -> None:
    """The TTL attribute is two months after the claim."""
    goal_id = world.fresh("g")
    world.claims.claim(goal_id, 2, 3, "me", world.clock(), LEASE)

    assert world.expiry(f"{goal_id}#1", "C000003") in {None, int(world.clock().timestamp()) + 60 * 86_400}


def test_the_last_claims_are_told_whether_their_leases_are_over_or_not(world: World) -> None:
    """Of units that nobody claimed, nothing."""
    goal_id = world.fresh("g")
    first = world.claims.claim(goal_id, 2, 3, "me", world.clock() - 2 * LEASE, LEASE)
    second = world.claims.claim(goal_id, 2, 4, "you", world.clock(), LEASE)

    assert world.claims.held(goal_id, 2, [3, 4, 5]) == {3: first, 4: second}
    assert world.claims.held(goal_id, 2, []) == {}


def test_a_whole_plans_claims_are_those_that_there_are(world: World) -> None:
    """However many units are asked for; results and joins beside them are none."""
    goal_id, shards = world.fresh("g"), 2
    taken = {unit: world.claims.claim(goal_id, shards, unit, "me", world.clock(), LEASE) for unit in range(0, 400, 40)}
    world.results.put(shards, [result(goal_id, 1)])
    world.joins.add(goal_id, shards, 0, [1])

    assert world.claims.held(goal_id, shards, range(400)) == taken
    assert world.claims.held(goal_id, shards, range(1, 400)) == {unit: claim for unit, claim in taken.items() if unit}


def test_many_units_are_claimed_at_once_each_for_itself(world: World) -> None:
    """Those that somebody else holds are left out; those whose leases are over are taken over, which their fences tell."""
    goal_id, shards, now = world.fresh("g"), 2, world.clock()
    world.claims.claim(goal_id, shards, 3, "you", now, LEASE)
    world.claims.claim(goal_id, shards, 4, "you", now - 2 * LEASE, LEASE)

    taken = world.claims.claim_each(goal_id, shards, range(60), "me", now, LEASE)

    assert {unit: claim.fence for unit, claim in taken.items()} == {unit: 1 + (unit == 4) for unit in range(60) if unit != 3}
    assert world.claims.held(goal_id, shards, taken) == taken
    assert world.claims.claim_each(goal_id, shards, [], "me", now, LEASE) == {}
