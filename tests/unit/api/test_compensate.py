"""The route, the client's method and the command that go on undoing a goal."""

from agentfleet.domain.goal import GoalState
from tests.unit.api.world import World

UNDOABLE = {"id": "a", "compensation": {"capability": "work.broken"}}


def test_a_parked_goal_is_shown_and_resumed(world: World) -> None:
    """What can't be undone is named; resuming starts the next saga, and a goal that needs none is refused."""
    goal_id = world.submit(UNDOABLE, {"id": "b", "capability": "work.echo", "depends_on": ["a"]}, on_failure="compensate")
    world.step()
    cancelled = world.call("DELETE", f"/goals/{goal_id}")
    world.fleet.settle()
    parked = world.call("GET", f"/goals/{goal_id}").body
    resumed = world.call("POST", f"/goals/{goal_id}/compensate")
    other = world.call("POST", f"/goals/{goal_id}/compensate", tenant="globex")
    plain = world.call("POST", f"/goals/{world.submit({'id': 'a'})}/compensate")

    assert (cancelled.status, cancelled.body["state"]) == (200, GoalState.COMPENSATING)
    assert parked["state"] == GoalState.COMPENSATION_FAILED
    assert parked["undoing"]["failure"]["task"] == "a"
    assert (resumed.status, resumed.body["state"], resumed.body["undoing"]["attempt"]) == (200, GoalState.COMPENSATING, 2)
    assert (other.status, plain.status) == (404, 409)
