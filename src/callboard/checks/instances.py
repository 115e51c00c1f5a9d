"""Which events may be in a flow, and for whom each is a delivery: found from the start by following every outcome."""

from collections.abc import Iterator
from typing import NamedTuple

from callboard.checks.outcomes import Outcome, outcomes
from callboard.checks.paths import Paths
from callboard.choreography import Choreography
from callboard.contract import Contract
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed
from callboard.flow import Flow

Part = tuple[tuple[str, int], ...]  # of each list that it came in: which event of which list
WHOLE: Part = ()
DEEPEST = 2  # lists inside of lists


class Instance(NamedTuple):
    """An event of a flow: its type, and the part of the flow that it belongs to."""

    kind: EventType
    part: Part = WHOLE

    def __str__(self) -> str:
        return str(self.kind) + "".join(f"#{ordinal}" for _, ordinal in self.part)


class Slot(NamedTuple):
    """A delivery that may wait in front of a reaction: of one event, or of a join or gather that is complete."""

    path: str
    heard: Instance | None  # None: a join or a gather
    part: Part  # what its outcome belongs to
    line: Part  # what tells its line, its `once=` and its pair apart within the flow


class Instances:
    """Everything that may be in a flow that begins with `start`."""

    def __init__(self, choreography: Choreography, paths: Paths, start: EventType) -> None:
        self.choreography = choreography
        self.paths = paths
        self.start = Instance(start)
        self.flows: list[Flow] = [each for each in choreography.flows.values() if each.start is start]
        self.outcomes: dict[str, tuple[Outcome, ...]] = {
            path: outcomes(each.returns) for path, each in choreography.contracts.items()
        }
        self.incoming = [kind for kind in choreography.incoming if kind is not start and self._joins(kind)]
        self._speaks_of = {each.inner for each in choreography.events.values() if each.cls is ReactionFailed}
        self.found: dict[Instance, None] = {}
        self.slots: dict[Slot, None] = {}
        self.hearers: dict[Instance, list[Contract]] = {}
        self._follow()

    def _joins(self, kind: EventType) -> bool:
        return any(kind.carries(flow.key) for flow in self.flows)

    def _follow(self) -> None:
        todo = [self.start, *map(Instance, self.incoming), *map(Instance, self.news())]
        while todo:
            instance = todo.pop(0)
            if instance in self.found:
                continue
            self.found[instance] = None
            self.hearers[instance] = self.paths.hearers.get(instance.kind, [])
            for contract in self.hearers[instance]:
                slot = self.slot(contract, instance)
                self.slots[slot] = None
                todo += self.emitted_by(contract, slot)
                if self.failure_is_heard(contract, instance.kind):
                    failed = self.failure_of(instance)
                    todo += [failed] if failed is not None else []

    def emitted_by(self, contract: Contract, slot: Slot) -> Iterator[Instance]:
        """What a run for this delivery may emit."""
        for outcome in self.outcomes[contract.path]:
            yield from self.instances_of(contract, outcome, slot.part)

    def instances_of(self, contract: Contract, outcome: Outcome, part: Part) -> list[Instance]:
        """The events of an outcome, each with its part of the flow."""
        return [
            Instance(
                each.kind,
                self._deeper(part, f"{contract.path}>{each.kind.name}", each.ordinal) if each.ordinal else part,
            )
            for each in outcome
        ]

    @staticmethod
    def _deeper(part: Part, site: str, ordinal: int) -> Part:
        if len(part) >= DEEPEST or any(known == site for known, _ in part):
            return part
        return (*part, (site, ordinal))

    def slot(self, contract: Contract, instance: Instance) -> Slot:
        """The delivery of this event to this reaction."""
        line = instance.part if contract.options.per is not None else WHOLE
        if contract.gathered is not None:
            below = self.gathered_below(contract, instance)
            return Slot(contract.path, None, below, below if contract.options.per is not None else WHOLE)
        if contract.is_join:
            return Slot(contract.path, None, line, line)
        return Slot(contract.path, instance, instance.part, line)

    @staticmethod
    def gathered_below(contract: Contract, instance: Instance) -> Part:
        """The part that the gathered list belongs to: what is left when the gather has closed it."""
        gathers = contract.options.gathers
        for place in range(len(instance.part) - 1, -1, -1):
            if gathers is not None and instance.part[place][0].endswith(f">{gathers.name}"):
                return instance.part[:place]
        return WHOLE

    def news(self) -> list[EventType]:
        """The deadlines and cancellations of these flows that somebody waits for."""
        wanted = self.choreography.events.values()
        return [
            kind
            for kind in wanted
            if kind.inner is self.start.kind
            and (kind.cls is FlowCancelled or (kind.cls is FlowTimedOut and any(f.timeout for f in self.flows)))
        ]

    def failure_of(self, instance: Instance) -> Instance | None:
        """ReactionFailed of this event, if it is known to the choreography."""
        kinds = self.choreography.events.values()
        kind = next((each for each in kinds if each.cls is ReactionFailed and each.inner is instance.kind), None)
        return None if kind is None else Instance(kind, instance.part)

    def failure_is_heard(self, contract: Contract, kind: EventType | None) -> bool:
        """Whether somebody hears that this reaction gave up on this event."""
        return kind in self._speaks_of and bool(self.hearers_of_failure(contract, kind))

    def hearers_of_failure(self, contract: Contract, kind: EventType | None) -> list[Contract]:
        """Who hears it: its compensations, other reactions of its service, and if it is outgoing everybody."""
        if kind is None or kind.inner is not None:
            return []
        found: list[Contract] = []
        for each in self.choreography.contracts.values():
            heard = next((one for one in each.hears if one.cls is ReactionFailed and one.inner is kind), None)
            if heard is None:
                continue
            undone = each.options.compensates
            if undone is not None:
                if contract.path == f"{each.service}.{undone}":
                    found.append(each)
            elif each.service == contract.service or heard in self.choreography.outgoing:
                found.append(each)
        return found
