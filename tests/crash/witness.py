"""What the ledger file itself saw of its commits, written down in the same transactions by the workers under test.

A promise that the code checks for itself would look kept although the check is wrong: this looks from the side. Each
commit leaves who made it and which positions it gave; triggers note a verdict that changes, a position that moves back,
and keep what is pruned.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from callboard.ledger import Ownership
from callboard.ledgers.sqlite import SqliteLedger
from callboard.ledgers.sqlite_transaction import SqliteTransaction

TABLES = """
CREATE TABLE IF NOT EXISTS witness_commit (worker TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    tokens TEXT NOT NULL, time TEXT NOT NULL DEFAULT (strftime('%H:%M:%f')));
CREATE TABLE IF NOT EXISTS witness_owner (service TEXT NOT NULL, token INTEGER NOT NULL, worker TEXT NOT NULL,
    clean INTEGER NOT NULL, head INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS witness_fault (what TEXT NOT NULL, told TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS witness_log AS SELECT * FROM log WHERE 0;
CREATE TABLE IF NOT EXISTS witness_flow AS SELECT * FROM flow WHERE 0;
CREATE TRIGGER IF NOT EXISTS witness_pruned_log BEFORE DELETE ON log
    BEGIN INSERT INTO witness_log SELECT * FROM log WHERE pos = OLD.pos; END;
CREATE TRIGGER IF NOT EXISTS witness_pruned_flow BEFORE DELETE ON flow
    BEGIN INSERT INTO witness_flow SELECT * FROM flow WHERE number = OLD.number AND name = OLD.name; END;
CREATE TRIGGER IF NOT EXISTS witness_verdict AFTER UPDATE OF verdict ON flow
    WHEN OLD.verdict IS NOT NULL AND NEW.verdict IS NOT OLD.verdict
    BEGIN INSERT INTO witness_fault
    VALUES ('two verdicts', OLD.key || ': ' || OLD.verdict || ', then ' || NEW.verdict); END;
CREATE TRIGGER IF NOT EXISTS witness_position AFTER UPDATE OF pos ON reaction WHEN NEW.pos < OLD.pos
    BEGIN INSERT INTO witness_fault
    VALUES ('positions that moved back', NEW.reaction || ': ' || OLD.pos || ' to ' || NEW.pos); END;
"""


def install(worker: str) -> None:
    """From here on every commit of this worker is witnessed."""
    opened, committed, owned = SqliteLedger.open, SqliteLedger.transaction, SqliteLedger.own

    async def open_witnessed(self: SqliteLedger, names: Collection[str], states: Collection[str]) -> None:
        await opened(self, names, states)
        _create(self._db)

    @asynccontextmanager
    async def commit_witnessed(self: SqliteLedger, tokens: Mapping[str, int]) -> AsyncIterator[SqliteTransaction]:
        async with committed(self, tokens) as tx:
            low = tx.head
            yield tx
            row = (worker, low, tx.head, json.dumps(dict(tokens)))
            self._db.execute("INSERT INTO witness_commit (worker, low, high, tokens) VALUES (?, ?, ?, ?)", row)

    async def own_witnessed(self: SqliteLedger, service: str) -> Ownership | None:
        ownership = await owned(self, service)
        if ownership is not None:
            row = (service, ownership.token, worker, ownership.clean, await self.head())
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._db.execute("INSERT INTO witness_owner VALUES (?, ?, ?, ?, ?)", row)
            self._db.execute("PRAGMA busy_timeout = 0")
        return ownership

    SqliteLedger.open = open_witnessed  # type: ignore[method-assign]
    SqliteLedger.transaction = commit_witnessed  # type: ignore[method-assign]
    SqliteLedger.own = own_witnessed  # type: ignore[method-assign]


def _create(ledger: sqlite3.Connection) -> None:
    ledger.execute("PRAGMA busy_timeout = 10000")
    if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'witness_position'").fetchone():
        ledger.executescript("BEGIN IMMEDIATE;" + TABLES + "COMMIT;")
    ledger.execute("PRAGMA busy_timeout = 0")
