"""Builds that do less than they should: one guarantee or one design left out, to see what it costs.

They are planted into the running program and exist nowhere in callboard. A plant whose place is gone fails by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callboard.hops import react, reading
from callboard.hops.work import Work
from callboard.tracker import Tracker


def plant(place: Any, name: str, make: Callable[[Any], Any]) -> None:
    """What is there is replaced by what `make` makes of it."""
    setattr(place, name, make(getattr(place, name)))


def one_commit_an_event() -> None:
    """A commit holds one event that is published, or the reactions to one event."""
    plant(reading, "PAGE", lambda _: 1)
    plant(react, "PAGE", lambda _: 1)
    plant(Work, "fuse", lambda _: False)

    def in_turn(publish: Any) -> Any:
        async def alone(work: Any, group: Any) -> None:
            if not group.seen:
                await publish(work, group)

        return alone

    plant(react, "_publish", in_turn)


def no_tracker() -> None:
    """Nobody follows the flows: there are no verdicts."""

    def blind(begin: Any) -> Any:
        def begun(self: Tracker, *given: Any, **more: Any) -> None:
            begin(self, *given, **more)
            self.paths = ()

        return begun

    plant(Tracker, "__init__", blind)
