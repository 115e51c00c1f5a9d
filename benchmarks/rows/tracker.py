"""What it costs that every flow is followed to its verdict."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks import planted
from benchmarks.measure import Clocks, Figures, Side, pairs, spread
from benchmarks.rows import Answer, Options, Row
from benchmarks.workload import publish, shop


def run(folder: Path, orders: int, *, tracked: bool) -> Figures:
    """`orders` orders until nothing is left to do, with the tracker or without it."""
    if not tracked:
        planted.no_tracker()
    return asyncio.run(_run(folder, orders))


async def _run(folder: Path, orders: int) -> Figures:
    async with shop.open(f"sqlite:///{folder}/shop.db") as board:
        clocks = Clocks()
        await publish(board, range(orders), 500)
        await board.rest()
        return clocks.figures(orders)


def measure(options: Options) -> Answer:
    """How much more CPU an order takes with it, in per cent."""
    orders = options.size(3_000)
    ours = Side("on", "benchmarks.rows.tracker:run", {"orders": orders, "tracked": True})
    theirs = Side("off", "benchmarks.rows.tracker:run", {"orders": orders, "tracked": False})
    found = pairs(ours, theirs, options.count, tell=options.tell)
    told = [spread([each["cpu"] for each in side]) for side in zip(*found, strict=True)]
    return Answer(
        [(a["cpu"] / b["cpu"] - 1) * 100 for a, b in found],
        lines=[f"{told[0]:.0f} µs of CPU an order against {told[1]:.0f} µs"],
    )


ROW = Row("tracker", "tracker on against off, CPU", 15, 8, measure, at_least=False, form="+.1f", unit="%")
