"""A bank and a carrier for the shop, each in an SQLite file of its own: a kill -9 of the shop does not make them
forget.

What goes wrong is written on the card or the address, so that a bad day can be ordered: `declined`, `lost-2` (does
what was asked and loses the first two answers), `down-1` (the first call never arrives), `lost-always`, `down-
always`.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random

from shop import Bank, Carrier

BANK = """
CREATE TABLE IF NOT EXISTS key (key TEXT PRIMARY KEY, card TEXT, cents INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS movement (n INTEGER PRIMARY KEY, key TEXT, card TEXT NOT NULL, cents INTEGER NOT NULL);
"""
CARRIER = "CREATE TABLE IF NOT EXISTS booking (key TEXT PRIMARY KEY, tracking TEXT, state TEXT NOT NULL);"
CALLS = "CREATE TABLE IF NOT EXISTS call (n INTEGER PRIMARY KEY, key TEXT, what TEXT NOT NULL, came_to TEXT NOT NULL);"


class Book:
    """What a keeper writes down, with its calls: durable once the block ends, for any number of processes."""

    def __init__(self, path: Path, tables: str, latency: float) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")  # it is to survive a kill, not a power cut
        self._db.executescript(f"BEGIN IMMEDIATE; {tables + CALLS} COMMIT;")  # several workers begin at once
        self._latency = latency
        self._chance = Random()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def call(self, key: str, what: str, came_to: str) -> None:
        self._db.execute("INSERT INTO call (key, what, came_to) VALUES (?, ?, ?)", (key, what, came_to))

    def calls(self, key: str, what: str) -> int:
        return int(self._db.execute("SELECT count(*) FROM call WHERE key = ? AND what = ?", (key, what)).fetchone()[0])

    def refuse_if_down(self, trouble: str, key: str, what: str) -> None:
        """The call does not arrive, if its trouble says so."""
        if trouble == "down-always" or (trouble == "down-1" and self.calls(key, what) == 0):
            self.call(key, what, "never arrived")
            raise ConnectionError("nobody answers")

    def lose_answer(self, trouble: str, key: str, what: str) -> None:
        """What was asked is done; the answer does not arrive, if the trouble says so."""
        if trouble == "lost-always" or (trouble == "lost-2" and self.calls(key, what) <= 2):
            raise ConnectionError("the answer was lost")

    async def travel(self) -> None:
        """A call takes its time, there and back."""
        await asyncio.sleep(self._chance.uniform(0.2, 1.0) * self._latency)


def trouble_of(name: str) -> str:
    """What is written on a card or an address: "lost-2" of "lost-2/4711"."""
    return name.partition("/")[0]


class BankInAFile(Bank):
    """Takes money once for each key, and remembers: every movement is a row."""

    def __init__(self, path: Path, latency: float = 0.03) -> None:
        self._book = Book(path, BANK, latency)

    async def charge(self, card: str, amount: Decimal, *, key: str) -> str | None:
        trouble = trouble_of(card)
        await self._book.travel()
        self._book.refuse_if_down(trouble, key, "charge")
        with self._book.writing() as db:
            came_to = self._charged(db, card, int(amount * 100), key)
            self._book.call(key, "charge", came_to)
        await self._book.travel()
        self._book.lose_answer(trouble, key, "charge")
        return f"ref-{key[:8]}" if came_to in ("charged", "charged before") else None

    def _charged(self, db: sqlite3.Connection, card: str, cents: int, key: str) -> str:
        known = db.execute("SELECT state FROM key WHERE key = ?", (key,)).fetchone()
        if known is not None:
            return f"{known[0]} before"
        state = "declined" if trouble_of(card) == "declined" else "charged"
        db.execute("INSERT INTO key (key, card, cents, state) VALUES (?, ?, ?, ?)", (key, card, cents, state))
        if state == "charged":
            db.execute("INSERT INTO movement (key, card, cents) VALUES (?, ?, ?)", (key, card, cents))
        return state

    async def void(self, *, key: str) -> None:
        await self._book.travel()
        with self._book.writing() as db:
            known = db.execute("SELECT card, cents, state FROM key WHERE key = ?", (key,)).fetchone()
            if known is not None and known[2] == "charged":
                db.execute("INSERT INTO movement (key, card, cents) VALUES (?, ?, ?)", (key, known[0], -known[1]))
            put = "INSERT INTO key (key, cents, state) VALUES (?, 0, 'void')"
            db.execute(f"{put} ON CONFLICT (key) DO UPDATE SET state = 'void'", (key,))
            self._book.call(key, "void", "nothing to void" if known is None else f"{known[2]} before")
        await self._book.travel()
        if known is not None and trouble_of(known[0] or "").startswith("lost"):
            self._book.lose_answer("lost-2", key, "void")  # the line gets better in the end


class CarrierInAFile(Carrier):
    """Sends one parcel for each key, unless the key was closed before."""

    def __init__(self, path: Path, latency: float = 0.03) -> None:
        self._book = Book(path, CARRIER, latency)

    async def book(self, address: str, *, key: str) -> str | None:
        trouble = trouble_of(address)
        await self._book.travel()
        self._book.refuse_if_down(trouble, key, "book")
        with self._book.writing() as db:
            state, tracking = self._booked(db, address, key)
            self._book.call(key, "book", state)
        await self._book.travel()
        self._book.lose_answer(trouble, key, "book")
        return tracking

    def _booked(self, db: sqlite3.Connection, address: str, key: str) -> tuple[str, str | None]:
        known = db.execute("SELECT state, tracking FROM booking WHERE key = ?", (key,)).fetchone()
        if known is not None:
            return f"{known[0]} before", known[1]
        if trouble_of(address) == "island":
            return "refused", None
        tracking = f"1Z-{key}"
        db.execute("INSERT INTO booking (key, tracking, state) VALUES (?, ?, 'booked')", (key, tracking))
        return "booked", tracking

    async def close(self, *, key: str) -> str | None:
        await self._book.travel()
        with self._book.writing() as db:
            known = db.execute("SELECT state, tracking FROM booking WHERE key = ?", (key,)).fetchone()
            if known is None:
                db.execute("INSERT INTO booking (key, state) VALUES (?, 'closed')", (key,))
            self._book.call(key, "close", "closed" if known is None else f"{known[0]} before")
        await self._book.travel()
        return known[1] if known is not None else None
