"""Reactions that take long by themselves. Those with a port are slow where they call outside."""

from __future__ import annotations

import asyncio
import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from callboard.event import SPEAKS_OF, attribute, is_event
from callboard.simulation.loop import LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.simulation.world import World


def slow_reactions(world: World) -> ExitStack:
    """While this is entered, a reaction may be slow: an `async` one beyond its `timeout=`, a plain one holds the clock
    of the world up, as it holds up whatever runs beside it.
    """
    stack = ExitStack()
    choreography = world.scene.choreography
    for path, reaction in choreography.reactions.items() if "slow" in world.scene.faults else ():
        contract = choreography.contracts[path]
        if not contract.ports and not contract.options.blocking:
            stack.callback(setattr, reaction, "function", reaction.function)
            reaction.function = (_awaited if contract.is_async else _called)(world, path, reaction.function)
    return stack


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
    keys = [flow.key for flow in world.scene.choreography.flows.values()]
    named = (attribute(each, key) for each in given if _is_event(each) for key in keys)
    where = f"{path}#{next((key for key in named if key is not None), '?')}"
    return world.strikes("slow", where, life.worker, f"{where} is slow") or 0.0


def _is_event(given: object) -> bool:
    return is_event(type(given)) or type(given) in SPEAKS_OF
