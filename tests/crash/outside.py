"""The outside world: a bank, a carrier, a till, an office, the post and a gauge. No crash of ours reaches them.

What they know lies in an SQLite file of its own, committed before an answer is given. An idempotency key is charged
once; the file says how often a purpose was really charged, and by which keys. Answers get lost, calls fail before they
take place.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from random import Random

from shop import payments, shipping

from . import depot, lines

TABLES = """
CREATE TABLE IF NOT EXISTS account (key TEXT PRIMARY KEY, purpose TEXT NOT NULL, charged INTEGER NOT NULL DEFAULT 0,
    voided INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS closed (purpose TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS booking (key TEXT PRIMARY KEY, tracking TEXT, closed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS letter (key TEXT PRIMARY KEY, consignment TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gauge (dial TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS call (id INTEGER PRIMARY KEY, worker TEXT NOT NULL, what TEXT NOT NULL, key TEXT NOT NULL,
    outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS call_key ON call (key, what);
"""
MOST_FAULTS = 3  # of one call; after that it goes through


class Outage(ConnectionError):
    """The call failed, or its answer is lost: who called cannot tell."""


def create(path: Path) -> None:
    """The file with its tables is there."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.executescript(TABLES)


class World:
    """One worker's way to the outside."""

    def __init__(self, path: Path, worker: str, chance: Random) -> None:
        self.worker = worker
        self.chance = chance
        self._file = sqlite3.connect(path, timeout=20, isolation_level=None)
        self._file.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def kept(self) -> Iterator[sqlite3.Connection]:
        """What is done in the block is durable when it ends."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield self._file
            self._file.execute("COMMIT")
        finally:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")

    def note(self, what: str, key: str, outcome: str) -> None:
        """The call is written down with what came of it. Called inside `kept`."""
        self._file.execute(
            "INSERT INTO call (worker, what, key, outcome) VALUES (?, ?, ?, ?)", (self.worker, what, key, outcome)
        )

    async def fault(self, what: str, key: str) -> str:
        """What goes wrong: nothing ("ok"), or the answer is "lost" or "late". Raises Outage: the call never happens."""
        await asyncio.sleep(self.chance.random() * 0.02)
        query = "SELECT count(*) FROM call WHERE key = ? AND what = ? AND outcome != 'ok'"
        seen = self._file.execute(query, (key, what)).fetchone()[0]
        draw = self.chance.random()
        if seen >= MOST_FAULTS or draw > 0.22:
            return "ok"
        if draw < 0.08:
            with self.kept():
                self.note(what, key, "failed")
            raise Outage(f"{what}: no connection")
        return "late" if draw < 0.10 else "lost"

    async def answer(self, fault: str, what: str) -> None:
        """Let the answer through, or lose it, now that the call has taken place."""
        await asyncio.sleep(self.chance.random() * 0.02)
        if fault == "late":
            await asyncio.sleep(1.0)
        elif fault == "lost":
            raise Outage(f"{what}: the answer was lost")


class Accounts:
    """The bank's book. A voided key or purpose is closed: it is never charged afterwards."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def charge(self, purpose: str, key: str, *, cursed: bool) -> str | None:
        fault = await self.world.fault("charge", key)
        with self.world.kept() as file:
            closed = file.execute("SELECT closed FROM account WHERE key = ?", (key,)).fetchone()
            shut = file.execute("SELECT 1 FROM closed WHERE purpose = ?", (purpose.partition("/")[0],)).fetchone()
            refused = shut is not None or (closed is not None and bool(closed[0]))
            self.world.note("charge again" if refused else "charge", key, fault)
            if not refused:
                file.execute("INSERT OR IGNORE INTO account (key, purpose) VALUES (?, ?)", (key, purpose))
                file.execute("UPDATE account SET charged = charged + 1 WHERE key = ? AND charged = 0", (key,))
        await self.world.answer("lost" if cursed else fault, "charge")
        return None if refused else f"paid {key}"

    async def void(self, key: str) -> None:
        fault = await self.world.fault("void", key)
        with self.world.kept() as file:
            file.execute("INSERT OR IGNORE INTO account (key, purpose) VALUES (?, ?)", (key, ""))
            file.execute("UPDATE account SET closed = 1, voided = charged WHERE key = ?", (key,))
            self.world.note("void", key, fault)
        await self.world.answer(fault, "void")

    async def void_all(self, purpose: str) -> None:
        fault = await self.world.fault("void all", purpose)
        with self.world.kept() as file:
            file.execute("INSERT OR IGNORE INTO closed VALUES (?)", (purpose,))
            query = "UPDATE account SET closed = 1, voided = charged WHERE purpose LIKE ?"
            file.execute(query, (f"{purpose}/%",))
            self.world.note("void all", purpose, fault)
        await self.world.answer(fault, "void all")


class CrashBank(payments.Bank):
    """The bank of the shop. A card "declined" is refused, the answers for a "cursed" one never come."""

    def __init__(self, world: World) -> None:
        self._accounts = Accounts(world)

    async def charge(self, card: str, amount: Decimal, *, key: str) -> str | None:
        if card == "declined":
            return None
        return await self._accounts.charge(key, key, cursed=card == "cursed")

    async def void(self, *, key: str) -> None:
        await self._accounts.void(key)


class CrashTill(depot.Till):
    """The till of the depot. Some purposes are refused, for a few the answers never come."""

    def __init__(self, world: World) -> None:
        self._accounts = Accounts(world)

    async def charge(self, purpose: str, *, key: str) -> str | None:
        luck = fortune(purpose)
        if luck < 4:
            return None
        return await self._accounts.charge(purpose, key, cursed=luck == 99)

    async def void(self, *, key: str) -> None:
        await self._accounts.void(key)

    async def void_all(self, purpose: str) -> None:
        await self._accounts.void_all(purpose)


class CrashCarrier(shipping.Carrier):
    """Books a parcel once for a key, unless the key was closed before; now and then there is no carrier."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def book(self, *, key: str) -> str | None:
        if fortune(key) < 10:
            return None
        fault = await self._world.fault("book", key)
        with self._world.kept() as file:
            file.execute("INSERT OR IGNORE INTO booking (key) VALUES (?)", (key,))
            query = "UPDATE booking SET tracking = ? WHERE key = ? AND closed = 0 AND tracking IS NULL"
            file.execute(query, (f"1Z-{key}", key))
            tracking = file.execute("SELECT tracking FROM booking WHERE key = ?", (key,)).fetchone()[0]
            self._world.note("book", key, fault)
        await self._world.answer(fault, "book")
        return str(tracking) if tracking else None

    async def close(self, *, key: str) -> str | None:
        fault = await self._world.fault("close", key)
        with self._world.kept() as file:
            file.execute("INSERT OR IGNORE INTO booking (key) VALUES (?)", (key,))
            file.execute("UPDATE booking SET closed = 1 WHERE key = ?", (key,))
            tracking = file.execute("SELECT tracking FROM booking WHERE key = ?", (key,)).fetchone()[0]
            self._world.note("close", key, fault)
        await self._world.answer(fault, "close")
        return str(tracking) if tracking else None


class CrashOffice(depot.Office):
    """Stamps papers in a thread: slowly, not all, and not always at the first try."""

    def __init__(self, world: World) -> None:
        self._chance = world.chance
        self._clock = threading.Event()

    def stamp(self, consignment_id: str, *, hurried: bool) -> bool:
        self._clock.wait(self._chance.random() * (0.03 if hurried else 0.3))
        if self._chance.random() < 0.1:
            raise Outage("the office is closed")
        return fortune(consignment_id) >= 8


class CrashMail(depot.Mail):
    """Sends one letter for a key."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, consignment_id: str, *, key: str) -> None:
        fault = await self._world.fault("send", key)
        with self._world.kept() as file:
            file.execute("INSERT OR IGNORE INTO letter VALUES (?, ?)", (key, consignment_id))
            self._world.note("send", key, fault)
        await self._world.answer(fault, "send")


class CrashGauge(lines.Gauge):
    """Shows the last number of a dial. A number may be shown again, none is left out and none goes back."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def show(self, dial: str, number: int) -> None:
        fault = await self._world.fault("show", f"{dial}-{number}")
        with self._world.kept() as file:
            row = file.execute("SELECT number FROM gauge WHERE dial = ?", (dial,)).fetchone()
            last = row[0] if row else 0
            outcome = fault if number in (last, last + 1) else f"out of order after {last}"
            file.execute("INSERT OR REPLACE INTO gauge VALUES (?, ?)", (dial, max(number, last)))
            self._world.note("show", f"{dial}-{number}", outcome)
        await self._world.answer(fault, "show")


def fortune(key: str) -> int:
    """0 to 99, always the same for a key."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") % 100
