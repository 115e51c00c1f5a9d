"""The transaction of a commit in the hands of a reaction: SQL on tables of its own, and on nothing else."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from callboard.errors import TransactionRefused
from callboard.ledgers.sqlite_layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_OWN = {statement.split()[2] for statement in TABLES.split(";") if "TABLE" in statement.split()[:2]}
_REFUSED = {
    sqlite3.SQLITE_TRANSACTION: "it is committed with the run, or not at all: raise an exception to take it back",
    sqlite3.SQLITE_SAVEPOINT: "it is committed with the run, or not at all: raise an exception to take it back",
    sqlite3.SQLITE_ATTACH: "a commit goes to one file: keep the tables in this one",
    sqlite3.SQLITE_DETACH: "a commit goes to one file: keep the tables in this one",
    sqlite3.SQLITE_PRAGMA: "the settings of the connection are callboard's",
}
_SECOND_IS_COLUMN = (sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE)
_TROUBLE = (sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL)


class Results(list[Any]):
    """The rows of one statement, read to the end; with what a cursor of sqlite3 says of them."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        super().__init__(cursor.fetchall())
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid

    def fetchone(self) -> Any:
        """The next row, or None; it is taken from the list."""
        return self.pop(0) if self else None

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows, self[:] = list(self), []
        return rows


class SqliteLent:
    """SQL under a savepoint of the open transaction. An authorizer of sqlite3 stands guard over each statement."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: sqlite3.Connection | None = db
        self._refused: str | None = None
        self._trouble: sqlite3.Error | None = None
        db.execute("SAVEPOINT lent")

    def execute(self, sql: str, parameters: Any = (), /) -> Results:
        """Run one statement; its rows."""
        return self._guarded(lambda db: db.execute(sql, parameters))

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Results:
        """Run one statement for each of `rows`."""
        values = list(rows)
        return self._guarded(lambda db: db.executemany(sql, values))

    def _guarded(self, statement: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> Results:
        db, self._refused = self._db, None
        if db is None:
            raise TransactionRefused("ctx.transaction was used after its run: what it is lent for is over")
        db.set_authorizer(self._authorize)
        try:
            return Results(statement(db))
        except sqlite3.Error as error:
            if self._refused is not None:
                raise TransactionRefused(f"ctx.transaction: {self._refused}") from error
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _TROUBLE:
                self._trouble = error  # the database's, whatever the reaction makes of it
            raise
        finally:
            db.set_authorizer(None)

    def _authorize(self, action: int, first: str | None, second: str | None, *_: object) -> int:
        self._refused = self._refused or _REFUSED.get(action)
        for name in (first,) if action in _SECOND_IS_COLUMN else (first, second):
            if name is not None and (name.lower() in _OWN or name.lower().startswith("state_")):
                self._refused = (
                    f"{name} is a table of callboard's: take states as parameters, and give tables of yours other names"
                )
        return sqlite3.SQLITE_OK if self._refused is None else sqlite3.SQLITE_DENY

    async def end(self, *, keep: bool) -> bool:
        """What the SQL has done stays in the transaction, or is taken back. False if it has ended the transaction.

        Raises sqlite3.Error where the database failed and not the SQL.
        """
        db, self._db = self._db, None
        if self._trouble is not None:
            raise self._trouble
        if db is None or not db.in_transaction:
            return False
        if not keep:
            db.execute("ROLLBACK TO lent")
        db.execute("RELEASE lent")
        return True
