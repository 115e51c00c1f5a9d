"""Events that follow from each other in a circle, at once and without an end: the world is ended, to be told soon."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from callboard.errors import CallboardError

if TYPE_CHECKING:
    from callboard.choreography import Choreography
    from callboard.ledger import Entry

_MANY = 300  # events of one flow, from which on it is looked whether they go round
_ROUNDS = 8  # so often a reaction may follow from itself then, with no timer between


class GoesRound(CallboardError):
    """A flow goes round and round."""

    def __init__(self, flow: str, text: str) -> None:
        super().__init__(text)
        self.flow = flow


class Circles:
    """What followed from what in a world, over all its ledgers."""

    def __init__(self, choreography: Choreography) -> None:
        self._later = {path for path, each in choreography.contracts.items() if each.options.wait is not None}
        self._ids: dict[tuple[str, int], str] = {}
        self._came: dict[str, tuple[str, str | None]] = {}  # event -> "reaction -> type", and the event that it answers
        self._many: Counter[str] = Counter()

    def emitter(self, worker: str, pos: int) -> str:
        """The reaction that emitted what stands there in this worker's log."""
        said, _ = self._came.get(self._ids.get((worker, pos), ""), ("", None))
        return said.partition(" -> ")[0]

    def watch(self, worker: str, entry: Entry, flow: str) -> GoesRound | None:
        """One more entry of this flow; what is to be raised if it goes round."""
        self._ids[worker, entry.pos] = entry.id
        timed = entry.by in self._later or entry.type.startswith("callboard.FlowTimedOut[")
        cause = None if timed else self._ids.get((worker, entry.cause))
        said, _ = self._came.setdefault(entry.id, (f"{entry.by} -> {entry.type}", cause))
        self._many[flow] += 1
        if self._many[flow] > _MANY and entry.by is not None:
            before = list(self._before(entry.id))
            if before.count(said) > _ROUNDS:
                round_ = ", ".join(reversed(before[: before.index(said, 1)]))
                many = f"{self._many[flow]} events and no end: {round_}, and again"
                return GoesRound(flow, f"#{flow} goes round and round: {many}")
        return None

    def _before(self, event_id: str | None) -> list[str]:
        """What was said, from this event back."""
        told: list[str] = []
        while event_id is not None and event_id in self._came:
            said, event_id = self._came[event_id]
            told.append(said)
        return told
