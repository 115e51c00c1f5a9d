"""What the checks look at: a choreography, who says and who hears what, and everything that may happen in a flow."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from callboard.check import Check, Extent, Finding, Step, place_of_choreography, place_of_contract, place_of_flow
from callboard.checks.effects import Effects
from callboard.checks.extraction import Extraction
from callboard.checks.paths import Paths
from callboard.checks.world import World
from callboard.choreography import Choreography
from callboard.contract import Contract, types_in
from callboard.contracts.file import ContractFile
from callboard.event import EventType
from callboard.flow import Flow

LIMIT = 200_000


class Subject:
    """A choreography under check. What several checks want is found once."""

    def __init__(
        self,
        choreography: Choreography,
        *,
        broker: str | None = None,
        limit: int = LIMIT,
        files: Sequence[ContractFile] = (),
        against: ContractFile | None = None,
    ) -> None:
        self.choreography = choreography
        self.files = files  # that it was made of, if it was
        self.against = against  # the version before
        self.broker = broker
        self.limit = limit  # of states
        self.cut_short = False  # the search for losses that stall a flow

    @cached_property
    def contracts(self) -> tuple[Contract, ...]:
        return tuple(self.choreography.contracts.values())

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        return tuple(self.choreography.flows.values())

    @cached_property
    def ends(self) -> frozenset[EventType]:
        """With what flows end."""
        return frozenset(kind for flow in self.flows for kind in flow.ends)

    @cached_property
    def goes_on(self) -> frozenset[EventType]:
        """The events of which the end of a flow may come, and the ends."""
        return frozenset(kind for kind in self.choreography.events.values() if self.paths.leads_to(kind, self.ends))

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.choreography)

    @cached_property
    def effects(self) -> Effects:
        return Effects(self.choreography, self.paths)

    @cached_property
    def worlds(self) -> tuple[World, ...]:
        """One for each event that begins flows."""
        starts = dict.fromkeys(flow.start for flow in self.flows)
        return tuple(World(self.extract(start), self.limit) for start in starts)

    @cached_property
    def runs(self) -> frozenset[str]:
        """The paths of the reactions that run in some flow."""
        return frozenset[str]().union(*(world.runs for world in self.worlds))

    @cached_property
    def ever_said(self) -> frozenset[EventType]:
        """The events that are said in some flow."""
        return frozenset[EventType]().union(*(world.ever_said for world in self.worlds))

    def extract(self, start: EventType) -> Extraction:
        """The net of the flows that begin so."""
        return Extraction(self.choreography, self.paths, self.effects, start)

    @property
    def extents(self) -> list[Extent]:
        """How far was looked, where anything was explored."""
        worlds: Sequence[World] = self.__dict__.get("worlds", ())
        return [Extent(len(each.exploration.came), each.exploration.bounded) for each in worlds]

    @cached_property
    def said(self) -> frozenset[EventType]:
        """What a reaction, the start of a flow or the world outside says."""
        starts = {*self.choreography.incoming, *(flow.start for flow in self.flows)}
        return frozenset(starts.union(*(each.emits for each in self.contracts)))

    @cached_property
    def unheard(self) -> tuple[EventType, ...]:
        """What reactions emit, or the world says, and nobody takes: of failures, what makes nothing run."""
        emitted = [kind for each in self.contracts for kind in each.emits]
        said = dict.fromkeys([*emitted, *self.choreography.incoming])
        return tuple(each for each in said if not self.is_taken(each))

    @cached_property
    def unsaid(self) -> tuple[EventType, ...]:
        """What reactions take, or flows end with, and nobody says."""
        taken = [kind for each in self.contracts for kind in sorted(wanted_by(each), key=str) if kind.inner is None]
        ends = [kind for flow in self.flows for kind in flow.ends]  # in their order
        return tuple(each for each in dict.fromkeys([*ends, *taken]) if each not in self.said)

    @cached_property
    def heard(self) -> frozenset[EventType]:
        """What makes a reaction or a projection run, ends a flow, or is heard by somebody outside."""
        projected = [each.hears for each in self.choreography.projections.values()]
        heard = (each.hears for each in self.contracts)
        return self.ends.union(self.choreography.outgoing, *projected, *heard)

    @cached_property
    def taken(self) -> frozenset[EventType]:
        """What is heard or looked back for; to be looked for only by unless= is not enough."""
        return self.heard.union(*(wanted_by(each, unless=False) for each in self.contracts))

    def is_taken(self, kind: EventType) -> bool:
        """Whether anything comes of it. A failure has to be heard."""
        return kind in (self.heard if kind.failure else self.taken)

    def leads(self, contract: Contract, *kinds: EventType) -> bool:
        """Whether what it emits may cause one of these, or is one."""
        return any(self.paths.leads_to(each, kinds) for each in contract.emits)

    def emitters(self, event: EventType) -> list[Contract]:
        """The reactions that may emit it."""
        return self.paths.emitters.get(event, [])

    def hearers(self, event: EventType) -> list[Contract]:
        """The reactions that it makes run."""
        return self.paths.hearers.get(event, [])


def wanted_by(contract: Contract, *, unless: bool = True) -> set[EventType]:
    """Every event that a reaction takes in any form; without those that only keep it from running if so asked."""
    options = contract.options
    shapes = [each for each in (options.needs, options.unless if unless else None) if each is not None]
    given = {kind for each in contract.givens for kind in each.types}
    return {*contract.hears, *given, *(kind for shape in shapes for kind in types_in(shape))}


def at_reaction(contract: Contract, check: Check, title: str, fix: str, **more: Any) -> Finding:
    """A finding at a reaction, with the check's code and severity unless others are given."""
    known: dict[str, Any] = {"code": check.code, "severity": check.severity, "about": contract.path, **more}
    return Finding(title=title, fix=fix, place=place_of_contract(contract), **known)


def at_flow(flow: Flow, check: Check, title: str, fix: str, **more: Any) -> Finding:
    """A finding at a flow."""
    known: dict[str, Any] = {"code": check.code, "severity": check.severity, "about": flow.name, **more}
    return Finding(title=title, fix=fix, place=place_of_flow(flow), **known)


def at_choreography(subject: Subject, check: Check, title: str, fix: str, **more: Any) -> Finding:
    """A finding at the choreography itself."""
    known: dict[str, Any] = {"code": check.code, "severity": check.severity, "about": subject.choreography.name, **more}
    return Finding(title=title, fix=fix, place=place_of_choreography(subject.choreography), **known)


def told(world: World, state: int, about: int = 0) -> dict[str, tuple[Step, ...] | tuple[str, ...]]:
    """The way to a state and how things stand there, for a finding."""
    return {"steps": world.steps(state, about), "way": world.steps(state), "end": world.end(state)}
