"""What a reaction that awaits does to those beside it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.measure import Figures, Side, pairs, quantile, spread
from benchmarks.rows import Answer, Options, Row
from benchmarks.workload import OrderCreated, inventory, order, orders, payments, shipping, shop
from callboard import Choreography, Service


def run(folder: Path, count: int, seconds: float) -> Figures:
    """256 orders in flight, from publish to verdict; beside them each order has a mail that takes so long."""
    return asyncio.run(_run(folder, count, seconds))


async def _run(folder: Path, count: int, seconds: float) -> Figures:
    mail = Service("mail")

    async def send(created: OrderCreated) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    send.__annotations__ = {"created": OrderCreated, "return": None}
    mail.reaction(send)
    slow = Choreography("slow", orders, inventory, payments, shipping, mail, flows=list(shop.flows.values()))
    taken: list[float] = []
    async with slow.open(f"sqlite:///{folder}/slow.db") as board:
        numbers = iter(range(count))

        async def caller() -> None:
            for number in numbers:
                began = time.perf_counter()
                await (await board.publish(order(number))).completion()
                taken.append(time.perf_counter() - began)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(256)))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        await board.rest()
    return {
        "p50": quantile(taken, 0.5) * 1e3,
        "p99": quantile(taken, 0.99) * 1e3,
        "rate": count / took,
        "cpu": used / count * 1e6,
    }


def measure(options: Options) -> Answer:
    """With a mail of 50 ms beside each order, and with one that takes no time."""
    count = options.size(3_000, 600)
    ours = Side("beside 50 ms", "benchmarks.rows.neighbour:run", {"count": count, "seconds": 0.05})
    theirs = Side("beside none", "benchmarks.rows.neighbour:run", {"count": count, "seconds": 0})
    found = pairs(ours, theirs, options.count, tell=options.tell)
    lines = [
        f"{side.name}: p50 {spread([each['p50'] for each in figures]):.1f} ms, "
        f"p99 {spread([each['p99'] for each in figures]):.1f} ms, "
        f"{spread([each['rate'] for each in figures]):,.0f} orders/s"
        for side, figures in zip((ours, theirs), zip(*found, strict=True), strict=True)
    ]
    return Answer([a["p99"] / b["p99"] for a, b in found], lines=lines)


ROW = Row("neighbour", "others' p99 beside a reaction that awaits 50 ms, 256 in flight", 2, 1.3, measure,
          at_least=False)  # fmt: skip
