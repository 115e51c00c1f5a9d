"""Looks for inputs with which the code goes the way of a script: what it read where it went otherwise is varied.

A try that comes as far as the best so far is varied in turn, one input at a time, so what needs two is found too. What
made a reaction say what was wanted is remembered for the next way, and so is what no input made it say.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import count, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from callboard.simulation.stage import Stage, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callboard.check import Step
    from callboard.simulation.choices import Deviations
    from callboard.simulation.world import Ending, Scene

TRIES = 60  # of one script, with other inputs each
_AGAIN = 12  # where what is wanted was looked for in vain before
Wish = tuple[str, str, tuple[str, ...]]  # a reaction, what it hears, what it is to say


class Told(NamedTuple):
    """The try that went the whole way, or else the one that came farthest; how it ended; how many there were."""

    stage: Stage
    ending: Ending
    runs: int
    why: str = ""  # it was not gone


class Director:
    """Tries scripts on the code of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.learned: dict[Wish, Deviations] = {}
        self.in_vain: set[Wish] = set()

    def follow(self, way: Sequence[Step], most: int = TRIES) -> Told:
        """Try it until the code goes it, or until no other input is left that could matter."""
        order, known, runs = count(), set[frozenset[tuple[str, float]]](), 0
        waiting: list[tuple[int, int, int, Deviations]] = []
        said: Counter[str] = Counter()  # what the tries did instead that came as far as the best
        best: tuple[Stage, Ending] | None = None
        for given in self._first(way):
            heappush(waiting, (0, 0, next(order), given))
        while waiting and runs < most:
            given = heappop(waiting)[-1]
            if frozenset(given.items()) in known:
                continue
            known.add(frozenset(given.items()))
            stage = Stage(self.scene, way, given)
            ending, runs = stage.run(), runs + 1
            if stage.is_followed:
                self._learn(stage, len(stage.script))
                return Told(stage, ending, runs)
            if best is None or stage.followed > best[0].followed:
                self._learn(stage, stage.followed)
                best = stage, ending
                said.clear()
                most = min(most, runs + (_AGAIN if _wish(stage) in self.in_vain else TRIES))
            if stage.followed == best[0].followed:
                said[stage.why] += 1
                for more in _varied(stage):
                    heappush(waiting, (-stage.followed, len(more) + 2 * (said[stage.why] > 1), next(order), more))
        assert best is not None
        self.in_vain.add(_wish(best[0]))
        return Told(*best, runs, _reason(best[0], said, runs))

    def _first(self, way: Sequence[Step]) -> Iterator[Deviations]:
        """What helped before, else nothing at all."""
        learned: Deviations = {}
        for step in way:
            learned |= self.learned.get(_wish_of(step), {})
        yield from (learned, {})

    def _learn(self, stage: Stage, followed: int) -> None:
        for step in stage.script[:followed]:
            if runs_of(step):
                self.learned[_wish_of(step)] = dict(stage.given)
                self.in_vain.discard(_wish_of(step))


def _wish_of(step: Step) -> Wish:
    return runs_of(step), step.heard.partition("#")[0], tuple(each.partition("#")[0] for each in step.emitted)


def _wish(stage: Stage) -> Wish:
    return _wish_of(stage.script[stage.followed])


def _varied(stage: Stage) -> Iterator[Deviations]:
    """The same inputs but for one: each is changed once before one is changed again."""
    for changes in zip_longest(*([(key, each) for each in stage.options(key)] for key in stage.inputs)):
        yield from (stage.given | dict([change]) for change in changes if change is not None)


def _reason(stage: Stage, said: Counter[str], runs: int) -> str:
    told = f"in {runs} {'try' if runs == 1 else 'tries'}"
    if not stage.is_free:
        return stage.why
    if len(said) == 1 and len(stage.inputs):
        return f"data rules it out: {stage.why}, {told} with other rows, fields and answers"
    if not stage.inputs:
        return f"data rules it out: {stage.why}, and nothing that comes from outside would change that"
    return f"other inputs are needed (`@choreography.workload`): {stage.why}, {told}"
