"""Where the CPU time of an order goes: the reference workload by stage, looked at 1,000 times a second.

What SQLite does is seen as time of the function that called it. Waiting for the disk is no CPU time, and is told apart.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks import workload
from benchmarks.measure import Figures, Side, spread
from benchmarks.rows import Answer, Options, Row

_EVERY = 0.001  # seconds of CPU between two looks
# The innermost frame whose file (and function) begins so decides; the first that fits.
_STAGES = (
    ("benchmarks/workload.py:publish", "callers"),
    ("benchmarks/workload.py:caller", "callers"),
    ("benchmarks/workload.py:order", "callers"),
    ("benchmarks/workload.py", "the user's reactions"),
    ("callboard/codecs/", "codec: write, read back, read"),
    ("callboard/hops/limits.py", "codec: write, read back, read"),
    ("callboard/ledgers/sqlite.py:transaction", "SQLite: begin and commit"),
    ("callboard/ledgers/sqlite_transaction.py:append", "SQLite: log"),
    ("callboard/ledgers/sqlite_transaction.py:save", "SQLite: states"),
    ("callboard/ledgers/sqlite_transaction.py:", "SQLite: flows and positions"),
    ("callboard/ledgers/", "SQLite: reading"),
    ("callboard/tracker.py", "tracker"),
    ("callboard/hops/publish.py", "publish"),
    ("callboard/board.py", "publish"),
    ("callboard/ids.py", "publish"),
    ("callboard/event.py", "publish"),
    ("callboard/hops/settle.py", "settle"),
    ("callboard/hops/", "react: hand out, order, run"),
    ("callboard/run.py", "the loop between two groups"),
    ("callboard/", "the rest of callboard"),
)
_REST = "asyncio and the rest"


def stage_of(frame: FrameType | None) -> str:
    """The stage that a frame belongs to, by the innermost function of ours."""
    while frame is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        for part, stage in _STAGES:
            if f"/{part}" in place:
                return stage
        frame = frame.f_back
    return _REST


def run(folder: Path, orders: int, in_flight: int) -> Figures:
    """Microseconds of CPU an order in each stage, and what of the clock was no CPU."""
    seen: Counter[str] = Counter()
    last = 0.0

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal last  # a look that comes late, after a long statement, counts for all of it
        now = time.process_time()
        seen[stage_of(frame)] += int((now - last) * 1e6)
        last = now

    before, began = time.process_time(), time.perf_counter()
    last = before
    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)
    figures = workload.run(folder, orders, in_flight)
    signal.setitimer(signal.ITIMER_PROF, 0)
    used, took = time.process_time() - before, time.perf_counter() - began
    share = figures["cpu"] / sum(seen.values())
    idle = (took - used) / orders * 1e6
    return {"waiting, for the disk or a turn": idle, **{stage: count * share for stage, count in seen.items()}}


def measure(options: Options) -> Answer:
    """Three runs; the median of each stage."""
    given = {"orders": options.size(10_000), "in_flight": 500}
    found: list[Figures] = []
    for number in range(min(3, options.count)):
        found.append(Side("callboard", "benchmarks.rows.stages:run", given).run())
        options.tell(f"{number + 1}/3")
    names = {name for each in found for name in each}
    told = {name: spread([each.get(name, 0.0) for each in found]).median for name in names}
    waiting = told.pop("waiting, for the disk or a turn")
    whole = sum(told.values())
    order = sorted(told, key=lambda name: -told[name])
    lines = [f"{told[name] / whole:>6.1%}  {told[name]:>6.1f} µs  {name}" for name in order]
    lines.append(f"        {waiting:>6.1f} µs  more by the clock: waiting for the disk, or for a turn on a core")
    return Answer([], lines=lines, drawn={"stages": {name: told[name] for name in order}})


ROW = Row("stages", "where the CPU time of an order goes, by stage", None, None, measure)
