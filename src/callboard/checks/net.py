"""A net: bits that are on or off, and transitions that need some on and some off, and switch some. A state is a number.

What depends on what is read from the bits, so that the exploration can leave out orders that make no difference.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple


class Switch(NamedTuple):
    """If all of `on` are on and none of `off` is: `clear` go off, then `set` go on."""

    on: int = 0
    off: int = 0
    clear: int = 0
    set: int = 0


class Transition(NamedTuple):
    """Something that can happen: enabled by `on` and `off`, and then all switches, in order."""

    on: int
    off: int
    switches: tuple[Switch, ...]
    label: Any = None

    def fire(self, state: int) -> int:
        """The state after it."""
        for on, off, clear, to_set in self.switches:
            if state & on == on and not state & off:
                state = state & ~clear | to_set
        return state


class Touched(NamedTuple):
    """Which bits a transition needs on, needs off, looks at in its switches, may set, may clear."""

    on: int
    off: int
    looks: int
    sets: int
    clears: int


class Bits:
    """Names of bits. A bit exists once somebody asked for it."""

    def __init__(self) -> None:
        self.masks: dict[Hashable, int] = {}

    def of(self, *name: Hashable) -> int:
        """The mask of this bit."""
        found = self.masks.get(name)
        if found is None:
            found = self.masks[name] = 1 << len(self.masks)
        return found

    def get(self, *name: Hashable) -> int:
        """The mask of this bit, or none if nobody asked for it."""
        return self.masks.get(name, 0)


def each_bit(mask: int) -> Iterator[int]:
    """The numbers of the bits that are on."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class Net:
    """Transitions, where they begin, and what depends on what."""

    def __init__(self, initial: int, transitions: Sequence[Transition], scratch: int = 0) -> None:
        self.initial = initial
        self.transitions = tuple(transitions)
        self._scratch = scratch  # bits that are off again when a transition is over
        self.triggers = 0  # one bit of each transition's `on`, by which it is found
        self._by_bit: dict[int, list[int]] = {}
        for number, each in enumerate(self.transitions):
            lowest = each.on & -each.on
            self.triggers |= lowest
            self._by_bit.setdefault(lowest.bit_length() - 1, []).append(number)

    def replaced(self, changes: Mapping[int, Transition]) -> "Net":
        """The same net with some transitions changed; each still needs on what it needed."""
        changed = copy(self)
        changed.transitions = tuple(changes.get(number, each) for number, each in enumerate(self.transitions))
        for derived in ("_touched", "dependents", "setters", "clearers"):
            changed.__dict__.pop(derived, None)
        return changed

    def enabled(self, state: int) -> list[int]:
        """The transitions that may happen now, by number."""
        found: list[int] = []
        transitions = self.transitions
        for bit in each_bit(state & self.triggers):
            for number in self._by_bit[bit]:
                on, off, _, _ = transitions[number]
                if state & on == on and not state & off:
                    found.append(number)
        return found

    @cached_property
    def _touched(self) -> list[Touched]:
        found: list[Touched] = []
        for each in self.transitions:
            looks, sets, clears = 0, 0, 0
            for switch in each.switches:
                looks |= switch.on | switch.off
                sets |= switch.set
                clears |= switch.clear
            kept = ~self._scratch
            found.append(Touched(each.on, each.off, looks & kept, sets & kept, clears & kept))
        return found

    @cached_property
    def dependents(self) -> list[int]:
        """Of each transition: those that it may disable or change, or that may do so to it, as a mask of numbers.

        One that only enables another does not depend on it: where that one came first, it can still come first.
        """
        index = [self._index(place) for place in range(len(Touched._fields))]
        need_on, need_off, looked, set_by, cleared_by = index
        found: list[int] = []
        for each in self._touched:
            mask = 0
            for bits, others in (
                (each.sets, (need_off, looked, cleared_by)),
                (each.clears, (need_on, looked, set_by)),
                (each.off, (set_by,)),
                (each.on, (cleared_by,)),
                (each.looks, (set_by, cleared_by)),
            ):
                for bit in each_bit(bits):
                    for other in others:
                        mask |= other.get(bit, 0)
            found.append(mask)
        return found

    @cached_property
    def setters(self) -> dict[int, int]:
        """Of each bit: the transitions that may set it."""
        return self._index(3)

    @cached_property
    def clearers(self) -> dict[int, int]:
        """Of each bit: the transitions that may clear it."""
        return self._index(4)

    def _index(self, place: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for number, touched in enumerate(self._touched):
            for bit in each_bit(touched[place]):
                found[bit] = found.get(bit, 0) | 1 << number
        return found
