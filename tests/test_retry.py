"""Retry decides and waits for nobody: the waits grow up to their limit, and chance only lengthens them."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import ContractError, Retry

SECOND = timedelta(seconds=1)
attempts = st.integers(1, 2_000)
draws = st.floats(0, 1, exclude_max=True)


class Declined(Exception):
    pass


def test_waits_double_until_the_longest() -> None:
    retry = Retry(max_attempts=9, first_wait=SECOND, max_wait=10 * SECOND, jitter=0)
    waits = [retry.wait_after(done, OSError(), 0.5) for done in range(1, 9)]
    assert waits == [SECOND * each for each in (1, 2, 4, 8, 10, 10, 10, 10)]


def test_the_attempts_are_counted_from_one() -> None:
    assert Retry(max_attempts=1).wait_after(1, OSError(), 0) is None
    assert Retry(max_attempts=2).wait_after(1, OSError(), 0) == SECOND
    assert Retry(max_attempts=2).wait_after(2, OSError(), 0) is None


@given(attempts, draws, st.floats(0, 3), st.floats(1, 100))
def test_chance_never_shortens_a_wait(done: int, draw: float, jitter: float, factor: float) -> None:
    steady = Retry(max_attempts=5_000, factor=factor, jitter=0).wait_after(done, OSError(), draw)
    drawn = Retry(max_attempts=5_000, factor=factor, jitter=jitter).wait_after(done, OSError(), draw)
    assert steady is not None
    assert drawn is not None
    assert steady <= drawn <= steady * (1 + jitter) + timedelta(microseconds=1)


@given(attempts, draws)
def test_a_later_wait_is_never_shorter(done: int, draw: float) -> None:
    retry = Retry(max_attempts=5_000)
    sooner, later = (retry.wait_after(each, OSError(), draw) for each in (done, done + 1))
    assert sooner is not None
    assert later is not None
    assert sooner <= later


def test_what_is_never_retried_is_not() -> None:
    retry = Retry(never=(Declined, KeyError))
    assert retry.wait_after(1, Declined(), 0) is None
    assert retry.wait_after(1, OSError(), 0) == SECOND


def test_only_what_is_named_is_retried() -> None:
    retry = Retry(only=(OSError,))
    assert retry.wait_after(1, ConnectionError(), 0) == SECOND
    assert retry.wait_after(1, Declined(), 0) is None
    assert Retry(only=OSError, never=ConnectionError).wait_after(1, ConnectionResetError(), 0) is None


def test_what_killed_the_program_is_retried_by_count_alone() -> None:
    assert Retry(only=(OSError,)).wait_after(1, None, 0) == SECOND
    assert Retry(only=(OSError,), max_attempts=3).wait_after(3, None, 0) is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"first_wait": -SECOND},
        {"first_wait": 2 * SECOND, "max_wait": SECOND},
        {"factor": 0.5},
        {"jitter": -0.1},
    ],
    ids=str,
)
def test_nonsense_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=r"test_retry\.py:\d+ Retry: "):
        Retry(**options)
