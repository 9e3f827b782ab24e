"""What travels through the queues, written and read."""

import pytest

from agentfleet.domain.messages import BadMessage, TaskMessage, TaskPointer, read_task


def test_a_message_says_what_its_receiver_has_to_know() -> None:
    """Attempts, failures, postponements and looks only where there are any: most messages have none."""
    plain = TaskMessage("g1", 7, "acme", "data", "high")
    again = TaskMessage("g1", 7, "acme", "data", "high", spent=2, failed=3, postponed=1, wake=4)

    assert read_task(plain.body()) == TaskPointer("g1", 7, "acme")
    assert read_task(again.body()) == TaskPointer("g1", 7, "acme", 2, 3, 1, 4)
    assert len(plain.body()) < len(again.body())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"goal": "g", "unit": 1}',
        '{"goal": "g", "unit": -1, "tenant": "acme"}',
        '{"goal": "g", "unit": 1, "tenant": "acme", "spent": -1}',
        '{"goal": "g", "unit": 1, "tenant": "acme", "failed": -1}',
        '{"goal": "g", "unit": 1, "tenant": "acme", "postponed": "2"}',
        '{"goal": "g", "unit": 1, "tenant": "acme", "wake": null}',
    ],
)
def test_what_is_none_of_ours_is_refused(body: str) -> None:
    """And shown."""
    with pytest.raises(BadMessage):
        read_task(body)
