"""Time comes in as an argument: a clock of the system, or one that a test turns by hand."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = timedelta.max
"""Given as `keep=`: it is never pruned."""


class Clock(Protocol):
    """Says what time it is, aware and in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """Stands still until it is turned: for tests."""

    def __init__(self, start: datetime = EPOCH) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock needs an aware datetime: datetime(..., tzinfo=UTC)")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """It is `by` later now. A clock is never turned back."""
        if by < timedelta(0):
            raise ValueError(f"time does not go back: {by}")
        self._now += by
