"""A crash at every boundary of a flow, one world for each: in the end all must be as if nothing had happened."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from callboard.simulation.choices import Deviations
from callboard.simulation.world import LEDGERS, Scene, World
from callboard.testing.adapters import refuse_real

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from callboard.choreography import Choreography

_DOWN = 0.001  # seconds until a worker that died starts again: no timer is to come into it
_VARIES = re.compile(
    r"(?<=#)flow-\d+|\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-][\d:]+)?|\b[0-9A-Za-z]{26}\b"
)  # times, and ids with times in them


def crash_everywhere(
    choreography: Choreography,
    keepers: Callable[[], Sequence[object]] = list[object],
    *,
    flows: int = 1,
    ledgers: LEDGERS = "shared",
    pure: Collection[str] = (),
) -> list[str]:
    """Every point at which a worker can die: around each commit, sending and call, and where a reaction awaits.

    AssertionError at the first of them after which the flows, the state or the calls outside end otherwise than
    undisturbed. The workload is the choreography's own, or `flows` flows of each Flow; `pure` are the ports, or
    calls as `Port.call`, that only compute.
    """
    refuse_real()
    scene = Scene(choreography, keepers, faults=(), flows=flows, ledgers=ledgers, pure=frozenset(pure))
    published = World(scene, 0).run().deviations
    points, undisturbed = _lived(scene, published)
    for point in points:
        _, end = _lived(scene, {**published, point: _DOWN})
        if end != undisturbed:
            gone, more = sorted((undisturbed - end).elements()), sorted((end - undisturbed).elements())
            raise AssertionError(
                "\n".join([point, "  not as it would have ended without:", *_lines("-", gone), *_lines("+", more)])
            )
    return points


def _lines(mark: str, told: list[str]) -> list[str]:
    return [f"    {mark} {each}" for each in told]


def _lived(scene: Scene, forced: Deviations) -> tuple[list[str], Counter[str]]:
    """Where it could have crashed, and how it ended: events, rows, verdicts and effects outside."""
    world = World(scene, 0, forced=forced)
    world.at_awaits()
    world.patience = _DOWN
    end = Counter[str]()

    async def look() -> None:
        for state in scene.choreography.states.values():
            end.update(_VARIES.sub("...", f"row {row}") for row in await world.rows(state.cls))

    with world.alive():
        world.do(world.live())
        world.do(look())
    events = {
        entry.id: f"event {world.label(entry.type, entry.id)}" for _, entry in world.log if entry.by or not entry.source
    }
    end.update(_VARIES.sub("...", each) for each in events.values() if not _is_ours(each))
    end.update(f"verdict {line.text}" for line in world.lines if line.what == "verdict")
    end.update(f"dead letter {line.text}" for line in world.lines if line.what == "dead letter")
    named: set[Any] = {(c.name, c.flow, c.key) for c in world.calls if c.took_place and c.key and not c.asks}
    end.update(f"outside {name} for #{flow}" for name, flow, _ in named)
    end.update(f"outside {c.told}" for c in world.calls if c.took_place and not c.key and not c.asks)
    return world.choices.visited("crash"), end


def _is_ours(label: str) -> bool:
    return label.startswith(("event Timer[", "event Published[", "event FlowEnded[", "event Received"))
