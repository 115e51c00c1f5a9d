"""A clock tells aware time; one in a test stands still until it is turned, and is never turned back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from callboard import Clock, ManualClock, SystemClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(), ManualClock(NOON)])
def test_a_clock_tells_aware_time_in_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


def test_a_manual_clock_stands_until_it_is_turned() -> None:
    clock = ManualClock(datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == clock.now() == NOON
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)


def test_a_clock_is_never_turned_back() -> None:
    clock = ManualClock(NOON)
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(timedelta(seconds=-1))
    assert clock.now() == NOON


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an aware datetime"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001
