"""A test that is run once for each seed of some faults, and shrunk to what it needs to fail."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from callboard.simulation.faults import FAULTS, named
from callboard.simulation.shrinking import Shrinker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callboard.simulation.choices import Deviations
    from callboard.testing.rehearsal import Rehearsal


def under_faults(test: Callable[..., Any], names: tuple[str, ...], seeds: Iterable[int]) -> Callable[..., Any]:
    """The same test under each seed. What fails is run with fewer and fewer faults, unless it is awaited."""

    @functools.wraps(test)
    def each(*args: Any, **given: Any) -> None:
        rehearsal, faults = _rehearsal(given), named(names or tuple(FAULTS))
        for seed in seeds:
            rehearsal.again(seed, faults)
            try:
                test(*args, **given)
            except Exception as error:
                _shrink(rehearsal, functools.partial(test, *args, **given))
                error.add_note(f"seed {seed} of {', '.join(faults)}")
                test(*args, **given)
                raise

    @functools.wraps(test)
    async def each_awaited(*args: Any, **given: Any) -> None:
        rehearsal, faults = _rehearsal(given), named(names or tuple(FAULTS))
        for seed in seeds:
            rehearsal.again(seed, faults)
            await test(*args, **given)

    return each_awaited if inspect.iscoroutinefunction(test) else each


def _rehearsal(given: dict[str, Any]) -> Rehearsal:
    if "callboard" not in given:
        raise pytest.UsageError("a test under faults takes the fixture `callboard`")
    found: Rehearsal = given["callboard"]
    return found


def _shrink(rehearsal: Rehearsal, test: Callable[[], Any]) -> None:
    """The next world of the rehearsal has only the faults with which the test still fails."""
    seed, faults, everything = rehearsal.seed, rehearsal.world.scene.faults, rehearsal.world.choices.deviations

    def fails(left: Deviations) -> bool:
        rehearsal.again(seed, faults, left)
        try:
            test()
        except Exception:  # noqa: BLE001 - however it fails
            return True
        return False

    shrinker = Shrinker(fails, most=100)
    left = shrinker.shrink(everything)
    rehearsal.again(seed, faults, left, first=len(everything), runs=shrinker.runs)
