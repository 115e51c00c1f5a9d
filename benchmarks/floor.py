"""The floor: a hand-written loop that writes the same rows in the same batches with multi-row INSERTs.

It promises nothing: no retry, no order, no error isolation, no restart. It is what a careful engineer would write for
this one workload.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from typing import Any

import msgspec

from benchmarks.workload import Figure, OrderCreated, order
from callboard.ledgers.sqlite_layout import TABLES

_ENCODE = msgspec.json.Encoder().encode
_STATES = ("Order", "Reservation", "Payment", "Shipment")
_UPSERT = " ON CONFLICT (key) DO UPDATE SET version = version + 1, data = excluded.data"
_VERDICT = "UPDATE flow SET verdict = 'succeeded', ended = ?, deadline = NULL WHERE number = ? AND name = 'checkout'"


def _insert(db: sqlite3.Connection, head: str, columns: int, rows: list[tuple[Any, ...]], tail: str = "") -> None:
    one = "(" + ",".join("?" * columns) + ")"
    for start in range(0, len(rows), 64):
        page = rows[start : start + 64]
        db.execute(head + ",".join([one] * len(page)) + tail, [value for row in page for value in row])


class _Loop:
    """One run: orders are published, each event is turned into the next, a batch is one commit."""

    def __init__(self, db: sqlite3.Connection, count: int, batch: int) -> None:
        self.db = db
        self.count = count
        self.batch = batch
        self.waiting: deque[tuple[int, str, int, dict[str, Any]]] = deque()
        self.pos = self.published = self.finished = 0
        self.now = 0
        self.log: list[tuple[Any, ...]] = []
        self.flows: list[tuple[Any, ...]] = []
        self.ended: list[tuple[int, int]] = []
        self.states: dict[str, dict[str, bytes]] = {}

    def emit(self, kind: int, event_id: str, flow: int, body: dict[str, Any]) -> None:
        """Log an event, and hand it on."""
        self.pos += 1
        flow = flow or self.pos
        self.log.append((self.pos, event_id, kind, flow, self.now, None, flow, 1, _ENCODE(body), None))
        self.waiting.append((kind, event_id, flow, body))

    def publish(self) -> None:
        """Two batches of orders are under way."""
        while self.published < self.count and self.published - self.finished < 2 * self.batch:
            created: OrderCreated = order(self.published)
            event_id = f"{self.now:013x}{self.published:013x}"
            deadline = self.now + 1_800_000_000
            self.flows.append((self.pos + 1, "checkout", event_id, created.order_id, self.now, deadline))
            body = {"order_id": created.order_id, "customer": created.customer, "sku": created.sku}
            self.emit(1, event_id, 0, {**body, "total": created.total})
            self.published += 1

    def react(self, kind: int, event_id: str, flow: int, body: dict[str, Any]) -> None:
        """What the five reactions do."""
        key, states = body["order_id"], self.states
        if kind == 1:
            states["Order"][key] = _ENCODE({"order_id": key, "status": "open", "tracking": None})
            states["Reservation"][key] = _ENCODE({"order_id": key, "sku": body["sku"]})
            self.emit(2, event_id + ".rsrv", flow, {"order_id": key, "sku": body["sku"], "total": body["total"]})
        elif kind == 2:
            states["Payment"][key] = _ENCODE({"order_id": key, "amount": body["total"]})
            self.emit(3, event_id + ".chrg", flow, {"order_id": key, "charge": f"ch_{key}"})
        elif kind == 3:
            states["Shipment"][key] = _ENCODE({"order_id": key, "tracking": f"1Z{key}"})
            self.emit(4, event_id + ".ship", flow, {"order_id": key, "tracking": f"1Z{key}"})
        else:
            done = {"order_id": key, "status": "complete", "tracking": body["tracking"]}
            states["Order"][key] = _ENCODE(done)
            self.ended.append((self.now, flow))

    def group(self) -> None:
        """One batch, one commit."""
        self.log, self.flows, self.ended = [], [], []
        self.states = {name: {} for name in _STATES}
        self.now = time.time_ns() // 1000
        taken = [self.waiting.popleft() for _ in range(min(len(self.waiting), self.batch))]
        self.publish()
        for event in taken:
            self.react(*event)
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        _insert(db, "INSERT INTO log (pos, id, type, flow, time, key, cause, by, data, more) VALUES ", 10, self.log)
        _insert(db, "INSERT INTO flow (number, name, id, key, started, deadline) VALUES ", 6, self.flows)
        for name, rows in self.states.items():
            values = [(key, 1, 1, data) for key, data in rows.items()]
            _insert(db, f"INSERT INTO state_{name} VALUES ", 4, values, _UPSERT)
        db.executemany(_VERDICT, self.ended)
        db.execute("COMMIT")
        self.finished += len(self.ended)


def run(path: str, count: int, batch: int, *, synchronous: str = "FULL") -> Figure:
    """`count` orders, `batch` events a commit, handed on in memory."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    for statement in TABLES.split(";"):
        db.execute(statement)
    for state in _STATES:
        columns = "key TEXT PRIMARY KEY, version INT, shape INT, data BLOB"
        db.execute(f"CREATE TABLE state_{state} ({columns}) WITHOUT ROWID")
    loop = _Loop(db, count, batch)
    began, cpu = time.perf_counter(), time.process_time()
    while loop.finished < count:
        loop.group()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    db.close()
    return Figure(count / took, used / count * 1e6)
