"""From many deviations to the few that a failure needs: none of those that are left can be taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.simulation.choices import PUBLISH, Deviations

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Tries = Generator[Deviations, bool, Deviations]  # deviations to live with; whether it still failed; what is left

_SIMPLE = (1.0, 60.0, 1800.0)  # amounts that are easier to read


class Shrinker:
    """Tries smaller and smaller sets of deviations."""

    def __init__(self, *, most: int = 400) -> None:
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
        left = yield from self._one_by_one(left)
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

    def _simplify(self, left: Deviations) -> Tries:
        for key, amount in list(left.items()):
            if key.startswith(PUBLISH) or amount in (*_SIMPLE, 0.0):
                continue
            for simple in _SIMPLE:
                simpler = {**left, key: simple if amount > 0 else -simple}
                if (yield from self._try(simpler)):
                    left = simpler
                    break
        return left
