"""What may lead to what: the shortest way to each event of a flow, through joins and prerequisites."""

from collections.abc import Iterator, Sequence
from itertools import product

from msgspec import Struct

from callboard.choreography import Choreography
from callboard.contract import Contract, Gathered, Shape, ways
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed
from callboard.flow import Flow

RARE = {FlowTimedOut: 1000, ReactionFailed: 100, FlowCancelled: 10_000}  # ways that are taken if there is no other
FAILURE = 10


class Step(Struct, frozen=True):
    """A reaction that runs for what it hears and needs, and emits this event. None: the event comes by itself."""

    event: EventType
    contract: Contract | None
    inputs: tuple[EventType, ...]
    length: int


def steps_to(choreography: Choreography, flow: Flow) -> dict[EventType, Step]:
    """For every event that may be in the flow, the last step of a shortest way there."""
    found = {flow.start: Step(flow.start, None, (), 0)}
    for event in choreography.incoming:
        found.setdefault(event, Step(event, None, (), 1))
    grew = True
    while grew:
        grew = False
        for step in _further(choreography, flow, found):
            if step.event not in found or step.length < found[step.event].length:
                found[step.event] = step
                grew = True
    return found


def _further(choreography: Choreography, flow: Flow, found: dict[EventType, Step]) -> Iterator[Step]:
    for event in {each for contract in choreography.contracts.values() for each in contract.hears}:
        if event.inner in found and _may_come(event, flow):
            yield Step(event, None, (event.inner,), found[event.inner].length + RARE[event.cls])
    for contract in choreography.contracts.values():
        for inputs in _runs(contract, found):
            length = 1 + max(found[each].length for each in inputs)
            for event in contract.emits:
                yield Step(event, contract, inputs, length + FAILURE if event.failure else length)


def _may_come(event: EventType, flow: Flow) -> bool:
    if event.cls is ReactionFailed:
        return True
    return event.inner is flow.start and (event.cls is FlowCancelled or flow.timeout is not None)


def _runs(contract: Contract, found: dict[EventType, Step]) -> Iterator[tuple[EventType, ...]]:
    """Every set of known events that makes it run."""
    heard = [each.types for each in contract.parameters if isinstance(each, Gathered)]
    heard += [each.types for each in contract.triggers]
    heard += [each.types for each in contract.givens if not each.optional]
    choices = [[each for each in types if each in found] for types in heard]
    needed = [way for way in ways(contract.options.needs) if way <= found.keys()] if contract.options.needs else [()]
    for way in sorted(needed, key=len)[:1]:
        for chosen in product(*choices) if len(choices) == 1 else _nearest(choices, found):
            yield tuple(dict.fromkeys((*chosen, *sorted(way, key=str))))


def _nearest(choices: Sequence[Sequence[EventType]], found: dict[EventType, Step]) -> Iterator[tuple[EventType, ...]]:
    if all(choices):
        yield tuple(min(each, key=lambda event: found[event].length) for each in choices)


def path_to(target: EventType, steps: dict[EventType, Step]) -> list[Step]:
    """The steps that lead there, each after those that it needs."""
    wanted, path = [target], dict[EventType, Step]()
    while wanted:
        event = wanted.pop()
        if event not in path:
            path[event] = steps[event]
            wanted += steps[event].inputs
    return sorted(path.values(), key=lambda step: step.length)


def nearest_ending(shape: Shape | None, steps: dict[EventType, Step]) -> frozenset[EventType] | None:
    """The set of events of this completion that is reached first; None if it cannot be reached."""
    reached = [way for way in ways(shape) if way <= steps.keys()] if shape is not None else []
    return min(reached, key=lambda way: max(steps[each].length for each in way), default=None)
