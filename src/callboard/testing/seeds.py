"""A test that is run once for each seed of some faults, and shrunk to what it needs to fail."""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from callboard.simulation.faults import FAULTS, named
from callboard.simulation.shrinking import Shrinker
from callboard.testing.adapters import refuse_real

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from callboard.simulation.choices import Deviations
    from callboard.testing.rehearsal import Rehearsal

_ERRORS = (Exception, pytest.fail.Exception)


def under_faults(test: Callable[..., Any], mark: pytest.Mark, only: int | None) -> Callable[..., Any]:
    """The same test under each seed, or only one, awaited or not. What fails is run with fewer and fewer faults."""

    @functools.wraps(test)
    def each(*args: Any, **given: Any) -> None:
        __tracebackhide__ = True
        lives = _lives(_rehearsal(given), mark, only)
        with suppress(StopIteration):
            next(lives)
            while True:
                try:
                    test(*args, **given)
                except _ERRORS as error:
                    lives.send(error)
                else:
                    lives.send(None)

    @functools.wraps(test)
    async def each_awaited(*args: Any, **given: Any) -> None:
        __tracebackhide__ = True
        lives = _lives(_rehearsal(given), mark, only)
        with suppress(StopIteration):
            next(lives)
            while True:
                try:
                    await test(*args, **given)
                except _ERRORS as error:
                    lives.send(error)
                else:
                    lives.send(None)

    return each_awaited if inspect.iscoroutinefunction(test) else each


def _rehearsal(given: dict[str, Any]) -> Rehearsal:
    if "callboard" not in given:
        text = "a test under faults takes the fixture `callboard` itself, not through another: each seed has a new one"
        pytest.fail(text, pytrace=False)
    refuse_real()
    found: Rehearsal = given["callboard"]
    return found


def _seeds(mark: pytest.Mark) -> int:
    seeds = mark.kwargs.get("seeds", 30)
    if mark.kwargs.keys() - {"seeds"} or not isinstance(seeds, int) or seeds < 1:
        given = ", ".join(f"{name}={value!r}" for name, value in mark.kwargs.items())
        pytest.fail(
            f"callboard_faults({given}): it takes names of faults and seeds=, a number from 1 on", pytrace=False
        )
    return seeds


def _lives(rehearsal: Rehearsal, mark: pytest.Mark, only: int | None) -> Generator[None, BaseException | None, None]:
    """Each time it stops, the rehearsal stands before the next world, and what the test raised there is sent back.

    The last world of a test that fails has only the faults with which it still does.
    """
    __tracebackhide__ = True
    faults = named(mark.args or tuple(FAULTS))
    for seed in range(_seeds(mark)) if only is None else [only]:
        rehearsal.again(seed, faults)
        error = yield
        if error is None:
            continue
        everything, shrinker = rehearsal.world.choices.deviations, Shrinker(most=100)
        left = yield from _shrunk(rehearsal, shrinker, everything)
        rehearsal.again(seed, faults, left, first=len(everything), runs=shrinker.runs)
        error = (yield) or error
        error.add_note(f"seed {seed} of {', '.join(faults)}")
        raise error


def _shrunk(
    rehearsal: Rehearsal, shrinker: Shrinker, everything: Deviations
) -> Generator[None, BaseException | None, Deviations]:
    seed, faults, tries = rehearsal.seed, rehearsal.world.scene.faults, shrinker.tries(everything)
    try:
        fewer = next(tries)
        while True:
            rehearsal.again(seed, faults, fewer)
            error = yield
            fewer = tries.send(error is not None)
    except StopIteration as end:
        left: Deviations = end.value
        return left
