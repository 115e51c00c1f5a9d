"""How far one event from outside may spread: how many hear one, how many follow from it, how many steps deep."""

from msgspec import Struct

from callboard.choreography import Choreography
from callboard.contract import AllOf, Contract, EventShape, Many, OneOf, Shape
from callboard.event import EventType


class Bound(Struct, frozen=True):
    """Of one event that comes from outside. None: there is no bound, it goes in a circle."""

    event: str
    fan_out: int  # reactions that one event makes run, at most
    events: int | None  # that follow from it, at most; of a list that is returned, one is counted
    depth: int | None  # steps, at most

    def __str__(self) -> str:
        further = "it goes in a circle, without a bound"
        if self.events is not None:
            further = f"at most {_counted(self.events, 'event')} follow, in {_counted(self.depth or 0, 'step')}"
        return f"{self.event}: {further}; one event makes {_counted(self.fan_out, 'reaction')} run at most"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def bounds(choreography: Choreography) -> list[Bound]:
    """One for each event that begins a flow or comes in."""
    roots = dict.fromkeys([*(flow.start for flow in choreography.flows.values()), *choreography.incoming])
    contracts = choreography.contracts.values()
    hearing = {event: [it for it in contracts if event in it.hears] for event in choreography.events.values()}
    return [_bound(root, hearing) for root in roots]


def _bound(root: EventType, hearing: dict[EventType, list[Contract]]) -> Bound:
    reached: dict[EventType, None] = {root: None}
    waiting = [root]
    while waiting:
        further = {event for contract in hearing.get(waiting.pop(), []) for event in contract.emits} - reached.keys()
        reached.update(dict.fromkeys(further))
        waiting += further
    widest = max(len(hearing.get(event, [])) for event in reached)
    follow: dict[EventType, tuple[int, int]] = {}  # how many events, and how deep
    left: list[EventType] = list(reached)
    while ready := [event for event in left if all(each in follow for it in hearing[event] for each in it.emits)]:
        for event in ready:
            below = [follow[each][1] + 1 for it in hearing[event] for each in it.emits]
            follow[event] = sum(_most(it.returns, follow) for it in hearing[event]), max(below, default=0)
        left = [event for event in left if event not in follow]
    return Bound(str(root), widest, *(follow.get(root) or (None, None)))


def _most(shape: Shape, follow: dict[EventType, tuple[int, int]]) -> int:
    match shape:
        case EventShape(type=event):
            return 1 + follow[event][0]
        case OneOf(of=parts):
            return max(_most(each, follow) for each in parts)
        case AllOf(of=parts):
            return sum(_most(each, follow) for each in parts)
        case Many(of=part):
            return _most(part, follow)
        case _:
            return 0
