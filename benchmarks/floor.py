"""The floor: a hand-written loop that leaves the same rows in the same tables, in as many commits.

It promises nothing: no retry, no order, no error isolation, no restart, nobody who waits. It is what a careful engineer
would write for this one workload: a batch of orders goes through all its hops in memory, and is one commit.
"""

from __future__ import annotations

import sqlite3
import time
from datetime import timedelta
from typing import Any

import msgspec

from benchmarks.measure import Clocks, Figures
from benchmarks.workload import order, shop
from callboard.ledgers.sqlite_layout import TABLES

_ENCODE = msgspec.json.Encoder().encode
_STATES = ("Order", "Reservation", "Payment", "Shipment")
_TYPES = ("OrderCreated", "ItemsReserved", "PaymentProcessed", "OrderShipped")
_REACTIONS = ("inventory.reserve", "orders.complete", "orders.place", "payments.charge", "shipping.ship")
_TIMEOUT = int(timedelta(minutes=30).total_seconds() * 1_000_000)
_FLOW = "INSERT INTO flow (number, name, id, key, started, deadline, verdict, ended, by) VALUES "
_LOG = "INSERT INTO log (pos, id, type, flow, time, key, cause, by, data, more) VALUES "
_UPSERT = " ON CONFLICT (key) DO UPDATE SET version = excluded.version, shape = excluded.shape, data = excluded.data"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _insert(db: sqlite3.Connection, head: str, columns: int, rows: list[tuple[Any, ...]], tail: str = "") -> None:
    one = "(" + ",".join("?" * columns) + ")"
    for start in range(0, len(rows), 64):
        page = rows[start : start + 64]
        db.execute(head + ",".join([one] * len(page)) + tail, [value for row in page for value in row])


def _text(number: int) -> str:
    """Twenty-six characters that sort as the number does, as long as an id of a flow."""
    digits: list[str] = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def prepare(path: str, synchronous: str) -> sqlite3.Connection:
    """The tables that a ledger has, with the rows that it has before the first order."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    for statement in TABLES.split(";"):
        db.execute(statement)
    for state in _STATES:
        columns = "key TEXT PRIMARY KEY, version INTEGER NOT NULL, shape INTEGER NOT NULL, data BLOB NOT NULL"
        db.execute(f"CREATE TABLE state_{state} ({columns}) WITHOUT ROWID")
    db.execute("INSERT INTO ledger (one, identity, head, edits) VALUES (1, x'00', 0, 0)")
    names = [(name,) for name in (*_TYPES, *_REACTIONS)]
    db.executemany("INSERT INTO name (name) VALUES (?)", names)
    readers = [(path, 0, 0) for path in (*_REACTIONS, "orders.(tracker)")]
    db.executemany("INSERT INTO reaction (reaction, since, pos) VALUES (?, ?, ?)", readers)
    return db


class _Batch:
    """The rows of one commit."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.now = time.time_ns() // 1000
        self.log: list[tuple[Any, ...]] = []
        self.flows: list[tuple[Any, ...]] = []
        self.states: dict[str, dict[str, bytes]] = {state: {} for state in _STATES}

    def emit(
        self, kind: int, event_id: str, body: dict[str, Any], *, flow: int = 0, cause: int = 0, by: int = 0
    ) -> int:
        """Log an event; its place."""
        pos = self.head + len(self.log) + 1
        self.log.append((pos, event_id, kind, flow or pos, self.now, None, cause, by, _ENCODE(body), None))
        return pos

    def publish(self, number: int, made: tuple[str, str, str, int]) -> tuple[int, str, int, dict[str, Any]]:
        """An order begins its flow."""
        order_id, customer, sku, total = made
        event_id = _text((self.now << 80) | number)
        body = {"order_id": order_id, "customer": customer, "sku": sku, "total": total}
        pos = self.emit(1, event_id, body)
        end = (self.now + _TIMEOUT, "succeeded", self.now, "OrderShipped")
        self.flows.append((pos, "checkout", event_id, order_id, self.now, *end))
        return pos, event_id, pos, body

    def react(self, kind: int, cause: int, event_id: str, flow: int, body: dict[str, Any]) -> Any:
        """What the reactions to one event do; the event that they emit."""
        key, states = body["order_id"], self.states
        if kind == 1:
            states["Order"][key] = _ENCODE({"order_id": key, "status": "open", "tracking": None})
            states["Reservation"][key] = _ENCODE({"order_id": key, "sku": body["sku"]})
            by, tag, new = 5, ".rsrv", {"order_id": key, "sku": body["sku"], "total": body["total"]}
        elif kind == 2:
            states["Payment"][key] = _ENCODE({"order_id": key, "amount": body["total"]})
            by, tag, new = 8, ".chrg", {"order_id": key, "charge": f"ch_{key}"}
        elif kind == 3:
            states["Shipment"][key] = _ENCODE({"order_id": key, "tracking": f"1Z{key}"})
            by, tag, new = 9, ".ship", {"order_id": key, "tracking": f"1Z{key}"}
        else:
            done = {"order_id": key, "status": "complete", "tracking": body["tracking"]}
            states["Order"][key] = _ENCODE(done)
            return None
        pos = self.emit(kind + 1, event_id + tag, new, flow=flow, cause=cause, by=by)
        return pos, event_id + tag, flow, new

    def write(self, db: sqlite3.Connection) -> None:
        """One commit."""
        db.execute("BEGIN IMMEDIATE")
        _insert(db, _LOG, 10, self.log)
        _insert(db, _FLOW, 9, self.flows)
        for name, rows in self.states.items():
            version = self.head + 1
            values = [(key, version, 1, data) for key, data in rows.items()]
            _insert(db, f"INSERT INTO state_{name} VALUES ", 4, values, _UPSERT)
        head = self.head + len(self.log)
        moved = [(head, path) for path in (*_REACTIONS, "orders.(tracker)")]
        db.executemany("UPDATE reaction SET pos = ? WHERE reaction = ?", moved)
        db.execute("UPDATE ledger SET head = ?", (head,))
        db.execute("COMMIT")


def run(path: str, count: int, batch: int, *, synchronous: str = "FULL") -> Figures:
    """`count` orders, `batch` orders with all their hops a commit."""
    assert set(_REACTIONS) == set(shop.contracts), "the floor no longer does what the choreography does"
    db = prepare(path, synchronous)
    clocks = Clocks()
    head = 0
    for start in range(0, count, batch):
        rows = _Batch(head)
        made = [order(number) for number in range(start, min(start + batch, count))]
        events = [
            rows.publish(start + number, (each.order_id, each.customer, each.sku, each.total))
            for number, each in enumerate(made)
        ]
        for kind in range(1, 5):
            events = [rows.react(kind, *event) for event in events]
        rows.write(db)
        head += len(rows.log)
    figures = clocks.figures(count)
    db.close()
    return figures
