"""What suites and rehearsals share: whether anything is real, a place for each test, and a loop to run it in."""

from __future__ import annotations

import asyncio
import functools
import uuid
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")


class Real:
    """Whether rehearsals run on what is real in this run of pytest: what only a simulated world can do is skipped."""

    options = ""  # that say so


def refuse_real() -> None:
    """Skips a test that needs a simulated world."""
    if Real.options:
        import pytest  # noqa: PLC0415 - what needs no fixture runs without it too

        pytest.skip(f"only a simulated world has seeds, faults and crashes: run it without {Real.options}")


def new_place() -> str:
    """A name that no other test has."""
    return f"t{uuid.uuid4().hex[:16]}"


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test as a plain function that runs in an event loop of its own: no further plugin is needed."""

    @functools.wraps(test)
    def run(*args: P.args, **fixtures: P.kwargs) -> None:
        asyncio.run(test(*args, **fixtures))

    return run
