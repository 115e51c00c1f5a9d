"""From many deviations to the few that a failure needs: none of those that are left can be taken away, and where they
are many a smaller story is sought in which others stand for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from callboard.simulation.choices import PUBLISH, Deviations
from callboard.simulation.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    Tries = Generator[Deviations, bool, Deviations]  # deviations to live with; whether it still failed; what is left

_COUNTED = {name for name, fault in FAULTS.items() if fault.is_counted}
_SIMPLE = (1.0, 60.0, 1800.0)  # amounts that are easier to read
_ALWAYS = 9.0  # of what is counted: more attempts than anybody has
_FEW = 3  # deviations that nobody would want fewer of


class Shrinker:
    """Tries smaller and smaller sets of deviations."""

    def __init__(self, *, most: int = 400, places: Callable[[Deviations], Sequence[str]] = lambda _: ()) -> None:
        self._places = places  # where faults could have struck in a world with these only, by their keys
        self._most = most
        self.runs = 0

    def shrink(self, deviations: Deviations, fails: Callable[[Deviations], bool]) -> Deviations:
        """The smallest that was found: 1-minimal, if `most` runs were enough. `fails` says whether a world with only
        these still breaks.
        """
        tries = self.tries(deviations)
        try:
            fewer = next(tries)
            while True:
                fewer = tries.send(fails(fewer))
        except StopIteration as end:
            left: Deviations = end.value
            return left

    def tries(self, deviations: Deviations) -> Tries:
        """The same step by step, for whoever cannot answer at once."""
        left = yield from self._halve({**deviations})
        left = yield from self._in_a_row((yield from self._one_by_one(left)))
        if len(left) > _FEW:
            self._most += self._most * 2
            left = yield from self._one_by_one((yield from self._other(left)))
        return (yield from self._simplify(left))

    def _try(self, deviations: Deviations) -> Generator[Deviations, bool, bool]:
        if self.runs >= self._most:
            return False
        self.runs += 1
        return (yield deviations)

    def _halve(self, left: Deviations) -> Tries:
        parts = 2
        while len(left) > 1 and parts <= len(left):
            keys = list(left)
            size = -(-len(keys) // parts)
            for start in range(0, len(keys), size):
                gone = set(keys[start : start + size])
                fewer = {key: amount for key, amount in left.items() if key not in gone}
                if (yield from self._try(fewer)):
                    left, parts = fewer, max(2, parts - 1)
                    break
            else:
                parts = parts * 2 if parts < len(left) else len(left) + 1
        return left

    def _one_by_one(self, left: Deviations) -> Tries:
        again = True
        while again:
            again = False
            for key in list(left):
                fewer = {each: amount for each, amount in left.items() if each != key}
                if (yield from self._try(fewer)):
                    left, again = fewer, True
        return left

    def _other(self, left: Deviations) -> Tries:
        """A story of few in which others stand for these, if there is one: what is published, another, and a fault."""
        published = [key for key in left if key.startswith(f"{PUBLISH} ")]
        for key in published:
            for more in [[], *([each] for each in sorted(left, key=published.__contains__) if each != key)]:
                for fewer in self._with_one_more({each: left[each] for each in (key, *more)}):
                    if (yield from self._try(fewer)):
                        return fewer
        return left

    def _with_one_more(self, story: Deviations) -> Iterator[Deviations]:
        """This one, and it with a fault at each place that it comes by; nothing where its own does not strike."""
        places = self._places(story) if self.runs < self._most else ()
        if all(key in places or key.startswith(f"{PUBLISH} ") for key in story):
            yield story
            for place in places:
                if place not in story:
                    fault = place.partition(" ")[0]
                    yield {**story, place: FAULTS[fault].amounts[-1]}
                    if fault in _COUNTED and not place.endswith(")"):
                        yield {**story, place: _ALWAYS}

    def _in_a_row(self, left: Deviations) -> Tries:
        """What strikes one place again and again is one thing."""
        places: dict[str, list[str]] = {}
        for key in left:
            if key.partition(" ")[0] in _COUNTED:
                places.setdefault(re.sub(r" \(\d+\)$", "", key), []).append(key)
        for first, *others in places.values():
            fewer = {key: len(others) + 1.0 if key == first else left[key] for key in left if key not in others}
            if others and (yield from self._try(fewer)):
                left = fewer
        return left

    def _simplify(self, left: Deviations) -> Tries:
        for key, amount in list(left.items()):
            if key.startswith(PUBLISH) or amount in (*_SIMPLE, 0.0):
                continue
            for simple in _SIMPLE if key.partition(" ")[0] not in _COUNTED else range(1, int(amount)):
                simpler = {**left, key: simple if amount > 0 else -simple}
                if (yield from self._try(simpler)):
                    left = simpler
                    break
        return left
