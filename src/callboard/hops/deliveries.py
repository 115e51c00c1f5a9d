"""What is open: for each reaction of this process its position, the deliveries it has begun, and what stands in their
way.

A *line* is one (reaction, key), the unit of order. A delivery holds *keys* while it is open: its line, the state rows
it names, its pair (a reaction and its compensations) and its `once` group. Holders of one key go one at a time, in
log order.
"""

from __future__ import annotations

import heapq
from bisect import insort
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from callboard.contract import Contract
    from callboard.hops.plain import Plan
    from callboard.ledger import Entry, Parked, Wish
    from callboard.reaction import Reaction

Key = tuple[str, ...]
RowKey = tuple[int, int]  # (position, effect)

_AHEAD = 256  # open deliveries of one reaction; behind that it reads the log from disk


class Delivery:
    """One event on its way through one reaction of this process."""

    __slots__ = (
        "announced", "announced_in", "attempts", "broken", "effects", "entry", "keys", "line", "logged", "parked",
        "part", "reader", "repeats", "running", "standing", "suspect", "trigger", "value",
    )  # fmt: skip

    def __init__(self, reader: Reader, entry: Entry, parked: Parked | None = None) -> None:
        self.reader = reader
        self.entry = entry
        self.trigger = entry  # the event itself; a timer's entry stands for the event that armed it
        self.logged: Entry | None = None  # the event as the log has it, where an operator has edited it
        self.value: Any = None
        self.line = ""
        self.part = ""
        self.keys: tuple[Key, ...] = ()
        self.parked = parked
        self.attempts = parked.attempts if parked else 0
        self.effects: list[int] | None = [parked.effect] if parked and parked.effect else None
        self.suspect = False  # it may have been running when the process died
        self.announced = False  # this attempt is written down already
        self.announced_in = -1  # by this group; it starts once that is committed
        self.running = False
        self.standing = False  # it stands in line for its keys
        self.repeats = 0
        self.broken: Exception | None = None  # why it failed, where its commit went down with it

    def __lt__(self, other: Delivery) -> bool:
        return (self.entry.pos, self.reader.order) < (other.entry.pos, other.reader.order)

    @property
    def wished(self) -> bool:
        """Whether an operator asked for this attempt."""
        return self.wish is not None

    @property
    def wish(self) -> Wish | None:
        """The replay that an operator asked for."""
        wish = self.parked.asked if self.parked is not None else None
        return wish if wish is not None and wish.what == "replay" else None

    @property
    def row(self) -> RowKey:
        """Its place among the parked rows of its reaction."""
        return (self.entry.pos, self.parked.effect if self.parked else 0)


class Reader:
    """One reaction as this process runs it: where it stands in the log and what of it is not finished."""

    def __init__(self, contract: Contract, reaction: Reaction, *, order: int, tag: str) -> None:
        self.contract = contract
        self.reaction = reaction
        self.path = self.known_as = contract.path  # the name in ids and keys stays where the other changes
        self.order = order
        self.tag = tag
        self.outside = contract.reaches_outside
        self.raw = False  # it has asked for the ledger's transaction: it runs inside of a commit
        self.since = 0
        self.pos = 0
        self.lag: int | None = None  # it fell behind here and reads the log from disk
        self.open: dict[int, Delivery] = {}
        self.done: set[int] = set()  # finished or parked although behind `pos`
        self.rows: dict[RowKey, Parked] = {}
        self.over: set[int] = set()  # flows that have their verdict: their dead letters stop nobody
        self.blocked: dict[str, list[RowKey]] = {}
        self.flow_rows: dict[int, set[RowKey]] = {}
        self.running = 0
        self.tasks: set[asyncio.Future[Any]] = set()  # runs that go on beside the groups, of all readers
        self.limit = contract.options.concurrency
        self.steps = not contract.ports  # an async one without a port is stepped where it stands
        self.watches = False  # its gate looks back into the flow
        self.flow_bound = False  # its line is the flow, whatever keys its events declare
        self.plan: Plan | None = None  # of a plain reaction that may go the short way
        self.pair: str | None = None  # the reaction whose effects it takes or undoes
        self.pair_by_part = False
        self.most = _AHEAD
        self.named_rows = tuple(row for row in contract.states if row.form in ("row", "maybe"))
        self.late_rows = any(not kind.carries(row.state.key) for row in self.named_rows for kind in contract.hears)
        self.late_rows = self.late_rows or (bool(self.named_rows) and contract.is_join)
        self.loose = contract.options.order == "loose"

    @property
    def after_commit(self) -> bool:
        """Whether everything that its runs read is committed before."""
        return self.outside or self.raw

    @property
    def full(self) -> bool:
        """Whether it has as much open as it may."""
        return len(self.open) >= self.most

    def blocks(self, parked: Parked) -> bool:
        """Whether later deliveries of the line wait behind this row."""
        if parked.why in ("timer", "half"):
            return False
        return not (parked.why == "dead" and (self.loose or parked.flow in self.over))

    def add_row(self, parked: Parked) -> None:
        """Remember a parked row; its line is blocked behind it if it is of that kind."""
        row = (parked.pos, parked.effect)
        if row in self.rows:
            self.drop_row(row)
        self.rows[row] = parked
        self.flow_rows.setdefault(parked.flow, set()).add(row)
        if self.blocks(parked):
            insort(self.blocked.setdefault(parked.line, []), row)

    def drop_row(self, row: RowKey) -> Parked | None:
        """Forget a parked row and what it blocked."""
        parked = self.rows.pop(row, None)
        if parked is None:
            return None
        rows = self.flow_rows[parked.flow]
        rows.discard(row)
        if not rows:
            del self.flow_rows[parked.flow]
        self.unblock(row, parked)
        return parked

    def unblock(self, row: RowKey, parked: Parked) -> None:
        """Nobody stands behind this row any more."""
        line = self.blocked.get(parked.line)
        if line is not None and row in line:
            line.remove(row)
            if not line:
                del self.blocked[parked.line]

    def finished(self, pos: int) -> bool:
        """Whether this reaction needs nothing more for the event at `pos`, but for timers and halves of joins."""
        if pos in self.open or (pos > self.pos and pos not in self.done):
            return False
        parked = self.rows.get((pos, 0))
        return parked is None or not self.blocks(parked)


