"""Walks the model instead of drawing seeds: both orders of what shares a row or a port, every end, every outcome.

A way is a script (`stage`): the shortest that leads to one order of two reactions, to an end of its kind, or through
an outcome of a reaction, a deadline or a cancellation that no way before had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from callboard.checks.extraction import ATTEMPT_FAILED, GAVE_UP
from callboard.checks.subject import Subject
from callboard.checks.world import step_of
from callboard.contract import Contract
from callboard.event import EventType
from callboard.simulation.codes import STATES
from callboard.simulation.coverage import observe
from callboard.simulation.hunt import Failure, Hunt, Lived, explained
from callboard.simulation.inputs import QUICK, Director, Told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callboard.check import Step
    from callboard.checks.world import World as Model
    from callboard.simulation.world import Scene

_SCRIPTS = 8  # of one goal that are tried before no more are looked for
_SEARCHES = 24  # for such scripts
_MOST_RUNS = 3  # that are asked for in one
Sight = tuple[dict[int, tuple[str, str]], frozenset[tuple[str, str]]]  # what the bits are, and which are on
Moves = dict[int, list[tuple[int, int]]]  # from each state: what may happen, and the state after it
Happens = tuple[Contract | None, EventType | None, tuple[str, ...], bool]
_EFFECTS = ("applied", "hollow", "twice", "leaked", "late", "succeeded", "failed", "seen")  # what tells ends apart


class Way(Struct):
    """Where a script leads to, and what the code did instead, where it was not gone."""

    name: str
    steps: tuple[Step, ...]
    why: str = ""


class Goal(NamedTuple):
    """What is to happen in a flow: these transitions in this order, and then an end, perhaps one that looks so."""

    model: Model
    moves: Moves  # that are known
    name: str
    path: list[int]  # a shortest
    runs: tuple[frozenset[int], ...] = ()
    sight: Sight = ({}, frozenset())
    avoided: frozenset[int] = frozenset()


def guided(scene: Scene, limit: int, *, most: int = 1) -> Hunt:
    """Walks to each goal, up to so many, until so many have failed. Its `ways` say where the code did not get."""
    found, director = Hunt(scene), Director(scene)
    for goal in goals_of(scene):
        if len(found.ways) >= limit or len(found.failures) >= most:
            found.cut_short = True
            break
        way, told = _walk(director, goal)
        found.take(Lived(told.ending, observe(told.stage)))
        found.seeds += told.runs - 1
        found.ways.append(way)
        if told.ending.violations:
            number, given = len(found.ways), told.stage.given
            failure = Failure(
                number, told.ending.violations, given, 0, found.seeds, told.ending, script=[*way.steps], way=way.name
            )
            found.failures.append(explained(scene, failure))
    return found


def _walk(director: Director, goal: Goal) -> tuple[Way, Told]:
    """The first script that the code goes, of those that lead there; else what it did on the shortest."""
    waiting, tried, runs = [goal], dict[tuple[int, ...], Told](), 0
    for each in waiting:  # grows while it is gone through
        path = each.path if each is goal else _search(each)
        if path is None or tuple(path) in tried:
            continue
        steps = _steps(goal.model, path)
        told = tried[tuple(path)] = director.follow(steps, QUICK)
        runs += told.runs
        if not told.why:
            return Way(goal.name, steps), told._replace(runs=runs)
        if len(tried) < _SCRIPTS and len(waiting) < _SEARCHES:
            waiting += _otherwise(each, path[: told.stage.followed + 1])
    steps = _steps(goal.model, goal.path)
    told = director.follow(steps)
    return Way(goal.name, steps, told.why), told._replace(runs=runs + told.runs)


def _steps(model: Model, path: list[int]) -> tuple[Step, ...]:
    return tuple(step_of(model.net.transitions[number].label) for number in path)


def _otherwise(goal: Goal, path: list[int]) -> Iterator[Goal]:
    """The same goal by other ways than this one, on which the last step was not gone: without it; after a reaction that
    could have made it possible; without an outcome before it, the last first.
    """
    model = goal.model
    turns = [turn for number in reversed(path) if (turn := _turn(model, number))]
    stuck = model.net.transitions[path[-1]].label.contract
    yield from (goal._replace(avoided=goal.avoided | turn) for turn in turns[:1])
    if stuck is not None and len(goal.runs) < _MOST_RUNS:
        told = {kind for given in stuck.givens if given.optional for kind in given.types}
        for other in model.extraction.contracts.values():
            if other is not stuck and (told & set(other.emits) or _shared(other) & {row.state for row in stuck.states}):
                same = _alike(model, path[-1])
                runs = goal.runs if same in goal.runs else (same, *goal.runs)
                yield goal._replace(runs=(_runs(model, other), *runs))
    yield from (goal._replace(avoided=goal.avoided | turn) for turn in turns[1:])


def _alike(model: Model, number: int) -> frozenset[int]:
    """The transitions that stand for the same, whatever part of the flow it is in."""
    happens = _happens(model, number)
    return frozenset(each for each in range(len(model.net.transitions)) if _happens(model, each) == happens)


def _turn(model: Model, number: int) -> frozenset[int]:
    """The transitions to be avoided if something else is to come of it; none if nothing else can."""
    label = model.net.transitions[number].label
    alike = model.of_reaction.get(label.contract.path, ()) if label.contract is not None else ()
    labels = {other: model.net.transitions[other].label for other in alike}
    same = frozenset(other for other, each in labels.items() if each.heard == label.heard)
    chosen = frozenset(each for each in same if labels[each].emitted == label.emitted)
    return chosen if chosen != same else frozenset()


def goals_of(scene: Scene) -> Iterator[Goal]:
    """Both orders of two reactions first: what goes wrong goes wrong there."""
    subject = Subject(scene.choreography, limit=STATES)
    moves: list[Moves] = [{} for _ in subject.worlds]
    for model, known in zip(subject.worlds, moves, strict=True):
        for one, other in _rivals(subject):
            orders = [_order(model, known, *pair) for pair in ((one, other), (other, one))]
            yield from (each for each in orders if each is not None and None not in orders)
    for model, known in zip(subject.worlds, moves, strict=True):
        walked: set[Happens] = set()
        for goal in _ends(model, known):
            walked |= {_happens(model, number) for number in goal.path}
            yield goal
        yield from _others(model, known, walked)


def _rivals(subject: Subject) -> Iterator[tuple[Contract, Contract]]:
    """Reactions of one service that write one state, or take one port."""
    for number, one in enumerate(subject.contracts):
        for other in subject.contracts[number + 1 :]:
            if one.service == other.service and _shared(one) & _shared(other):
                yield one, other


def _shared(contract: Contract) -> set[object]:
    return {*(row.state for row in contract.states if row.form != "read"), *(each.port for each in contract.ports)}


def _ends(model: Model, moves: Moves) -> Iterator[Goal]:
    names = {bit: (name[0], str(name[1])) for name, bit in model.bits.masks.items() if name[0] in _EFFECTS}
    known: set[frozenset[tuple[str, str]]] = set()
    for end in model.exploration.ends:
        sight = _sight(names, end)
        verdicts = [model.verdict(flow, end) for flow in model.flows]
        if sight not in known and None not in verdicts:  # an open end is a finding of the check, or the world's
            known.add(sight)
            said = ", ".join(kind for step in model.steps(end)[1:] for kind in step.emitted)
            name = f"{' and '.join(model.end(end)[: len(model.flows)])}: {said}"
            yield Goal(model, moves, name, model.exploration.path(end), sight=(names, sight))


def _sight(names: dict[int, tuple[str, str]], state: int) -> frozenset[tuple[str, str]]:
    """What tells ends apart, whatever part of the flow it is in."""
    return frozenset(name for bit, name in names.items() if state & bit)


def _happens(model: Model, number: int) -> Happens:
    """What a transition stands for, whatever part of the flow it is in."""
    label = model.net.transitions[number].label
    heard = label.heard.kind if label.heard is not None else None
    return label.contract, heard, tuple(sorted({str(each.kind) for each in label.emitted})), label.note == GAVE_UP


def _others(model: Model, moves: Moves, walked: set[Happens]) -> Iterator[Goal]:
    """Through what happens on no way that was walked."""
    for state, (_, number) in model.exploration.came.items():
        happens = _happens(model, number) if number >= 0 else None
        if happens is None or happens in walked:
            continue
        rest = _search(Goal(model, moves, "", []), begin=state)
        if rest is not None:
            path = model.exploration.path(state) + rest
            walked |= {_happens(model, each) for each in path}
            step = step_of(model.net.transitions[number].label)
            what = "says " + " + ".join(step.emitted) if step.emitted else step.note
            yield Goal(model, moves, f"{step.reaction or step.service}: {what}", path, (_alike(model, number),))


def _order(model: Model, moves: Moves, first: Contract, second: Contract) -> Goal | None:
    """`first` runs before `second`, and both do."""
    runs = (_runs(model, first), _runs(model, second))
    goal = Goal(model, moves, f"{first.path} before {second.path}", [], runs)
    path = _search(goal)
    return None if path is None else goal._replace(path=path)


def _search(goal: Goal, begin: int | None = None) -> list[int] | None:
    """A shortest way there: nothing of a later run happens before an earlier one."""
    net, runs, later = goal.model.net, goal.runs, frozenset[int]()
    names, wanted = goal.sight
    wrong = [goal.avoided]  # by how many of the runs there were
    for each in reversed(runs):
        wrong.insert(0, goal.avoided | (later - each))
        later |= each
    first: tuple[int, int] = (net.forget(net.initial) if begin is None else begin, 0)
    came: dict[tuple[int, int], tuple[tuple[int, int], int]] = {first: (first, -1)}
    edge: list[tuple[int, int]] = [first]
    for place in edge:  # grows while it is gone through
        state, phase = place
        moves = goal.moves.get(state)
        if moves is None:
            moves = goal.moves[state] = [(number, net.after(state, number)) for number in net.enabled(state)]
        if phase == len(runs) and net.is_end(n for n, _ in moves) and _sight(names, state) == wanted:
            return _back(came, place)
        for number, after in moves:
            if number not in wrong[phase]:
                there = (after, phase + (phase < len(runs) and number in runs[phase]))
                if there not in came and len(came) < STATES:
                    came[there] = (place, number)
                    edge.append(there)
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
