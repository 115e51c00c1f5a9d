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

TRIES = 60  # from where one script has come to, with other inputs each
QUICK = 16  # where there are other scripts to be tried
_AGAIN = 6  # where what is wanted was looked for in vain before
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
        self.in_vain: Counter[Wish] = Counter()  # with so many tries

    def follow(self, way: Sequence[Step], tries: int = TRIES) -> Told:
        """Try it until the code goes it, or until no other input is left that could matter, or so many made nothing."""
        order, known, runs, end = count(), set[frozenset[tuple[str, float]]](), 0, tries
        waiting: list[tuple[int, int, int, Deviations]] = []
        said: Counter[str] = Counter()  # what the tries did instead that came as far as the best
        best: list[tuple[Stage, Ending]] = []  # each came farther than the one before
        for given in self._first(way):
            heappush(waiting, (0, 0, next(order), given))
        while waiting and runs < end:
            given = heappop(waiting)[-1]
            if frozenset(given.items()) in known:
                continue
            known.add(frozenset(given.items()))
            stage = Stage(self.scene, way, given)
            ending, runs = stage.run(), runs + 1
            if stage.is_followed:
                self._learn(stage, len(stage.script))
                return Told(stage, ending, runs)
            if not best or stage.followed > best[-1][0].followed:
                self._learn(stage, stage.followed)
                best.append((stage, ending))
                said.clear()
                end = runs + (_AGAIN if self.in_vain[_wish(stage)] >= tries else tries)
            if stage.followed == best[-1][0].followed:
                said[stage.why] += 1
                for more in _varied(stage):
                    heappush(waiting, (-stage.followed, len(more) + 2 * (said[stage.why] > 1), next(order), more))
        stage, ending = best[-1]
        self.in_vain[_wish(stage)] = tries
        return Told(stage, ending, runs, _reason(stage, said, runs))

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
                self.in_vain.pop(_wish_of(step), None)


def _wish_of(step: Step) -> Wish:
    return runs_of(step), step.heard.partition("#")[0], tuple(each.partition("#")[0] for each in step.emitted)


def _wish(stage: Stage) -> Wish:
    return _wish_of(stage.script[stage.followed])


def _varied(stage: Stage) -> Iterator[Deviations]:
    """The same inputs but for one: each is changed once before one is changed again."""
    for changes in zip_longest(*([(key, each) for each in stage.options(key)] for key in stage.inputs)):
        yield from (stage.given | dict([change]) for change in changes if change is not None)


def _reason(stage: Stage, said: Counter[str], runs: int) -> str:
    """What stands in the way: the code, whatever it is given; or that nothing was found that it would need."""
    step = stage.script[stage.followed]
    starts = {flow.start for flow in stage.scene.choreography.flows.values()}
    if not stage.is_free:
        return stage.why
    told = f"in {runs} tries with other rows, fields and answers" if stage.inputs else "and takes no input from outside"
    if any(str(kind) == step.heard for kind in stage.scene.from_outside if kind not in starts):
        told += f" (the model has one {step.heard} in a flow: what another would bring is none of its ways)"
    if len(said) > 1:
        return f"other inputs are needed (`@choreography.workload`): {stage.why}, {told}"
    return f"data rules it out: {stage.why}, {told} (in one flow, where nothing dies and clocks are right)"
