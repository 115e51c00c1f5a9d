"""Many finished runs share a commit, against one commit an event."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks import planted, workload
from benchmarks.measure import Figures, Side
from benchmarks.rows import Answer, Options, Row, compare


def one_by_one(folder: Path, orders: int, in_flight: int) -> Figures:
    """The build whose commits hold one event each."""
    planted.one_commit_an_event()
    figures = workload.run(folder, orders, in_flight)
    figures["commits"] = asyncio.run(_groups(folder))
    return figures


async def _groups(folder: Path) -> int:
    async with workload.shop.open(f"sqlite:///{folder}/count.db") as board:
        before = board.work.groups
        for number in range(4):
            await (await board.publish(workload.order(number))).completion()
        return (board.work.groups - before) // 4


def measure(options: Options) -> Answer:
    """500 publishes under way in both."""
    ours = Side("callboard", "benchmarks.workload:run", {"orders": options.size(3_000), "in_flight": 500})
    theirs = Side("one commit an event", "benchmarks.rows.commits:one_by_one",
                  {"orders": options.size(100), "in_flight": 500})  # fmt: skip
    return compare(options, ours, theirs)


ROW = Row("commits", "group commit against our own one commit an event, FULL", 20, 35, measure, form=".1f")
