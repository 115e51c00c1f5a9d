"""The ordinary SQLite ledger, on a disk in memory that survives its worker, with commits that fail or are the last."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from callboard.errors import LedgerBusy, LedgerError
from callboard.ledgers.sqlite import Commit, SqliteLedger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from callboard.ledger import Entry, FlowRow, Parked, Position, StateWrite
    from callboard.ledgers.sqlite_transaction import SqliteTransaction
    from callboard.simulation.worker import Worker


_MOST_BLANK = 16
PASSED = 1 << 62  # where those stand that are to hear nothing
_KEPT = ("ledger", "name", "reaction", "hearer")
_BLANK: list[Blank] = []  # the newest last


class Blank(NamedTuple):
    """A database of a world that is over, emptied: to lay out another takes longer than to live on it."""

    db: sqlite3.Connection
    layout: object  # the choreography and the worker that it was opened for
    schema: int  # another number once somebody has made or dropped a table
    filled: list[str]  # the tables that a world fills
    names: dict[int, str]

    @classmethod
    def of(cls, db: sqlite3.Connection, layout: object) -> Blank:
        """This one, which nobody has written to yet."""
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled = [name for name in tables if name not in _KEPT]
        schema = db.execute("PRAGMA schema_version").fetchone()[0]
        return cls(db, layout, schema, filled, dict(db.execute("SELECT number, name FROM name")))

    @classmethod
    def taken(cls, layout: object) -> Blank | None:
        """One that is left over and as if it were new, if there is one."""
        found = next((blank for blank in _BLANK if blank.layout == layout), None)
        if found is not None:
            _BLANK.remove(found)
            found.db.execute("UPDATE ledger SET identity = ?", (os.urandom(16),))
        return found

    def give_back(self) -> None:
        """Nothing that was written is left, but who reads there: from the beginning, as on a new one."""
        db = self.db
        if db.in_transaction:
            db.execute("ROLLBACK")
        if db.execute("PRAGMA schema_version").fetchone()[0] != self.schema:
            db.close()  # a reaction made a table of its own
            return
        db.execute("BEGIN")
        for name in self.filled:
            db.execute(f'DELETE FROM "{name}"')  # noqa: S608 - our own name
        db.execute("DELETE FROM name WHERE number > ?", (len(self.names),))
        db.execute("DELETE FROM reaction WHERE since > 0 OR NOT live")
        db.execute("UPDATE reaction SET pos = 0, open = NULL, paused = NULL, by = NULL")
        db.execute("UPDATE ledger SET head = 0, edits = 0, prunes = 0, pruned_to = 0")
        db.execute("COMMIT")
        _BLANK.append(self)
        if len(_BLANK) > _MOST_BLANK:
            _BLANK.pop(0).db.close()


class Disk:
    """One database. It is there when its worker is not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.blank: Blank | None = None
        self.db: sqlite3.Connection | None = None
        self.flows: dict[int, str] = {}  # a flow's number here -> its id
        self.early = False  # something came that could not be taken in yet

    def cut(self) -> None:
        """What was not committed is gone."""
        if self.db is not None and self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def leave(self) -> None:
        """The world is over."""
        if self.blank is not None:
            self.blank.give_back()
            self.blank = self.db = None

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows as they are committed; none of a disk that was never used."""
        return [] if self.db is None else self.db.execute(statement, values).fetchall()


class Written:
    """What one transaction wrote: its methods are listened to."""

    def __init__(self, tx: Any) -> None:
        self.entries: list[Entry] = []
        self.rows: list[Parked] = []
        self.flows: list[FlowRow] = []
        self.changed: list[FlowRow] = []
        self.saved: list[StateWrite] = []
        tx.append = self._heard(tx.append, self.entries)
        tx.park = self._heard(tx.park, self.rows)
        tx.start_flows = self._heard(tx.start_flows, self.flows)
        tx.update_flows = self._heard(tx.update_flows, self.changed)
        tx.save = self._heard(tx.save, self.saved)

    @property
    def ended(self) -> list[FlowRow]:
        """The flows that are kept here and got their verdict, some of which began in this transaction too."""
        return [row for row in (*self.flows, *self.changed) if row.verdict is not None and row.name]

    @staticmethod
    def _heard(write: Callable[[Any], Awaitable[None]], into: list[Any]) -> Callable[[Any], Awaitable[None]]:
        def listen(rows: Sequence[Any]) -> Awaitable[None]:
            into.extend(rows)
            return write(rows)

        return listen


class Perilous(Commit):
    """As ever, but it may be the last, or fail."""

    __slots__ = ("_written",)
    _ledger: SimulatedLedger

    async def __aenter__(self) -> SqliteTransaction:
        worker = self._ledger.worker
        if worker.strikes("busy", worker.name, "finds the ledger's lock taken") is not None:
            raise LedgerBusy("somebody else is committing (simulated)")
        tx = await super().__aenter__()
        self._written = Written(tx)
        return tx

    async def __aexit__(self, cls: object, error: BaseException | None, trace: object) -> None:
        labels: list[str] = []
        if error is None:
            try:
                labels = await self._before()
            except BaseException:
                self._ledger.roll_back()
                raise
        await super().__aexit__(cls, error, trace)
        if error is None:
            self._ledger.worker.committed(self._ledger.disk, self._written)
        for label in labels:
            await self._ledger.worker.may_die(f"after it committed {label}")

    async def _before(self) -> list[str]:
        worker = self._ledger.worker
        named = worker.note(self._ledger.disk, self._written)
        labels = named or (["its places"] if worker.world.loop.stepped is not None else [])
        for label in labels:
            await worker.may_die(f"before it commits {label}")
        if named and worker.strikes("full", f"{worker.name} {labels[0]}", "finds the disk full") is not None:
            raise LedgerError("database or disk is full (simulated)")
        return labels


class SimulatedLedger(SqliteLedger):
    """The ledger of one life of a worker."""

    def __init__(self, disk: Disk, worker: Worker) -> None:
        super().__init__("sqlite:///:memory:", synchronous="OFF")
        self.disk = disk
        self.worker = worker
        self._is_safe = False

    async def open(self, names: Collection[str], states: Collection[str]) -> None:
        """A new disk is laid out; one that was used is taken as it was left."""
        disk = self.disk
        if disk.db is None:
            layout = self.worker.world.scene.choreography, self.worker.name
            disk.blank = Blank.taken(layout)
            if disk.blank is None:
                await super().open(names, states)
                disk.blank = Blank.of(self._db, layout)
            disk.db = disk.blank.db
            self._know(disk.blank.names)
        self._db = disk.db
        if not self._names:
            self._load_names()

    async def close(self) -> None:
        """The disk stays."""

    async def positions(self) -> list[Position]:
        """As they were left; who is silent has passed everything."""
        found = await super().positions()
        silent = self.worker.world.scene.silent
        return [replace(each, pos=PASSED, open=()) if each.reaction in silent else each for each in found]

    async def moved(self) -> bool:
        """Nobody else commits here."""
        return False

    async def register(
        self, positions: Sequence[Position], renamed: Mapping[str, str], tokens: Mapping[str, int] | None = None
    ) -> None:
        """In no danger, since a disk that was used before knows its readers."""
        with self._safely():
            await super().register(positions, renamed, tokens)

    async def tell_hearers(self, hears: Mapping[str, Collection[str]]) -> None:
        """In no danger either."""
        with self._safely():
            await super().tell_hearers(hears)

    @contextmanager
    def _safely(self) -> Iterator[None]:
        self._is_safe = True
        try:
            yield
        finally:
            self._is_safe = False

    def transaction(self, tokens: Mapping[str, int]) -> Commit:
        """As ever, but it may be the last, or fail."""
        return Commit(self, tokens) if self._is_safe else Perilous(self, tokens)
