"""Where a peer that keeps no state of its own puts the five state writes of an order: a SQLite file, NORMAL."""

from __future__ import annotations

import sqlite3
from pathlib import Path


class Rows:
    """Four tables; each write is a commit of its own, beside whatever the peer commits."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "rows.db", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        for table in ("orders", "reservations", "payments", "shipments"):
            self._db.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, a TEXT, b TEXT) WITHOUT ROWID")

    def put(self, table: str, key: str, a: object, b: object = None) -> None:
        """Written again it is the same row: a step that is repeated does no harm."""
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (key, a, b))

    def completed(self) -> int:
        """How many orders are complete."""
        return int(self._db.execute("SELECT count(*) FROM orders WHERE a = 'complete'").fetchone()[0])


def order(number: int) -> dict[str, object]:
    """The order with this number, the same in every run and for every peer."""
    return {
        "order_id": f"o-{number:09d}",
        "customer": f"c-{number % 997}",
        "sku": f"sku-{number % 101}",
        "total": number % 500,
    }
