"""What happens in a world for which nobody wrote a workload: a few flows of each Flow, made from their types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from callboard.simulation.samples import sample

if TYPE_CHECKING:
    from callboard.event import EventType, StateType
    from callboard.flow import Flow
    from callboard.simulation.world import World

_SPREAD = 20.0  # seconds within which the flows are begun
_TEXTS = 2


async def publish_samples(world: World) -> None:
    """Rows are put for what reactions find, then flows are begun, and what others say outside is said."""
    choreography = world.scene.choreography
    for state in choreography.states.values():
        if not choreography.is_private(state):
            await world.put(*rows_of(world, state))
    tasks = [_begin(world, flow, number) for flow in choreography.flows.values() for number in range(world.scene.flows)]
    starts = {flow.start for flow in choreography.flows.values()}
    keyed = {flow.key for flow in choreography.flows.values()}
    tasks += [
        _say(world, kind, number)
        for kind in world.scene.from_outside
        if kind not in starts and not any(kind.carries(key) for key in keyed)
        for number in range(world.scene.flows)
    ]
    await asyncio.gather(*tasks)


def rows_of(world: World, state: StateType) -> list[Any]:
    """A few rows of a state that belongs to no flow."""
    draw = world.drawing(f"row {state.name}")
    return [
        sample(state.cls, draw, {state.key: f"{state.key}-{number}"}, f"{number}") for number in range(1, _TEXTS + 1)
    ]


async def _begin(world: World, flow: Flow, number: int) -> None:
    key = f"{flow.key.removesuffix('_id')}-{number + 1}"
    start = an_event(world, flow.start, {flow.key: key}, key)
    await world.publish(start, after=world.choices.between(f"begin {flow.name} {key}", 0, _SPREAD))
    more = [_answer(world, kind, flow, key) for kind in _incoming(world, flow)]
    await asyncio.gather(world.cancel(flow.name, key), *more)


def _incoming(world: World, flow: Flow) -> list[EventType]:
    starts = {each.start for each in world.scene.choreography.flows.values()}
    return [kind for kind in world.scene.from_outside if kind not in starts and kind.carries(flow.key)]


async def _answer(world: World, kind: EventType, flow: Flow, key: str) -> None:
    await world.publish(
        an_event(world, kind, {flow.key: key}, key), after=world.choices.between(f"say {kind} {key}", 0, 60)
    )


async def _say(world: World, kind: EventType, number: int) -> None:
    name = f"{kind}-{number + 1}"
    event = an_event(world, kind, {kind.key: name} if kind.key else {}, name)
    await world.publish(event, after=world.choices.between(f"say {name}", 0, _SPREAD))


def an_event(world: World, kind: EventType, given: dict[str, Any], name: str) -> Any:
    """An event made from its type, with the `given` fields."""
    return sample(kind.cls, world.drawing(f"event {kind} {name}"), given)
