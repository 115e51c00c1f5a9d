"""A net: bits that are on or off, and transitions that need some on and some off, and switch some. A state is a number.

What depends on what is read from the bits, so that the exploration can leave out orders that make no difference.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T", bound=Hashable)

COLUMNS = 10  # bits that two transitions have between them, at most: all combinations of them are tried
REMEMBERED = 20_000  # sets of triggers, with what they let happen
CHANGES = 1_000  # of a transition, by the bits that it looks at


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

    def may(self, state: int) -> bool:
        """Whether it is enabled."""
        return state & self.on == self.on and not state & self.off

    def fire(self, state: int) -> int:
        """The state after it."""
        kept, put = self.change(state)
        return state & kept | put

    def change(self, state: int) -> tuple[int, int]:
        """The bits that stay as they are in this state, and those that are on afterwards in any case."""
        kept, put = -1, 0
        for on, off, clear, to_set in self.switches:
            now = state & kept | put
            if now & on == on and not now & off:
                kept, put = kept & ~clear, put & ~clear | to_set
        return kept, put


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
        self.masks: dict[tuple[Hashable, ...], int] = {}

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
    """The bits that are on, each as a mask."""
    while mask:
        yield mask & -mask
        mask &= mask - 1


def union(these: Iterable[int]) -> int:
    """All bits that any of these masks has."""
    found = 0
    for each in these:
        found |= each
    return found


def gather(leads: Mapping[_T, Collection[_T]], own: Mapping[_T, int]) -> dict[_T, int]:
    """Of each thing: what it has itself, and everything that it leads to."""
    found = dict(own)
    order: list[_T] = []
    seen: set[_T] = set()
    for root in own:
        todo = [root]
        while todo:
            each = todo.pop()
            if each in seen:
                order.append(each)  # met again below all that it leads to
                continue
            seen.add(each)
            todo += [each, *(one for one in leads.get(each, ()) if one not in seen)]
    grown = True
    while grown:
        grown = False
        for each in order:
            mask = found[each] | union(found[one] for one in leads.get(each, ()))
            grown, found[each] = grown or mask != found[each], mask
    return found


class Net:
    """Transitions, where they begin, and what depends on what.

    `scratch` are bits that are off again when a transition is over, `observed` those that somebody looks at when all is
    over; `apart` says of a bit with which others it is on only where one of the two keeps the other from happening;
    `optional` are the numbers, as a mask, of what may happen or never happen.
    """

    def __init__(
        self,
        initial: int,
        transitions: Sequence[Transition],
        *,
        scratch: int = 0,
        observed: int = -1,
        apart: Mapping[int, int] | None = None,
        optional: int = 0,
    ) -> None:
        self.initial = initial
        self.transitions = tuple(transitions)
        self.scratch, self.observed = scratch, observed
        self.apart, self.optional = apart or {}, optional
        self._triggers = 0  # one bit of each transition's `on`, by which it is found
        self._by_bit: dict[int, list[tuple[int, int, int]]] = {}  # a transition's number, its `on` and its `off`
        for number, each in enumerate(self.transitions):
            lowest = each.on & -each.on
            self._triggers |= lowest
            self._by_bit.setdefault(lowest, []).append((number, each.on, each.off))
        self._near: dict[int, tuple[list[tuple[int, int, int]], int]] = {}
        self._changes: list[tuple[int, dict[int, tuple[int, int]]]] = [
            (union(switch.on | switch.off for switch in each.switches), {}) for each in self.transitions
        ]
        self._dependents: dict[int, int] = {}

    def replaced(self, transitions: Sequence[Transition], observed: int) -> "Net":
        """The same net with other transitions, looked at for something else."""
        return Net(
            self.initial, transitions, scratch=self.scratch, observed=observed, apart=self.apart, optional=self.optional
        )

    def looked_at_for(self, observed: int) -> "Net":
        """The same net, in which other bits matter when all is over."""
        other = copy(self)
        vars(other).update(observed=observed, _near={})
        return other

    def enabled(self, state: int) -> list[int]:
        """The transitions that may happen now, by number."""
        found, _ = self._near.get(state & self._triggers) or self._look_near(state & self._triggers)
        return [number for number, on, off in found if state & on == on and not state & off]

    def is_end(self, enabled: Iterable[int]) -> bool:
        """Whether nothing has to happen any more, where these may."""
        return all(self.optional >> number & 1 for number in enabled)

    def after(self, state: int, number: int) -> int:
        """The state after a transition, without the bits that nothing looks at any more."""
        looks, known = self._changes[number]
        change = known.get(state & looks)
        if change is None:
            change = self.transitions[number].change(state)
            if len(known) < CHANGES:
                known[state & looks] = change
        after = state & change[0] | change[1]
        near = self._near.get(after & self._triggers) or self._look_near(after & self._triggers)
        return after & near[1]

    def forget(self, state: int) -> int:
        """The state without the bits that nothing looks at any more, whatever happens."""
        _, kept = self._near.get(state & self._triggers) or self._look_near(state & self._triggers)
        return state & kept

    def _look_near(self, triggers: int) -> tuple[list[tuple[int, int, int]], int]:
        """What these triggers may let happen, and the bits that anything looks at from there on."""
        found: list[tuple[int, int, int]] = []
        kept = self.observed
        for bit in each_bit(triggers):
            found += self._by_bit[bit]
            kept |= self._looked_at[bit]
        if len(self._near) > REMEMBERED:
            self._near.clear()
        self._near[triggers] = found, kept
        return found, kept

    @cached_property
    def _looked_at(self) -> dict[int, int]:
        """Of each trigger: the bits that are looked at by whatever can happen once it is on."""
        leads: dict[int, list[int]] = {}
        found: dict[int, int] = {}
        for bit, triggered in self._by_bit.items():
            touched = [self._touched[number] for number, _, _ in triggered]
            found[bit] = union(each.on | each.off | each.looks for each in touched)
            leads[bit] = list(each_bit(union(each.sets for each in touched) & self._triggers))
        return gather(leads, found)

    @cached_property
    def _touched(self) -> list[Touched]:
        found: list[Touched] = []
        for each in self.transitions:
            looks, sets, clears = 0, 0, 0
            for switch in each.switches:
                looks |= switch.on | switch.off
                sets |= switch.set
                clears |= switch.clear
            kept = ~self.scratch
            found.append(Touched(each.on, each.off, looks & kept, sets & kept, clears & kept))
        return found

    def dependents(self, number: int) -> int:
        """Those that a transition may disable or change, or that may do so to it, as a mask of numbers.

        One that only enables another does not depend on it: where that one came first, it can still come first.
        """
        found = self._dependents.get(number)
        if found is None:
            found = 0
            for other in each_bit(self._touching(number)):
                if self._interferes(number, other.bit_length() - 1):
                    found |= other
            self._dependents[number] = found
        return found

    def _touching(self, number: int) -> int:
        """Those that touch what it touches, in a way that could matter."""
        need_on, need_off, looked, set_by, cleared_by = self._index
        each = self._touched[number]
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
        return mask & ~(1 << number)

    def _interferes(self, one: int, other: int) -> bool:
        if self._dependents.get(other) is not None:
            return bool(self._dependents[other] >> one & 1)
        first, second = self.transitions[one], self.transitions[other]
        if first.on & second.off or first.off & second.on:
            return False  # they never can happen both
        if any(second.on & self.apart.get(bit, 0) for bit in each_bit(first.on)):
            return False
        return not commute(first, second, self.scratch)

    @cached_property
    def _index(self) -> list[dict[int, int]]:
        """Of each bit and each way to touch it: the transitions that do."""
        found: list[dict[int, int]] = [{} for _ in Touched._fields]
        for number, touched in enumerate(self._touched):
            for index, mask in zip(found, touched, strict=True):
                for bit in each_bit(mask):
                    index[bit] = index.get(bit, 0) | 1 << number
        return found

    def enablers(self, number: int, state: int) -> int:
        """Those of which one must happen before this one can, which cannot happen now."""
        on, off, _, _ = self.transitions[number]
        if missing := on & ~state:
            return self.setters(missing & -missing)
        blocking = off & state
        return self._index[4].get(blocking & -blocking, 0)

    def setters(self, bit: int) -> int:
        """Those that may switch this bit on."""
        return self._index[3].get(bit, 0)


def commute(one: Transition, other: Transition, scratch: int = 0) -> bool:
    """Whether two transitions that can happen both leave each other possible, and end alike in either order.

    Every combination of the bits that matter to both is looked at in one go: a bit is a column of a truth table.
    """
    matter = _that_matter(one, other, scratch)
    known = one.on | other.on | one.off | other.off | scratch
    free = list(each_bit(matter & ~known))
    if len(free) > COLUMNS:
        return False
    every = (1 << (1 << len(free))) - 1
    table = dict.fromkeys(each_bit(known), 0) | dict.fromkeys(each_bit(one.on | other.on), every)
    for place, bit in enumerate(free):
        half = 1 << place
        table[bit] = every // ((1 << 2 * half) - 1) * ((1 << half) - 1)
    ends: list[dict[int, int]] = []
    for first, second in ((one, other), (other, one)):
        columns = dict(table)
        _switch(columns, first, every, matter)
        if any(columns[bit] != every for bit in each_bit(second.on)) or any(map(columns.get, each_bit(second.off))):
            return False
        _switch(columns, second, every, matter)
        ends.append({bit: columns[bit] for bit in each_bit(matter)})
    return ends[0] == ends[1]


def _that_matter(one: Transition, other: Transition, scratch: int) -> int:
    """The bits that one changes and the other touches, and all that these depend on or make depend on them."""
    changed, touched = [0, 0], [one.on | one.off, other.on | other.off]
    for place, each in enumerate((one, other)):
        for switch in each.switches:
            changed[place] |= switch.set | switch.clear
            touched[place] |= switch.on | switch.off | switch.set | switch.clear
    matter = (changed[0] & touched[1] | changed[1] & touched[0]) & ~scratch
    before = 0
    while matter != before:
        before = matter
        for on, off, clear, to_set in (*one.switches, *other.switches):
            if (on | off | clear | to_set) & matter:
                matter |= on | off | (clear | to_set if (on | off) & matter else 0)
    return matter


def _switch(columns: dict[int, int], transition: Transition, every: int, matter: int) -> None:
    for on, off, clear, to_set in transition.switches:
        if not (clear | to_set) & matter:
            continue
        rows = every
        for bit in each_bit(on):
            rows &= columns[bit]
        for bit in each_bit(off):
            rows &= ~columns[bit]
        for bit in each_bit(clear & matter):
            columns[bit] &= ~rows
        for bit in each_bit(to_set & matter):
            columns[bit] |= rows
