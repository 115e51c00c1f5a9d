"""What commits together: the outcomes of many runs, in the order in which they came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.hops.attempt import Attempt
    from callboard.hops.deliveries import Delivery, Key, Reader
    from callboard.hops.gate import Ready
    from callboard.hops.publish import Publication
    from callboard.ledger import Entry, FlowRow, Memory, Note, Parked, StateKey, StateWrite, Transaction


class Moved(Exception):
    """What the group was built on has changed, or its commit was lost: it must be built again."""


class Outcome:
    """What came of one delivery (or of one run of it): everything that its commit writes."""

    __slots__ = (
        "attempt", "before", "delivery", "direct", "done", "drops", "entries", "loads", "memories", "notes", "parks",
        "writes",
    )  # fmt: skip

    def __init__(self, delivery: Delivery, attempt: Attempt | None = None) -> None:
        self.delivery = delivery
        self.attempt = attempt
        self.before = delivery.parked  # its row, as it was
        self.entries: list[Entry] = []
        self.writes: list[StateWrite] = []
        self.loads: dict[StateKey, int] = {}
        self.memories: list[Memory] = []
        self.notes: list[Note] = []
        self.parks: list[tuple[Reader, Parked]] = []
        self.drops: list[tuple[Reader, Parked]] = []
        self.direct = False  # decided of a parked row, without making it run
        self.done = True  # the delivery is finished, or parked


class Group:
    """One group: begun at `now`, on a log whose head was `head`."""

    def __init__(self, head: int, edits: int, now: int, read: int, *, fused: bool) -> None:
        self.head = head
        self.edits = edits
        self.now = now
        self.read = read  # what had been handed out when it began
        self.fused = fused
        self.entries: list[Entry] = []
        self.outcomes: list[Outcome] = []
        self.publications: list[Publication] = []
        self.opened: list[Delivery] = []
        self.taken: list[tuple[Reader, Parked]] = []  # rows that were due
        self.caught: list[tuple[Reader, int | None]] = []  # how far they had fallen behind
        self.ahead = False  # something of it was handed out, or built on, before its commit
        self.keys: set[Key] = set()  # what its plain runs have used
        self.looked: set[StateKey] = set()  # rows that runs which went the short way have seen
        self.hot: set[Reader] = set()  # reactions that met a row which the group has changed
        self.again = False  # one of them runs in the next group at once
        self.touched: set[Reader] = set()
        self.seen: list[Entry] = []  # what was handed out to the reactions
        self.deadlines = False  # one may have passed
        self.undo: list[Callable[[], object]] = []  # what the tracker decided, taken back if the commit fails
        self.closed: list[tuple[Reader, Parked]] = []  # waits that a verdict ended
        self.decided: list[FlowRow] = []
        self.raws: list[tuple[Delivery, Ready]] | None = None  # to be run inside the commit; None: of no such group
        self.tx: Transaction | None = None  # open, and lent to them
        self.recounted: list[FlowRow] = []  # failed before: what leaked has changed
        self.notes: list[Note] = []  # what the tracker has to tell

    def append(self, entry: Entry) -> None:
        """Give the entry its place behind the head; it is final if nobody else commits before."""
        entry.pos = self.head + len(self.entries) + 1
        self.entries.append(entry)

    def shift(self, head: int) -> None:
        """Somebody else has committed: the places move behind theirs. Only a group that was not fused can be moved."""
        by = head - self.head
        for entry in self.entries:
            entry.pos += by
            if entry.flow > self.head:
                entry.flow += by
            if entry.cause > self.head:
                entry.cause += by
        for publication in self.publications:
            publication.shift(self.head, by)
        self.head = head

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.entries or self.outcomes or self.publications or self.raws)
