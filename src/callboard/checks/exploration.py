"""Goes through the states of a net: all of them, or so many that every end is among them (strong stubborn sets).

In each state the reduced exploration follows only a set of transitions that is closed: whatever could interfere with
one of them, or must happen before one of them can, is in it too. What is left out can happen later just as well, so
every state in which nothing more can happen is still reached, and bits that are never cleared tell there what happened
on the way.
"""

from collections.abc import Callable

from msgspec import Struct

from callboard.checks.net import Net, each_bit

SEEDS = 6  # how many transitions are tried as the beginning of a closed set


class Exploration(Struct):
    """The states that were seen, how each was first reached, and those in which nothing more can happen."""

    net: Net
    came: dict[int, tuple[int, int]]  # state -> the state before it, and the transition between; itself at the start
    ends: list[int]
    fired: int  # the transitions that happened anywhere, as a mask
    ever: int  # the bits that were on anywhere
    bounded: bool

    def path(self, state: int) -> list[int]:
        """The transitions of a shortest way to this state."""
        way: list[int] = []
        while (step := self.came[state])[1] >= 0:
            state = step[0]
            way.append(step[1])
        return way[::-1]

    def first(self, holds: Callable[[int], bool], *, ends_only: bool = False) -> int | None:
        """The state, among the nearest, for which this holds."""
        return next((state for state in (self.ends if ends_only else self.came) if holds(state)), None)


def explore(net: Net, *, limit: int, reduced: bool = True) -> Exploration:
    """Breadth first, so the first way found to a state is a shortest one. Stops at `limit` states."""
    start = net.initial
    came: dict[int, tuple[int, int]] = {start: (start, -1)}
    found = Exploration(net, came, [], 0, start, bounded=False)
    edge = [start]
    while edge and not found.bounded:
        edge = _step(found, edge, limit=limit, reduced=reduced)
    return found


def _step(found: Exploration, edge: list[int], *, limit: int, reduced: bool) -> list[int]:
    """The states that are reached from these and were not known."""
    net, came = found.net, found.came
    following: list[int] = []
    for state in edge:
        enabled = net.enabled(state)
        if not enabled:
            found.ends.append(state)
            continue
        for number in stubborn(net, state, enabled) if reduced and len(enabled) > 1 else enabled:
            found.fired |= 1 << number
            after = net.transitions[number].fire(state)
            if after not in came:
                came[after] = (state, number)
                found.ever |= after
                following.append(after)
        if len(came) > limit:
            found.bounded = True
            return following
    return following


def find_end(net: Net, wanted: Callable[[int], bool], *, start: int, limit: int) -> tuple[int | None, bool]:
    """An end like that, going deep first; and whether the search had to stop at `limit` states before all were seen."""
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        enabled = net.enabled(state)
        if not enabled and wanted(state):
            return state, False
        for number in enabled:
            after = net.transitions[number].fire(state)
            if after not in seen:
                seen.add(after)
                todo.append(after)
        if len(seen) > limit:
            return None, True
    return None, False


def stubborn(net: Net, state: int, enabled: list[int]) -> list[int]:
    """The enabled transitions of a smallest closed set, of a few that are tried."""
    here = 0
    for number in enabled:
        here |= 1 << number
    if not here & ~(net.dependents[enabled[0]] | 1 << enabled[0]):
        return enabled  # outcomes of one run: nothing to leave out
    best, fewest = here, len(enabled)
    tried = 0
    for seed in enabled:
        if tried & (1 << seed):
            continue  # it is in a closed set that was found already
        closed = _closed(net, state, seed, here) & here
        tried |= closed
        if (size := closed.bit_count()) < fewest:
            best, fewest = closed, size
            if size == 1:
                break
        if tried.bit_count() > SEEDS * fewest:
            break
    return enabled if best == here else [number for number in enabled if best >> number & 1]


def _closed(net: Net, state: int, seed: int, here: int) -> int:
    """The smallest closed set with this transition, where it is clear which; a closed one in any case."""
    dependents, transitions = net.dependents, net.transitions
    closed = todo = 1 << seed
    while todo:
        lowest = todo & -todo
        todo ^= lowest
        number = lowest.bit_length() - 1
        if here & lowest:
            more = dependents[number]
        else:  # it cannot happen now: one of those must happen first that switch a bit which stands in its way
            on, off, _, _ = transitions[number]
            if missing := on & ~state:
                more = net.setters.get(next(each_bit(missing)), 0)
            else:
                more = net.clearers.get(next(each_bit(off & state)), 0)
        more &= ~closed
        closed |= more
        todo |= more
    return closed