class Holds:
    """Who holds or waits for a key, in log order. The first of each list holds it."""

    def __init__(self) -> None:
        self.lists: dict[Key, list[Delivery]] = {}  # empty where nobody holds anything

    def free(self, keys: tuple[Key, ...]) -> bool:
        """Whether nobody holds or waits for any of these."""
        lists = self.lists
        return not lists or not any(key in lists for key in keys)

    def first(self, delivery: Delivery) -> bool:
        """Whether the delivery is first for each of its keys."""
        return all(self.lists[key][0] is delivery for key in delivery.keys)

    def follows(self, delivery: Delivery, key: Key) -> bool:
        """Whether it stands behind another for this key."""
        return self.lists[key][0] is not delivery

    def join(self, delivery: Delivery, keys: tuple[Key, ...]) -> None:
        """Stand in line for `keys` too. A running holder is never overtaken."""
        for key in keys:
            waiting = self.lists.setdefault(key, [])
            if delivery in waiting:
                continue
            start = 1 if waiting and waiting[0].running else 0
            place = start
            while place < len(waiting) and waiting[place] < delivery:
                place += 1
            waiting.insert(place, delivery)
        delivery.keys = tuple(dict.fromkeys((*delivery.keys, *keys)))
        delivery.standing = True

    def leave(self, delivery: Delivery) -> list[Delivery]:
        """Give up all keys; returns those that became first for one."""
        delivery.standing = False
        heirs: list[Delivery] = []
        for key in delivery.keys:
            waiting = self.lists.get(key)
            if waiting is None or delivery not in waiting:
                continue
            was_first = waiting[0] is delivery
            waiting.remove(delivery)
            if not waiting:
                del self.lists[key]
            elif was_first:
                heirs.append(waiting[0])
        return heirs


class Agenda:
    """What becomes due: retries, timers, waits that end."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str, int, Reader]] = []

    def add(self, reader: Reader, parked: Parked) -> None:
        """Look at this row again when it is due."""
        if parked.due is not None:
            heapq.heappush(self._heap, (parked.due, parked.pos, reader.path, parked.effect, reader))

    def due(self, now: int) -> list[tuple[Reader, Parked]]:
        """Take what is due. Rows that are gone or were put off are dropped on the way."""
        found: list[tuple[Reader, Parked]] = []
        while self._heap and self._heap[0][0] <= now:
            due, pos, _, effect, reader = heapq.heappop(self._heap)
            parked = reader.rows.get((pos, effect))
            if parked is not None and parked.due == due:
                found.append((reader, parked))
        return found

    def next(self) -> int | None:
        """When something becomes due next."""
        return self._heap[0][0] if self._heap else None
