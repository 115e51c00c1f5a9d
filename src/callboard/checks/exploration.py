"""Goes through the states of a net: all of them, or so many that every end is among them (strong stubborn sets).

In each state the reduced exploration follows only a set of transitions that is closed: whatever could interfere with
one of them, or must happen before one of them can, is in it too. What is left out can happen later just as well, so
every state in which nothing more can happen is still reached, and bits that are never cleared tell there what happened
on the way.
"""

from collections.abc import Collection

from msgspec import Struct

from callboard.checks.net import Net, each_bit, union

SEEDS = 6  # how many transitions are tried as the beginning of a closed set


class Exploration(Struct):
    """The states that were seen, how each was first reached, and those in which nothing more can happen."""

    net: Net
    came: dict[int, tuple[int, int]]  # state -> the state before it, and the transition between; itself at the start
    ends: list[int]
    fired: int  # the transitions that happened anywhere, as a mask
    ever: int  # the bits that were on anywhere
    reduced: bool
    bounded: bool = False

    def path(self, state: int) -> list[int]:
        """The transitions of a shortest way to this state."""
        way: list[int] = []
        while (step := self.came[state])[1] >= 0:
            state = step[0]
            way.append(step[1])
        return way[::-1]

    def first(self, mask: int, *, ends_only: bool = False) -> int | None:
        """The state, among the nearest, in which all these bits are on."""
        return next((state for state in (self.ends if ends_only else self.came) if state & mask == mask), None)


def explore(net: Net, *, limit: int, reduced: bool = True) -> Exploration:
    """Breadth first, so the first way found to a state is a shortest one. Stops at `limit` states."""
    start = net.forget(net.initial)
    came: dict[int, tuple[int, int]] = {start: (start, -1)}
    found = Exploration(net, came, [], 0, start, reduced)
    edge = [start]
    while edge and not found.bounded:
        edge = _step(found, edge, limit)
    return found


def _step(found: Exploration, edge: list[int], limit: int) -> list[int]:
    """The states that are reached from these and were not known."""
    net = found.net
    following: dict[int, None] = {}
    for state in edge:
        enabled = net.enabled(state)
        if net.is_end(enabled):
            found.ends.append(state)
        chosen = stubborn(net, state, enabled) if found.reduced and len(enabled) > 1 else enabled
        if not _follow(found, state, chosen, following) and len(chosen) < len(enabled):
            _follow(found, state, enabled, following)  # a circle: what was left out might never have its turn
        if len(found.came) > limit:
            found.bounded = True
            break
    return list(following)


def _follow(found: Exploration, state: int, numbers: list[int], following: dict[int, None]) -> bool:
    """Let these happen; whether one of them led to a state that was not gone on from."""
    goes_on, fired = False, found.fired
    came, next_state = found.came, found.net.after
    for number in numbers:
        after = next_state(state, number)
        fired |= 1 << number
        if after not in came:
            came[after] = (state, number)
            found.ever |= after
            following[after] = None
        goes_on = goes_on or after in following
    found.fired = fired
    return goes_on


def shortest(net: Net, goal: int, *, below: int, limit: int) -> tuple[list[int] | None, bool]:
    """A shortest way to where all these bits are on; None if it has not fewer than `below` steps. And whether the
    search stopped at `limit` states, before that was known.

    In each state only what is closed around the steps that may switch on a missing bit is followed. On any way to the
    goal one of those is the first to come, and could have come at once: no way gets longer.
    """
    start = net.forget(net.initial)
    found = Exploration(net, {start: (start, -1)}, [], 0, start, reduced=True)
    edge = [start]
    for _ in range(below - 1):
        following: dict[int, None] = {}
        for state in edge:
            _follow(found, state, _toward(net, state, goal), following)
        reached = next((state for state in following if state & goal == goal), None)
        if reached is not None or len(found.came) > limit:
            return (None, True) if reached is None else (found.path(reached), False)
        edge = list(following)
    return None, False


def trimmed(net: Net, way: list[int], goal: int) -> list[int]:
    """The way without the steps that can be left out: the bits are on at its end all the same."""
    for place in reversed(range(len(way))):
        if _leads_to(net, (fewer := way[:place] + way[place + 1 :]), goal):
            way = fewer
    return way


def _leads_to(net: Net, way: list[int], goal: int) -> bool:
    state = net.initial
    for number in way:
        if not net.transitions[number].may(state):
            return False
        state = net.after(state, number)
    return state & goal == goal


def _toward(net: Net, state: int, goal: int) -> list[int]:
    """What may happen now of a closed set in which the goal is, the smallest of one for each missing bit."""
    enabled = net.enabled(state)
    here = union(1 << number for number in enabled)
    closed = [_closed(net, state, net.setters(bit), here) & here for bit in each_bit(goal & ~state)]
    fewest = min(closed, key=int.bit_count)
    return [number for number in enabled if fewest >> number & 1]


def find_end(
    net: Net, starts: Collection[int], *, on: int, off: int, known: Collection[int], limit: int, reduced: bool
) -> tuple[int | None, bool]:
    """An end with these bits on, not all of those of a known one, and on the way there never one of `off`; and whether
    the search stopped at `limit` states, before all were seen. It goes deep first, from the last start.
    """
    todo = [start for start in starts if not start & off]
    seen = set(todo)
    while todo:
        state = todo.pop()
        enabled = net.enabled(state)
        if state & on == on and net.is_end(enabled) and all(each & ~state for each in known):
            return state, False
        for number in stubborn(net, state, enabled) if reduced and len(enabled) > 1 else enabled:
            after = net.after(state, number)
            if after not in seen and not after & off:
                seen.add(after)
                todo.append(after)
        if len(seen) > limit:
            return None, True
    return None, False


def stubborn(net: Net, state: int, enabled: list[int]) -> list[int]:
    """The enabled transitions of a smallest closed set, of a few that are tried."""
    here = union(1 << number for number in enabled)
    if not here & ~net.optional:
        return enabled
    if not here & ~(net.dependents(enabled[0]) | 1 << enabled[0]):
        return enabled  # outcomes of one run: nothing to leave out
    best, fewest = here, len(enabled)
    tried = 0
    for seed in enabled:
        if (tried | net.optional) & (1 << seed):
            continue  # it is in a closed set that was found already, or it may wait for ever
        closed = _closed(net, state, 1 << seed, here) & here
        tried |= closed
        if (size := closed.bit_count()) < fewest:
            best, fewest = closed, size
            if size == 1:
                break
        if tried.bit_count() > SEEDS * fewest:
            break
    return enabled if best == here else [number for number in enabled if best >> number & 1]


def _closed(net: Net, state: int, seeds: int, here: int) -> int:
    """The smallest closed set with these transitions, where it is clear which; a closed one in any case."""
    closed = todo = seeds
    while todo:
        lowest = todo & -todo
        todo ^= lowest
        number = lowest.bit_length() - 1
        more = net.dependents(number) if here & lowest else net.enablers(number, state)
        more &= ~closed
        closed |= more
        todo |= more
    return closed
