"""Whether two choreographies can do the same: in every order, what runs, what it says, and when flows end how."""

from collections.abc import Hashable

from callboard import Choreography
from callboard.checks.extraction import Happening
from callboard.checks.subject import Subject
from callboard.event import EventType

LIMIT = 30_000  # beyond it nothing is proven
Moves = dict[Hashable, frozenset[int]]


class Flows:
    """All that may happen in the flows that begin with one event."""

    def __init__(self, choreography: Choreography, start: str) -> None:
        kinds: list[EventType] = [flow.start for flow in choreography.flows.values()]
        self.extraction = Subject(choreography).extract(next(each for each in kinds if each.name == start))
        self.net = self.extraction.net
        self.start = frozenset({self.net.forget(self.net.initial)})

    def moves(self, states: frozenset[int]) -> Moves:
        """Where each thing that may happen in one of these states leads."""
        found: dict[Hashable, set[int]] = {}
        for state in states:
            enabled = self.net.enabled(state)
            if self.net.is_end(enabled):
                found.setdefault(("the end", self._verdicts(state)), set())
            for number in enabled:
                after = self.net.after(state, number)
                found.setdefault((self._label(number), self._verdicts(after)), set()).add(after)
        return {label: frozenset(after) for label, after in found.items()}

    def _label(self, number: int) -> Hashable:
        each: Happening = self.net.transitions[number].label
        return (each.contract and each.contract.path, tuple(map(str, each.emitted)), each.note)

    def _verdicts(self, state: int) -> Hashable:
        good, bad = (
            [bool(state & self.extraction.verdict(flow, good=it)) for flow in self.extraction.flows]
            for it in (True, False)
        )
        return (*good, *bad)


def can_do_the_same(one: Choreography, other: Choreography) -> bool:
    """Whatever may happen in one, in whatever order, may happen in the other, and ends there as it ends here."""
    starts = {flow.start.name for flow in one.flows.values()}
    if starts != {flow.start.name for flow in other.flows.values()}:
        return False
    return all(_same(Flows(one, start), Flows(other, start)) for start in starts)


def _same(one: Flows, other: Flows) -> bool:
    todo = [(one.start, other.start)]
    seen = set(todo)
    while todo:
        here, there = todo.pop()
        mine, theirs = one.moves(here), other.moves(there)
        if mine.keys() != theirs.keys() or len(seen) > LIMIT:
            return False
        for label, after in mine.items():
            pair = (after, theirs[label])
            if pair not in seen:
                seen.add(pair)
                todo.append(pair)
    return True
