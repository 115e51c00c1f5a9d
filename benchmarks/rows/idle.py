"""How long one order takes where nothing else is to do, against bare commits of one row on the same disk."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from benchmarks import workload
from benchmarks.measure import Figures, Side, quantile, spread
from benchmarks.rows import Answer, Options, Row

_TABLE = "CREATE TABLE log (pos INTEGER PRIMARY KEY, id TEXT, type INT, flow INT, time INT, by INT, data BLOB)"


def one_at_a_time(folder: Path, orders: int) -> Figures:
    """In turn: an order from publish to its verdict, and five commits of one row."""
    return asyncio.run(_one_at_a_time(folder, orders))


async def _one_at_a_time(folder: Path, orders: int) -> Figures:
    db = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(_TABLE)
    order_times: list[float] = []
    bare_times: list[float] = []
    async with workload.shop.open(f"sqlite:///{folder}/shop.db") as board:
        for number in range(orders + 20):
            await asyncio.sleep(0.005)  # at rest again
            began = time.perf_counter()
            await (await board.publish(workload.order(number))).completion()
            order_times.append(time.perf_counter() - began)
            began = time.perf_counter()
            _five_commits(db, number)
            bare_times.append(time.perf_counter() - began)
    del order_times[:20], bare_times[:20]
    db.close()
    return {
        "p50": quantile(order_times, 0.5) * 1e6,
        "p99": quantile(order_times, 0.99) * 1e6,
        "bare p50": quantile(bare_times, 0.5) * 1e6,
        "bare p99": quantile(bare_times, 0.99) * 1e6,
    }


def _five_commits(db: sqlite3.Connection, number: int) -> None:
    for hop in range(5):
        row = (f"{number:026d}", hop, number, time.time_ns() // 1000, 1, b"x" * 150)
        db.execute("INSERT INTO log (id, type, flow, time, by, data) VALUES (?, ?, ?, ?, ?, ?)", row)


def measure(options: Options) -> Answer:
    """Both in one process, order by order: what the disk does to one it does to the other."""
    side = Side("callboard", "benchmarks.rows.idle:one_at_a_time", {"orders": options.size(150)})
    found: list[Figures] = []
    for number in range(options.count):
        found.append(side.run())
        options.tell(f"{number + 1}/{options.count}")
    told = {key: spread([each[key] for each in found]) for key in found[0]}
    return Answer(
        [each["p50"] / each["bare p50"] for each in found],
        lines=[
            f"an order, publish to verdict: p50 {told['p50']:,.0f} µs, p99 {told['p99']:,.0f} µs",
            f"five commits of one row: p50 {told['bare p50']:,.0f} µs, p99 {told['bare p99']:,.0f} µs",
            f"so the order takes {told['p50'].median / told['bare p50'].median * 5:.1f} commits",
        ],
    )


ROW = Row("idle", "one order at rest (5 hops), p50, against five one-row commits, FULL", 1.5, 0.4, measure,
          at_least=False)  # fmt: skip
