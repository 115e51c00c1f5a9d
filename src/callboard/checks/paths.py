"""What leads where, by types alone: cycles, what may be reached, which events are said only when something failed."""

from collections.abc import Collection, Iterable

from callboard.checks.net import gather, union
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
        self.hearers: dict[EventType, list[Contract]] = {}
        self.emitters: dict[EventType, list[Contract]] = {}
        for contract in self.contracts:
            for kind in contract.emits:
                self.emitters.setdefault(kind, []).append(contract)
            for kind in contract.hears:
                self.hearers.setdefault(kind, []).append(contract)
                self.after.setdefault(kind, set()).update(contract.emits)
        for kind in list(choreography.events.values()):
            if kind.cls is ReactionFailed and kind.inner is not None:
                self.after.setdefault(kind.inner, set()).add(kind)
        self._bit = {kind: 1 << number for number, kind in enumerate(choreography.events.values())}
        below = gather(self.after, self._bit)
        self._reach = {kind: union(below[each] for each in self.after.get(kind, ())) for kind in self._bit}
        self.bad = self._bad()

    def in_cycle(self, kind: EventType) -> bool:
        """Whether it may cause itself again."""
        return bool(self._reach.get(kind, 0) & self._bit.get(kind, 0))

    def leads_to(self, kind: EventType, others: Collection[EventType]) -> bool:
        """Whether it is one of these, or may cause one."""
        reached = self._reach.get(kind, 0)
        return kind in others or any(reached & self._bit.get(each, 0) for each in others)

    def follows(self, one: Contract, other: Contract) -> bool:
        """Whether one of the two may run because the other did."""
        pairs = ((one, other), (other, one))
        return any(self.leads_to(kind, each.hears) for first, each in pairs for kind in first.emits)

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
        causes = self.emitters.get(kind, [])
        return bool(causes) and all(set(each.hears) <= bad for each in causes)

    def on_failure(self, contract: Contract) -> bool:
        """Whether it runs only where something failed."""
        return bool(contract.hears) and set(contract.hears) <= self.bad

    def cycles(self) -> list[frozenset[EventType]]:
        """Sets of events that cause each other."""
        circles = [kind for kind in self._bit if self.in_cycle(kind)]
        return list(
            dict.fromkeys(
                frozenset(other for other in circles if self.leads_to(kind, [other]) and self.leads_to(other, [kind]))
                for kind in circles
            )
        )


def named(these: Iterable[object]) -> str:
    """`A, B and C`."""
    names = sorted(map(str, these))
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
