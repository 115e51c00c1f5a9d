"""Walks the model instead of drawing seeds: both orders of what shares a row or a port, every end, every outcome.

A way is a script (`stage`): the shortest that leads to one order of two reactions, to an end of its kind, or through
an outcome of a reaction, a deadline or a cancellation that no way before had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from callboard.checks.extraction import ATTEMPT_FAILED, GAVE_UP
from callboard.checks.subject import Subject
from callboard.checks.world import step_of
from callboard.contract import Contract
from callboard.event import EventType
from callboard.simulation.codes import STATES
from callboard.simulation.confirming import follow
from callboard.simulation.coverage import observe
from callboard.simulation.hunt import Failure, Hunt, Lived, explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callboard.check import Step
    from callboard.checks.net import Net
    from callboard.checks.world import World as Model
    from callboard.simulation.world import Scene

_TRIES = 6  # of one way
Happens = tuple[Contract | None, EventType | None, tuple[str, ...], bool]
_EFFECTS = ("applied", "hollow", "twice", "leaked", "late", "succeeded", "failed", "seen")  # what tells ends apart


class Way(Struct):
    """Where a script leads to."""

    name: str
    steps: tuple[Step, ...]
    why: str = ""  # what the code did instead, where it was not followed


def guided(scene: Scene, limit: int, *, most: int = 1) -> Hunt:
    """Follows each way, up to so many, until so many have failed. Its `ways` say which the code did not go, and why."""
    found = Hunt(scene)
    for way in ways_of(scene):
        if len(found.ways) >= limit or len(found.failures) >= most:
            found.cut_short = True
            break
        stage, ending, runs = follow(scene, way.steps, _TRIES)
        found.take(Lived(ending, observe(stage)))
        found.seeds += runs - 1
        way.why = stage.why
        found.ways.append(way)
        if ending.violations:
            failure = Failure(
                ending.seed, ending.violations, {}, 0, found.seeds, ending, script=[*stage.script], way=way.name
            )
            found.failures.append(explained(scene, failure))
    return found


def ways_of(scene: Scene) -> Iterator[Way]:
    """Both orders of two reactions first: what goes wrong goes wrong there."""
    subject = Subject(scene.choreography, limit=STATES)
    for model in subject.worlds:
        for one, other in _rivals(subject):
            there, back = _order(model, one, other), _order(model, other, one)
            if there is not None and back is not None:
                yield Way(f"{one.path} before {other.path}", _steps(model, there))
                yield Way(f"{other.path} before {one.path}", _steps(model, back))
    for model in subject.worlds:
        walked: set[Happens] = set()
        for name, way in _ends(model):
            walked |= {_happens(model, number) for number in way}
            yield Way(name, _steps(model, way))
        for name, way in _others(model, walked):
            yield Way(name, _steps(model, way))


def _rivals(subject: Subject) -> Iterator[tuple[Contract, Contract]]:
    """Reactions of one service that write one state, or take one port."""
    for number, one in enumerate(subject.contracts):
        for other in subject.contracts[number + 1 :]:
            if one.service == other.service and _shared(one) & _shared(other):
                yield one, other


def _shared(contract: Contract) -> set[object]:
    return {*(row.state for row in contract.states if row.form != "read"), *(each.port for each in contract.ports)}


def _ends(model: Model) -> Iterator[tuple[str, list[int]]]:
    mask = 0
    for name, bit in model.bits.masks.items():
        mask |= bit if name[0] in _EFFECTS else 0
    known: set[int] = set()
    for end in model.exploration.ends:
        verdicts = [model.verdict(flow, end) for flow in model.flows]
        if end & mask not in known and None not in verdicts:  # an open end is a finding of the check, or the world's
            known.add(end & mask)
            said = ", ".join(kind for step in model.steps(end)[1:] for kind in step.emitted)
            yield f"{' and '.join(model.end(end)[: len(model.flows)])}: {said}", model.exploration.path(end)


def _happens(model: Model, number: int) -> Happens:
    """What a transition stands for, whatever part of the flow it is in."""
    label = model.net.transitions[number].label
    heard = label.heard.kind if label.heard is not None else None
    return label.contract, heard, tuple(sorted({str(each.kind) for each in label.emitted})), label.note == GAVE_UP


def _others(model: Model, walked: set[Happens]) -> Iterator[tuple[str, list[int]]]:
    """Through what happens on no way that was walked."""
    for state, (_, number) in model.exploration.came.items():
        if number < 0 or _happens(model, number) in walked:
            continue
        way = model.exploration.path(state)
        rest = _search(model.net, state)
        if rest is not None:
            way += rest
            walked |= {_happens(model, each) for each in way}
            step = step_of(model.net.transitions[number].label)
            what = "says " + " + ".join(step.emitted) if step.emitted else step.note
            yield f"{step.reaction or step.service}: {what}", way


def _order(model: Model, first: Contract, second: Contract) -> list[int] | None:
    """A shortest way on which `first` runs before `second`, and both do, up to an end."""
    return _search(model.net, model.net.forget(model.net.initial), _runs(model, first), _runs(model, second))


def _search(net: Net, begin: int, *runs: frozenset[int]) -> list[int] | None:
    """A shortest way to an end on which one of each happens, in this order and none of the second before the first."""
    came: dict[tuple[int, int], tuple[tuple[int, int], int]] = {(begin, 0): ((begin, 0), -1)}
    edge = [(begin, 0)]
    for place in edge:  # grows while it is gone through
        state, phase = place
        enabled = net.enabled(state)
        if phase == len(runs) and net.is_end(enabled):
            return _back(came, place)
        for number in enabled:
            wrong = phase == 0 and len(runs) > 1 and number in runs[1]
            after = (net.after(state, number), phase + (phase < len(runs) and number in runs[phase]))
            if not wrong and after not in came and len(came) < STATES:
                came[after] = (place, number)
                edge.append(after)
    return None


def _runs(model: Model, contract: Contract) -> frozenset[int]:
    """The transitions in which it does its work."""
    numbers = model.of_reaction.get(contract.path, ())
    labels = {number: model.net.transitions[number].label for number in numbers}
    return frozenset(n for n, label in labels.items() if label.emitted and label.note not in (ATTEMPT_FAILED, GAVE_UP))


def _back(came: dict[tuple[int, int], tuple[tuple[int, int], int]], place: tuple[int, int]) -> list[int]:
    way: list[int] = []
    while (step := came[place])[1] >= 0:
        place = step[0]
        way.append(step[1])
    return way[::-1]


def _steps(model: Model, way: list[int]) -> tuple[Step, ...]:
    return tuple(step_of(model.net.transitions[number].label) for number in way)
