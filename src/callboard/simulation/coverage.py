"""What the seeds have seen of what the choreography declares, and whether they saw what its model says cannot be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from callboard.checks.subject import Subject
from callboard.contract import types_in, ways
from callboard.ids import FLOW_LENGTH
from callboard.simulation.codes import STATES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from callboard.checks.world import World as Model
    from callboard.choreography import Choreography
    from callboard.simulation.world import World

_VERDICT = re.compile(r"(.*) #(.*) (succeeded|failed)(, leaked .*)?", re.DOTALL)


class Seen(NamedTuple):
    """How one flow ended: which types were said in it, and the verdicts, each with the name of its Flow."""

    start: str
    kinds: frozenset[str]
    verdicts: frozenset[tuple[str, str]]
    gave_up: bool = False  # a reaction of it has a dead letter: the model says nothing of that


def observe(world: World) -> set[Seen]:
    """Each flow of a world that came to its end."""
    if world.is_cut:
        return set()
    starts = {flow.start.name for flow in world.scene.choreography.flows.values()}
    dead = {line.flow for line in world.lines if line.what == "dead letter"}
    verdicts: dict[str, set[tuple[str, str]]] = {}
    for line in world.lines:
        if line.what == "verdict" and (told := _VERDICT.fullmatch(line.text)) is not None:
            verdicts.setdefault(told[2], set()).add((told[1], told[3]))
    kinds: dict[str, dict[str, None]] = {}
    for _, entry in world.log:
        kinds.setdefault(entry.id[:FLOW_LENGTH], {})[entry.type] = None
    found: set[Seen] = set()
    for flow, said in kinds.items():
        name, start = world.flow_name(flow), next(iter(said))
        if start in starts:
            found.add(Seen(start, frozenset(said), frozenset(verdicts.get(name, ())), name in dead))
    return found


def foreign(choreography: Choreography, seen: Collection[Seen]) -> list[str]:
    """Flows that ended as the exploration says none can: an error in the code of callboard, or in its model."""
    told: list[str] = []
    for model in Subject(choreography, limit=STATES).worlds:
        start = model.extraction.instances.start.kind.name
        names, ends = _ends(model)
        for each in seen if not model.exploration.bounded else ():
            if each.start == start and not each.gave_up and (each.kinds & names, each.verdicts) not in ends:
                stands = ", ".join(sorted(f"{flow} {word}" for flow, word in each.verdicts)) or "no verdict"
                told.append(f"{stands} with {', '.join(sorted(each.kinds))}")
    return told


def _ends(model: Model) -> tuple[frozenset[str], set[tuple[frozenset[str], frozenset[tuple[str, str]]]]]:
    """The types that complete a flow, and all ends: which of these were said, and the verdicts."""
    shapes = [shape for flow in model.flows for shape in (flow.succeeds, flow.fails) if shape is not None]
    kinds = {kind for shape in shapes for kind in types_in(shape)}
    words = {True: "succeeded", False: "failed"}
    ends: set[tuple[frozenset[str], frozenset[tuple[str, str]]]] = set()
    for end in model.exploration.ends:
        said = frozenset(kind.name for kind in kinds if end & model.bits.get("seen", kind))
        verdicts = {flow.name: model.verdict(flow, end) for flow in model.flows}
        ends.add((said, frozenset((flow, words[good]) for flow, good in verdicts.items() if good is not None)))
    return frozenset(kind.name for kind in kinds), ends


def missing_ends(choreography: Choreography, seen: Collection[Seen]) -> Iterator[str]:
    """The completions that no flow has had: `checkout fails by OrderCancelled`."""
    for flow in choreography.flows.values():
        for word, verdict, shape in (("succeeds", "succeeded", flow.succeeds), ("fails", "failed", flow.fails)):
            for way in ways(shape) if shape is not None else ():
                names = {kind.name for kind in way}
                if not any((flow.name, verdict) in each.verdicts and names <= each.kinds for each in seen):
                    yield f"{flow.name} {word} by {' + '.join(sorted(map(str, way)))}"


def missing_undos(choreography: Choreography, outcomes: Collection[str]) -> list[str]:
    """The compensations that have said nothing in any flow, of those that may."""
    ran = {outcome.partition(" -> ")[0] for outcome in outcomes}
    undoers = {path for each in choreography.compensations.values() for path in each}
    return sorted(path for path in undoers - ran if choreography.contracts[path].emits)
