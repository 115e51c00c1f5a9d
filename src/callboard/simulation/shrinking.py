"""From many deviations to the few that a failure needs: none of those that are left can be taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.simulation.choices import PUBLISH, Deviations

if TYPE_CHECKING:
    from collections.abc import Callable

_SIMPLE = (1.0, 60.0, 1800.0)  # amounts that are easier to read


class Shrinker:
    """Tries smaller and smaller sets of deviations. `fails` says whether a world with only these still breaks."""

    def __init__(self, fails: Callable[[Deviations], bool], *, most: int = 400) -> None:
        self._fails = fails
        self._most = most
        self.runs = 0

    def shrink(self, deviations: Deviations) -> Deviations:
        """The smallest that was found: 1-minimal, if `most` runs were enough."""
        left = self._halve({**deviations})
        left = self._one_by_one(left)
        return self._simplify(left)

    def _try(self, deviations: Deviations) -> bool:
        if self.runs >= self._most:
            return False
        self.runs += 1
        return self._fails(deviations)

    def _halve(self, left: Deviations) -> Deviations:
        parts = 2
        while len(left) > 1 and parts <= len(left):
            keys = list(left)
            size = -(-len(keys) // parts)
            for start in range(0, len(keys), size):
                gone = set(keys[start : start + size])
                fewer = {key: amount for key, amount in left.items() if key not in gone}
                if self._try(fewer):
                    left, parts = fewer, max(2, parts - 1)
                    break
            else:
                parts = parts * 2 if parts < len(left) else len(left) + 1
        return left

    def _one_by_one(self, left: Deviations) -> Deviations:
        again = True
        while again:
            again = False
            for key in list(left):
                fewer = {each: amount for each, amount in left.items() if each != key}
                if self._try(fewer):
                    left, again = fewer, True
        return left

    def _simplify(self, left: Deviations) -> Deviations:
        for key, amount in list(left.items()):
            if key.startswith(PUBLISH) or amount in (*_SIMPLE, 0.0):
                continue
            for simple in _SIMPLE:
                simpler = {**left, key: simple if amount > 0 else -simple}
                if self._try(simpler):
                    left = simpler
                    break
        return left
