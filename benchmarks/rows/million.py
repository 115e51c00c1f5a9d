"""Whether the millionth event costs what the first did, and how long a restart on such a log takes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.measure import PLACES, Clocks, Figures, Side, Unavailable, peak_memory, spread
from benchmarks.rows import Answer, Options, Row
from benchmarks.workload import all_done, order, publish, shop
from callboard.ledgers.sqlite_layout import LAYOUT

_EVENTS = 1_000_000
_WINDOW = 100_000
_FILE = PLACES / f"million-{LAYOUT}.db"


def fill(folder: Path, events: int, window: int, into: str = "") -> Figures:
    """So many events; the rate and the CPU of each window."""
    figures = asyncio.run(_fill(folder, events // 4, window // 4))
    figures["bytes"] = (folder / "shop.db").stat().st_size / events
    if into:
        Path(into).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(f"{folder}/shop.db", into)
    return figures


async def _fill(folder: Path, orders: int, window: int) -> Figures:
    figures: Figures = {}
    async with shop.open(f"sqlite:///{folder}/shop.db") as board:
        for start in range(0, orders, window):
            clocks = Clocks()
            await publish(board, range(start, start + window), 500)
            await all_done(board, start + window)
            told = clocks.figures(window)
            figures |= {f"rate {4 * start}": told["rate"], f"cpu {4 * start}": told["cpu"]}
        figures["memory"] = peak_memory()
    return figures


def measure(options: Options) -> Answer:
    """The last 100,000 events against the first of the same run. One run, as it takes minutes."""
    side = Side("callboard", "benchmarks.rows.million:fill", {"events": _EVENTS, "window": _WINDOW})
    side.arguments["into"] = str(_FILE)
    options.tell(f"a log of {_EVENTS:,} events")
    found = [side.run()]
    first, last = "0", str(_EVENTS - _WINDOW)
    rates = [found[0][f"rate {place}"] for place in (first, last)]
    curve = [(place + _WINDOW, found[0][f"cpu {place}"]) for place in range(0, _EVENTS, _WINDOW)]
    return Answer(
        [each[f"rate {last}"] / each[f"rate {first}"] for each in found],
        [each[f"cpu {first}"] / each[f"cpu {last}"] for each in found],
        [
            f"{rates[0]:,.0f} orders/s in the first 100,000 events, {rates[1]:,.0f} in the last",
            f"{found[0]['bytes']:.0f} bytes an event with states, flows and indexes",
            f"peak memory {found[0]['memory']:.0f} MB",
        ],
        {"growth": {"events in the log": curve}},
    )


def restart(_: Path, path: str, *, kill: bool) -> Figures:
    """From opening the ledger to the first publish that is durable; then a clean stop, or none."""
    return asyncio.run(_restart(path, kill=kill))


async def _restart(path: str, *, kill: bool) -> Figures:
    began, cpu = time.perf_counter(), time.process_time()
    async with shop.open(f"sqlite:///{path}") as board:
        opened = time.perf_counter() - began
        await board.publish(order(time.time_ns()))
        figures = {
            "opened": opened,
            "first": time.perf_counter() - began,
            "cpu": time.process_time() - cpu,
            "memory": peak_memory(),
        }
        if kill:
            print(json.dumps(figures), flush=True)
            os._exit(0)
    return figures


def measure_restart(options: Options) -> Answer:
    """On the log that the row `million` has left; every other process before it was killed."""
    events = 40_000 if options.short else _EVENTS
    with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
        path = Path(folder) / "small.db" if options.short else _FILE
        if not path.exists():
            options.tell(f"filling a log with {events:,} events")
            Side("callboard", "benchmarks.rows.million:fill",
                 {"events": events, "window": events // 10, "into": str(path)}).run()  # fmt: skip
        if not path.exists():
            raise Unavailable("the log could not be filled")
        found: list[Figures] = []
        for number in range(options.count):
            kill = {"path": str(path), "kill": number % 2 == 0}
            found.append(Side("callboard", "benchmarks.rows.million:restart", kill).run())
            options.tell(f"{number + 1}/{options.count}")
    opened, memory = (spread([each[key] for each in found]) for key in ("opened", "memory"))
    after_kill = [each["first"] for each in found[1::2]]
    return Answer(
        [each["first"] for each in found],
        [each["cpu"] for each in found],
        [
            f"opened after {opened:.3f} s; {spread([each['cpu'] for each in found]):.3f} s of CPU; {memory:.0f} MB",
            "the file is in the page cache",
            *([f"after a kill -9: {spread(after_kill):.3f} s"] if after_kill else []),
        ],
    )


ROW = Row("million", "rate at 1 M events against the first 100,000", 0.9, 1.0, measure, alone=True)
RESTART = Row("restart", "restart with 1 M events, first durable publish", 0.5, 0.15, measure_restart, at_least=False,
              form=".3f", unit="s")  # fmt: skip
