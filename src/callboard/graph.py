"""Contracts and flows as nodes and edges: which event goes from where to where."""

from collections.abc import Collection, Iterator
from typing import Literal

from msgspec import Struct

from callboard.contract import Contract, types_in
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed
from callboard.flow import Flow

Kind = Literal["event", "failure", "compensation", "timer", "prerequisite"]
OUTSIDE = "(outside)"


class Node(Struct, frozen=True):
    """A reaction in the graph."""

    path: str
    service: str
    name: str
    contract: Contract


class Edge(Struct, frozen=True):
    """An event on its way from the reaction that emits it to one that hears or needs it, or to the flow it ends."""

    event: EventType
    source: str  # a path, "(outside)", or "(name of the flow)" that timed out
    target: str  # a path, or "(name of the flow)" that it ends
    kind: Kind


class Graph(Struct, frozen=True):
    """All that is said to each other."""

    contracts: Collection[Contract]
    flows: Collection[Flow]
    incoming: Collection[EventType]
    outgoing: Collection[EventType]

    def edges(self) -> Iterator[Edge]:
        """Every way of every event, to those who hear it and to the flows that it may end."""
        for contract in self.contracts:
            for event in contract.hears:
                for source in self._sources(event, contract):
                    yield Edge(event, source, contract.path, _kind(event, contract))
            for event in types_in(contract.options.needs):
                for source in self._sources(event, contract):
                    yield Edge(event, source, contract.path, "prerequisite")
        for flow in self.flows:
            for event in flow.ends:
                for source in self._sources(event, None):
                    yield Edge(event, source, f"({flow.name})", "failure" if event.failure else "event")

    def _sources(self, event: EventType, hearer: Contract | None) -> Iterator[str]:
        """Where an event comes from, for the one who hears it."""
        if event.cls is FlowTimedOut or event.cls is FlowCancelled:
            for flow in self.flows:
                if flow.start is event.inner and (flow.timeout is not None or event.cls is FlowCancelled):
                    yield f"({flow.name})"
        elif event.cls is ReactionFailed:
            yield from (each.path for each in self.contracts if self._reaches(event, each, hearer))
        else:
            if event in self.incoming or any(flow.start is event for flow in self.flows):
                yield OUTSIDE
            yield from (each.path for each in self.contracts if event in each.emits)

    def _reaches(self, event: EventType, failed: Contract, hearer: Contract | None) -> bool:
        """The failure of that reaction reaches this hearer.

        It stays in its own service unless it is outgoing; a compensation hears it for the reaction that it compensates.
        """
        if event.inner not in failed.hears:
            return False
        if hearer is not None and hearer.options.compensates is not None:
            return failed.path == f"{hearer.service}.{hearer.options.compensates}"
        return event in self.outgoing or (hearer is not None and hearer.service == failed.service)


def _kind(event: EventType, target: Contract) -> Kind:
    if event.cls is FlowTimedOut or target.options.wait is not None:
        return "timer"
    if target.options.compensates is not None:
        return "compensation"
    return "failure" if event.failure else "event"
