"""Every choice of a world is a keyed hash of its seed, so that removing one fault never shifts another.

What is not harmless is a deviation, and is written down by its key: "late OrderShipped#order-1 -> orders". A world can
be run again with some of its deviations only.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, TypeVar

from callboard.simulation.faults import FAULTS, SWARM

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

T = TypeVar("T")
Deviations = dict[str, float]
PUBLISH = "publish"


class Choices:
    """What happens in a world: drawn from its seed, or exactly the deviations in `forced`."""

    def __init__(
        self, seed: int, faults: Collection[str], *, swarm: bool = True, forced: Mapping[str, float] | None = None
    ) -> None:
        self.seed = seed
        self._drawn = blake2b(f"{seed} ".encode(), digest_size=7)
        self.calm = False  # faults have stopped
        self.deviations: Deviations = {}
        self._forced = forced
        self._lasting: dict[str, tuple[str, float]] = {}  # place -> what strikes there, and how often still
        self._visits: dict[str, int] = {}
        self._rates = {
            name: FAULTS[name].rate * (self.pick(f"swarm {name}", SWARM) if swarm else 1.0) for name in faults
        }

    def draw(self, key: str) -> float:
        """In [0, 1), the same for this key whenever it is asked."""
        drawn = self._drawn.copy()
        drawn.update(key.encode())
        return int.from_bytes(drawn.digest(), "big") / (1 << 56)

    def choose(self, key: str, special: int) -> float:
        """As `draw`; where somebody looks for it on purpose, 1 + n: the n-th of so many special values."""
        return self.draw(key)

    def pick(self, key: str, options: Sequence[T]) -> T:
        """One of these."""
        return options[int(self.draw(key) * len(options))]

    def between(self, key: str, low: float, high: float) -> float:
        """A number between these."""
        return low + (high - low) * self.draw(key)

    def visit(self, key: str) -> str:
        """The key, counted: what comes a second time is a choice of its own."""
        count = self._visits[key] = self._visits.get(key, 0) + 1
        return key if count == 1 else f"{key} ({count})"

    def visited(self, fault: str) -> list[str]:
        """Every place at which this fault could have struck, in a world that was run with forced deviations."""
        keys = [(key, count) for key, count in self._visits.items() if key.startswith(f"{fault} ")]
        return [key if n == 1 else f"{key} ({n})" for key, count in keys for n in range(1, count + 1)]

    def strikes(self, fault: str, where: str) -> float | None:
        """The amount of the fault if it strikes here, else None."""
        rate = self._rates.get(fault, 0.0)
        if self._forced is None and (self.calm or not rate):
            return None
        place = f"{fault} {where}"
        key = self.visit(place)
        if self._forced is not None:
            key, amount = self._repeated(place, key)
        elif self.draw(key) >= rate:
            amount = None
        else:
            amount = float(self.pick(f"amount {key}", FAULTS[fault].amounts))
        if amount is not None:
            self.deviations.pop(key, None)  # the last is the one that has struck now
            self.deviations[key] = amount
        return amount

    def _repeated(self, place: str, key: str) -> tuple[str, float | None]:
        """What is forced here, or was and goes on: where an amount is a count, it strikes so many times in a row."""
        forced = self._forced or {}
        if key in forced:
            self._lasting[place] = (key, forced[key] if FAULTS[place.partition(" ")[0]].is_counted else 1)
        key, left = self._lasting.get(place, (key, 0))
        self._lasting[place] = (key, left - 1)
        return key, forced[key] if left > 0 else None

    def publishes(self, what: str) -> bool:
        """Whether this is published: always, unless a smaller story is told."""
        key = self.visit(f"{PUBLISH} {what}")
        if self._forced is not None and key not in self._forced:
            return False
        self.deviations[key] = 0.0
        return True


class Steady(Random):
    """Chance for what spreads retries and makes ids: no draw depends on how many were made before elsewhere."""

    def __init__(self, seed: str) -> None:
        super().__init__(0)
        self._seed = seed
        self._count = 0

    def random(self) -> float:
        """In the middle, always."""
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        """Bits of their own each time."""
        self._count += 1
        digest = blake2b(f"{self._seed} {self._count}".encode(), digest_size=64).digest()
        return int.from_bytes(digest, "big") >> (512 - k)
