"""A broker in a SQLite file of its own, for services on one machine that keep a ledger each."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from random import Random
from typing import TYPE_CHECKING

from callboard.broker import Delivery, Features, Unsendable
from callboard.errors import BrokerError, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

    from callboard.envelope import Envelope

_LAYOUT = 1
_MARK = 0x63626272  # "cbbr", so that a ledger is never taken for a broker
_TRIES = 200  # for the file's lock, a few milliseconds apart
_TABLES = """
CREATE TABLE subscription (name TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (name, type)) WITHOUT ROWID;
CREATE INDEX subscription_type ON subscription (type);
CREATE TABLE waiting (place INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX waiting_subscription ON waiting (subscription, place);
"""
_PUT = "INSERT INTO waiting (subscription, data) SELECT name, ? FROM subscription WHERE type = ? ORDER BY name"
_GET = "SELECT place, data FROM waiting WHERE subscription = ? ORDER BY place LIMIT ?"


class SqliteBroker:
    """The file named by `url` ("sqlite:///bus.db"). Any number of programs may open it; what is sent is on the disk."""

    features = Features(keeps_order=True, replays_history=False, survives_restart=True)

    def __init__(self, url: str, *, synchronous: str = "FULL", largest: int = 8_388_608) -> None:
        self.url = url
        self._path = url.removeprefix("sqlite:///")
        self._synchronous = synchronous
        self._largest = largest
        self._wakes: dict[Callable[[], None], None] = {}  # in the order of opening
        self._chance = Random()  # noqa: S311 - spreads tries for a lock
        self._open: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._open is None:
            raise BrokerUnavailable(f"{self.url}: it is not open")
        return self._open

    async def open(self, wake: Callable[[], None]) -> None:
        """Open or create the file. What other programs send is not told, it is found when asked for."""
        self._wakes[wake] = None
        if self._open is not None:
            return
        with _errors(self.url):
            self._open = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA busy_timeout = 0")
        async with self._transaction() as db:
            layout, mark = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
            if (layout, mark) == (_LAYOUT, _MARK):
                return
            if layout or mark or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise BrokerError(f"{self.url}: this file holds something else: name a file of its own for the broker")
            for statement in _TABLES.strip().split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_LAYOUT}")
            db.execute(f"PRAGMA application_id = {_MARK}")

    async def close(self, wake: Callable[[], None]) -> None:
        """The file is closed when nobody in this program needs it any more."""
        self._wakes.pop(wake, None)
        if not self._wakes and self._open is not None:
            self._open.close()
            self._open = None

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        """The subscription is in the file."""
        rows = [(subscription, each) for each in sorted(types)]
        async with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO subscription VALUES (?, ?)", rows)

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        """All are in the file, in one commit, in this order, but those that are too large."""
        written = [(envelope, envelope.encode()) for envelope in envelopes]
        rows = [(data, envelope.type) for envelope, data in written if len(data) <= self._largest]
        async with self._transaction() as db:
            db.executemany(_PUT, rows)
        for wake in self._wakes:
            wake()
        large = [(envelope, len(data)) for envelope, data in written if len(data) > self._largest]
        return [Unsendable(envelope, f"it has {size} bytes, {self._largest} fit") for envelope, size in large]

    async def receive(self, subscription: str, *, limit: int) -> Sequence[Delivery]:
        """The oldest that wait. Until they are acknowledged they are handed over each time."""
        with _errors(self.url):
            rows = self._db.execute(_GET, (subscription, limit)).fetchall()
        return [Delivery.of(data, place) for place, data in rows]

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        """They are out of the file. A power cut right after may bring them back, as a lost acknowledgement would."""
        places = [(subscription, delivery.receipt) for delivery in deliveries]
        async with self._transaction("NORMAL") as db:  # not worth waiting for the disk
            db.executemany("DELETE FROM waiting WHERE subscription = ? AND place = ?", places)

    @contextlib.asynccontextmanager
    async def _transaction(self, synchronous: str | None = None) -> AsyncIterator[sqlite3.Connection]:
        """Begin with the write lock held. Nothing waits inside SQLite: a taken lock is tried again from the loop."""
        db = self._db
        for _ in range(_TRIES):
            with _errors(self.url):
                try:
                    db.execute(f"PRAGMA synchronous = {synchronous or self._synchronous}")
                    db.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
            await asyncio.sleep(self._chance.uniform(0.001, 0.01))
        else:
            raise BrokerUnavailable(f"{self.url}: another program has held its lock for a second")
        with _errors(self.url):
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _errors(url: str) -> Iterator[None]:
    """Translate what sqlite3 raises into our words. The cause stays chained."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise BrokerUnavailable(f"{url}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BrokerError(f"{url}: {error}: is this file a broker's?") from error
