"""The floor: a hand-written loop that writes the same rows in the same batches with multi-row INSERTs, and promises nothing.

No retry, no order, no error isolation, no restart: what a careful engineer would write for this one workload.
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
_TYPES = {"OrderCreated": 1, "ItemsReserved": 2, "PaymentProcessed": 3, "OrderShipped": 4}


def _insert(db: sqlite3.Connection, head: str, columns: int, rows: list[tuple[Any, ...]], tail: str = "") -> None:
    one = "(" + ",".join("?" * columns) + ")"
    for start in range(0, len(rows), 64):
        page = rows[start : start + 64]
        db.execute(head + ",".join([one] * len(page)) + tail, [value for row in page for value in row])


def run(path: str, count: int, batch: int, *, synchronous: str = "FULL") -> Figure:
    """`count` orders, `batch` events a commit, handed on in memory."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    for statement in TABLES.split(";"):
        db.execute(statement)
    for state in _STATES:
        db.execute(
            f"CREATE TABLE state_{state} (key TEXT PRIMARY KEY, version INT, shape INT, data BLOB) WITHOUT ROWID"
        )
    began, cpu = time.perf_counter(), time.process_time()
    waiting: deque[tuple[int, str, int, dict[str, Any]]] = deque()
    pos = published = finished = 0
    while finished < count:
        log: list[tuple[Any, ...]] = []
        flows: list[tuple[Any, ...]] = []
        states: dict[str, dict[str, bytes]] = {name: {} for name in _STATES}
        ended: list[tuple[int, int]] = []
        taken = [waiting.popleft() for _ in range(min(len(waiting), batch))]
        now = time.time_ns() // 1000
        fresh: list[tuple[int, str, int, dict[str, Any]]] = []

        def emit(kind: int, event_id: str, flow: int, cause: int, body: dict[str, Any]) -> None:
            nonlocal pos
            pos += 1
            flow = flow or pos
            log.append((pos, event_id, kind, flow, now, None, cause, 1, _ENCODE(body), None))
            fresh.append((kind, event_id, flow, body))

        while published < count and published - finished < 2 * batch:
            created: OrderCreated = order(published)
            event_id = f"{now:013x}{published:013x}"
            flows.append((pos + 1, "checkout", event_id, created.order_id, now, now + 1_800_000_000))
            emit(
                1,
                event_id,
                0,
                0,
                {
                    "order_id": created.order_id,
                    "customer": created.customer,
                    "sku": created.sku,
                    "total": created.total,
                },
            )
            published += 1
        for kind, event_id, flow, body in taken:
            key = body["order_id"]
            if kind == 1:
                states["Order"][key] = _ENCODE({"order_id": key, "status": "open", "tracking": None})
                states["Reservation"][key] = _ENCODE({"order_id": key, "sku": body["sku"]})
                emit(2, event_id + ".rsrv", flow, flow, {"order_id": key, "sku": body["sku"], "total": body["total"]})
            elif kind == 2:
                states["Payment"][key] = _ENCODE({"order_id": key, "amount": body["total"]})
                emit(3, event_id + ".chrg", flow, flow, {"order_id": key, "charge": f"ch_{key}"})
            elif kind == 3:
                states["Shipment"][key] = _ENCODE({"order_id": key, "tracking": f"1Z{key}"})
                emit(4, event_id + ".ship", flow, flow, {"order_id": key, "tracking": f"1Z{key}"})
            else:
                states["Order"][key] = _ENCODE({"order_id": key, "status": "complete", "tracking": body["tracking"]})
                ended.append((now, flow))
        db.execute("BEGIN IMMEDIATE")
        _insert(db, "INSERT INTO log (pos, id, type, flow, time, key, cause, by, data, more) VALUES ", 10, log)
        _insert(db, "INSERT INTO flow (number, name, id, key, started, deadline) VALUES ", 6, flows)
        for name, rows in states.items():
            _insert(
                db, f"INSERT INTO state_{name} VALUES ", 4, [(key, 1, 1, data) for key, data in rows.items()],
                " ON CONFLICT (key) DO UPDATE SET version = version + 1, data = excluded.data",
            )  # fmt: skip
        db.executemany(
            "UPDATE flow SET verdict = 'succeeded', ended = ?, deadline = NULL WHERE number = ? AND name = 'checkout'",
            ended,
        )
        db.execute("COMMIT")
        finished += len(ended)
        waiting.extend(fresh)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    db.close()
    return Figure(count / took, used / count * 1e6)
