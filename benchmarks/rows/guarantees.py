"""What each guarantee costs: builds that lack one of them, in turn with the build that has all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks import planted
from benchmarks.measure import Clocks, Figures, Side, Unavailable, spread
from benchmarks.rows import Answer, Options, Row
from benchmarks.workload import publish, shop

_LACKING = {
    "no_sync": "on disk at each commit (NORMAL instead of FULL)",
    "no_tracker": "one verdict, a deadline (no tracker)",
    "no_reading_back": "what is written can be read (not read back)",
    "no_same_start": "the same start is the same flow",
    "no_order": "order per line",
    "no_positions": "a restart goes on where it stood",
    "no_owner": "one owner of each service",
    "no_others": "others may commit to the file",
    "no_limits": "limits of size",
    "no_watchdog": "what blocks the loop is told",
    "no_retention": "what is over is forgotten in time",
    "no_flow_index": "a flow's events are found (index)",
    "no_id_index": "a flow is found by its id (index)",
    "no_fusing": "(design) hops of one order share a commit",
    "no_short_way": "(design) plain reactions go a short way",
}
_TRIED = {
    "no_collector": "without Python's cycle collector",
    "rare_collector": "with a hundredth of its runs",
    "frozen_heap": "with what was imported kept from it (gc.freeze)",
    "rare_checkpoints": "a checkpoint after 10,000 pages, not 1,000",
    "large_cache": "64 MB of pages in SQLite's cache, not 2",
    "mapped_file": "the file mapped into memory",
    "long_statements": "256 rows of the log in a statement, not 64",
    "large_groups": "groups of four times the size",
}


def run(folder: Path, orders: int, lacking: str) -> Figures:
    """The reference workload until nothing is left to do."""
    if lacking:
        getattr(planted, lacking)()
    return asyncio.run(_run(f"sqlite:///{folder}/shop.db", orders))


async def _run(url: str, orders: int) -> Figures:
    async with shop.open(url) as board:
        clocks = Clocks()
        await publish(board, range(orders), 500)
        await board.rest()
        figures = clocks.figures(orders)
        assert board.work.head == 4 * orders, f"{board.work.head} events of {4 * orders} have happened"
    return figures


def measure(options: Options) -> Answer:
    """What lacks one guarantee, or is built without one design."""
    return _rounds(options, _LACKING, "guarantees")


def measure_tries(options: Options) -> Answer:
    """What has every guarantee, and might be faster."""
    return _rounds(options, _TRIED, "tries")


def _rounds(options: Options, variants: dict[str, str], drawn_as: str) -> Answer:
    """Round by round: as it is, then each variant; the ratios within a round."""
    orders = options.size(3_000)
    rounds = min(options.count, 5)
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
    lines: list[str] = []
    for number in range(rounds):
        whole = _side("", orders).run()
        for variant, told in list(found.items()):
            options.tell(f"{number + 1}/{rounds} {variant}")
            try:
                figures = _side(variant, orders).run()
            except Unavailable as error:
                lines.append(f"{variants[variant]}: cannot be planted any more: {error}")
                del found[variant]
                continue
            told.append((whole["cpu"] / figures["cpu"], figures["rate"] / whole["rate"]))
    drawn: dict[str, list[float]] = {}
    for variant, told in found.items():
        by_cpu, by_clock = spread([each[0] for each in told]), spread([each[1] for each in told])
        lines.append(f"{variants[variant]:<48} {by_cpu:.2f} × by CPU, {by_clock:.2f} × by the clock")
        drawn[variants[variant]] = [by_cpu.low, by_cpu.median, by_cpu.high]
    return Answer([], lines=lines, drawn={drawn_as: drawn})


def _side(lacking: str, orders: int) -> Side:
    given = {"orders": orders, "lacking": lacking}
    return Side(lacking or "all on", "benchmarks.rows.guarantees:run", given)


ROW = Row("guarantees", "how much faster it would be without each guarantee", None, None, measure)
TRIES = Row("tries", "how much faster it would be with what else was tried", None, None, measure_tries)
