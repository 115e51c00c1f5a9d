"""What leads where, by types alone: cycles, what may be reached, which events are said only when something failed."""

from collections.abc import Collection, Iterable

from callboard.choreography import Choreography
from callboard.contract import Contract, types_in
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed

BAD_NEWS = (FlowTimedOut, FlowCancelled, ReactionFailed)


class Paths:
    """Which event leads to which, through any reaction that hears the one and may emit the other."""

    def __init__(self, choreography: Choreography) -> None:
        self.choreography = choreography
        self.contracts = tuple(choreography.contracts.values())
        self.after: dict[EventType, set[EventType]] = {}
        for contract in self.contracts:
            for kind in contract.hears:
                self.after.setdefault(kind, set()).update(contract.emits)
        for kind in list(choreography.events.values()):
            if kind.cls is ReactionFailed and kind.inner is not None:
                self.after.setdefault(kind.inner, set()).add(kind)
        self.reach = {kind: self._reach(kind) for kind in {*choreography.events.values()}}
        self.bad = self._bad()

    def _reach(self, start: EventType) -> frozenset[EventType]:
        found: set[EventType] = set()
        edge = set(self.after.get(start, ()))
        while edge:
            found |= edge
            edge = {each for one in edge for each in self.after.get(one, ())} - found
        return frozenset(found)

    def in_cycle(self, kind: EventType) -> bool:
        """Whether it may cause itself again."""
        return kind in self.reach.get(kind, ())

    def leads_to(self, kind: EventType, others: Collection[EventType]) -> bool:
        """Whether it is one of these, or may cause one."""
        return kind in others or not self.reach.get(kind, frozenset()).isdisjoint(others)

    def successes(self) -> frozenset[EventType]:
        """What completes a flow well."""
        return frozenset(kind for flow in self.choreography.flows.values() for kind in types_in(flow.succeeds))

    def _bad(self) -> frozenset[EventType]:
        """What is said only where something failed: failures, deadlines, and what is caused by nothing else."""
        known = {*self.choreography.events.values()}
        ends = {
            kind for flow in self.choreography.flows.values() if flow.fails is not None for kind in types_in(flow.fails)
        }
        bad = {kind for kind in known if kind.failure or kind.cls in BAD_NEWS} | (ends - self.successes())
        entries = {*self.choreography.incoming, *(flow.start for flow in self.choreography.flows.values())}
        grown = True
        while grown:
            more = {kind for kind in known - bad - entries if self._only_after(kind, bad)}
            grown, bad = bool(more), bad | more
        return frozenset(bad)

    def _only_after(self, kind: EventType, bad: set[EventType]) -> bool:
        causes = [each for each in self.contracts if kind in each.emits]
        return bool(causes) and all(set(each.hears) <= bad for each in causes)

    def on_failure(self, contract: Contract) -> bool:
        """Whether it runs only where something failed."""
        return bool(contract.hears) and set(contract.hears) <= self.bad

    def cycles(self) -> list[frozenset[EventType]]:
        """Sets of events that cause each other."""
        found: dict[frozenset[EventType], None] = {}
        for kind, reached in self.reach.items():
            if kind in reached:
                found[frozenset(other for other in reached if kind in self.reach.get(other, ()))] = None
        return list(found)


def named(kinds: Iterable[EventType]) -> str:
    """`A, B and C`."""
    names = sorted(str(kind) for kind in kinds)
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
