"""The ordinary SQLite ledger, on a disk in memory that survives its worker, with commits that fail or are the last."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from callboard.errors import LedgerBusy, LedgerError
from callboard.ledgers.sqlite import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from callboard.ledger import Entry, FlowRow, Parked
    from callboard.ledgers.sqlite_transaction import SqliteTransaction
    from callboard.simulation.worker import Worker


class Disk:
    """One database. It is there when its worker is not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.db: sqlite3.Connection | None = None
        self.flows: dict[int, str] = {}  # a flow's number here -> its id
        self.asked = False  # an operator has left a wish

    def cut(self) -> None:
        """What was not committed is gone."""
        if self.db is not None and self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows as they are committed; none of a disk that was never used."""
        return [] if self.db is None else self.db.execute(statement, values).fetchall()


class Written:
    """What one transaction wrote, beside the transaction itself."""

    def __init__(self, tx: SqliteTransaction) -> None:
        self._tx = tx
        self.entries: list[Entry] = []
        self.rows: list[Parked] = []
        self.flows: list[FlowRow] = []
        self.ended: list[FlowRow] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def append(self, entries: Sequence[Entry]) -> None:
        self.entries += entries
        await self._tx.append(entries)

    async def park(self, rows: Sequence[Parked]) -> None:
        self.rows += rows
        await self._tx.park(rows)

    async def start_flows(self, rows: Sequence[FlowRow]) -> None:
        self.flows += rows
        await self._tx.start_flows(rows)

    async def update_flows(self, rows: Sequence[FlowRow]) -> None:
        self.ended += [row for row in rows if row.verdict is not None]
        await self._tx.update_flows(rows)


class SimulatedLedger(SqliteLedger):
    """The ledger of one life of a worker."""

    def __init__(self, disk: Disk, worker: Worker) -> None:
        super().__init__("sqlite:///:memory:", synchronous="OFF")
        self._disk = disk
        self.worker = worker

    async def open(self, names: Collection[str], states: Collection[str]) -> None:
        """A new disk is laid out; one that was used is taken as it was left."""
        if self._disk.db is None:
            await super().open(names, states)
            self._disk.db = self._db
        else:
            self._db = self._disk.db
            self._load_names()

    async def close(self) -> None:
        """The disk stays."""

    async def moved(self) -> bool:
        """Nobody else commits here, but an operator may have left a wish."""
        moved, self._disk.asked = self._disk.asked, False
        return moved

    @asynccontextmanager
    async def transaction(self, tokens: Mapping[str, int]) -> AsyncIterator[SqliteTransaction]:
        """As ever, but it may be the last, or fail."""
        worker = self.worker
        if worker.strikes("busy", worker.name, "finds the ledger's lock taken") is not None:
            raise LedgerBusy("somebody else is committing (simulated)")
        async with super().transaction(tokens) as tx:
            written = Written(tx)
            yield cast("SqliteTransaction", written)
            labels = worker.note(self._disk, written)
            for label in labels:
                await worker.may_die(f"before it commits {label}")
            if labels and worker.strikes("full", f"{worker.name} {labels[0]}", "finds the disk full") is not None:
                raise LedgerError("database or disk is full (simulated)")
        worker.committed(self._disk, written)
        for label in labels:
            await worker.may_die(f"after it committed {label}")
