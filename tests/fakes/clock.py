"""A clock that only moves when it is told to."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


class FixedClock:
    """Satisfies `ports.Clock`: call it for the time."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta | float) -> datetime:
        """Let time pass (seconds, or a timedelta; may be negative). Gives the new time."""
        self.now += by if isinstance(by, timedelta) else timedelta(seconds=by)
        return self.now
