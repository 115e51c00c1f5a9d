"""What stands between a worker and its reactions: a story tells of each run, and some take long by themselves.

Those with a port are slow where they call outside.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from callboard.event import SPEAKS_OF, attribute, is_event, type_of
from callboard.simulation.loop import LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.simulation.world import World


def watched_reactions(world: World) -> ExitStack:
    """While this is entered, a reaction may be slow: an `async` one beyond its `timeout=`, a plain one holds the clock
    of the world up, as it holds up whatever runs beside it. Where the world tells of runs, its story has each.
    """
    stack = ExitStack()
    choreography = world.scene.choreography
    may_be_slow = "slow" in world.scene.faults
    for path, reaction in choreography.reactions.items() if may_be_slow or world.tells_runs else ():
        contract = choreography.contracts[path]
        stack.callback(setattr, reaction, "function", reaction.function)
        if may_be_slow and not contract.ports and not contract.options.blocking:
            reaction.function = (_awaited if contract.is_async else _called)(world, path, reaction.function)
        if world.tells_runs:
            reaction.function = _told(world, path, reaction.function)
    return stack


def _told(world: World, path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def told(*args: Any, **named: Any) -> Any:
        if (life := LIFE.get()) is not None:
            events, flow = _about(world, (*args, *named.values()))
            heard = f" on {type_of(events[0])}#{flow}" if events else ""
            world.lines.append(world.line(life.worker, "runs", f"{path}{heard}", flow))
        return function(*args, **named)

    return told


def _called(world: World, path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        result = function(*args, **named)
        world.loop.hold_up(_delay(world, path, (*args, *named.values())))
        return result

    return called


def _awaited(world: World, path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def awaited(*args: Any, **named: Any) -> Any:
        if delay := _delay(world, path, (*args, *named.values())):
            await asyncio.sleep(delay)
        return await function(*args, **named)

    return awaited


def _delay(world: World, path: str, given: tuple[Any, ...]) -> float:
    life = LIFE.get()
    if life is None:
        return 0.0
    where = f"{path}#{_about(world, given)[1] or '?'}"
    return world.strikes("slow", where, life.worker, f"{where} is slow") or 0.0


def _about(world: World, given: tuple[Any, ...]) -> tuple[list[Any], str]:
    """The events that it is given, and the key of their flow."""
    events = [each for each in given if is_event(type(each)) or type(each) in SPEAKS_OF]
    keys = [flow.key for flow in world.scene.choreography.flows.values()]
    found = (attribute(event, key) for event in events for key in keys)
    return events, next((str(key) for key in found if key is not None), "")
