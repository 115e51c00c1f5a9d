"""How a figure is taken: a side runs in a process of its own, two sides in pairs (A B, B A), and the median is told."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACES = ROOT / "build" / "bench"  # what is made once, and what a run leaves
PEERS = PLACES / "venv" / "bin" / "python"
_LONGEST = 900.0  # seconds for one side

Figures = dict[str, float]


class Unavailable(Exception):
    """This row cannot run here; the text says why."""


class Clocks:
    """Wall and CPU time from here on, of this process and of a server beside it."""

    def __init__(self, server: int | None = None) -> None:
        self._server = server
        self._theirs = server_seconds(server)
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def figures(self, count: int) -> Figures:
        """The rate a second, and microseconds of CPU for each of `count`."""
        took, used = time.perf_counter() - self._began, time.process_time() - self._cpu
        beside = server_seconds(self._server) - self._theirs
        return {
            "rate": count / took,
            "cpu": used / count * 1e6,
            "server cpu": beside / count * 1e6,
            "memory": peak_memory(),
        }


def server_seconds(pid: int | None) -> float:
    """The CPU time that a server has used so far."""
    if pid is None:
        return 0.0
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def peak_memory() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Side:
    """One side of a comparison: a function that runs in a fresh process and returns its figures."""

    name: str
    function: str  # "module:function"; called with a folder of its own and the arguments
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    python: Path = Path(sys.executable)

    def run(self) -> Figures:
        """The figures of one run."""
        command = [str(self.python), "-m", "benchmarks.side", self.function, json.dumps(self.arguments)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{self.name} was not finished after {_LONGEST:.0f} s") from None
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            told = [line.strip(" |") for line in done.stderr.splitlines() if "Error" in line][-1:]
            raise Unavailable(f"{self.name} failed: {' '.join(told) or done.returncode}")
        figures: Figures = json.loads(lines[-1])
        return figures


Pair = tuple[Figures, Figures]


def pairs(ours: Side, theirs: Side, count: int, *, tell: Callable[[str], None]) -> list[Pair]:
    """Run both, one right after the other, the order alternating."""
    found: list[Pair] = []
    for number in range(count):
        if number % 2:
            second = theirs.run()
            found.append((ours.run(), second))
        else:
            first = ours.run()
            found.append((first, theirs.run()))
        tell(f"{number + 1}/{count}")
    return found


@dataclass
class Spread:
    """The median of some runs, and the quartiles around it."""

    low: float
    median: float
    high: float
    count: int

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def spread(values: Sequence[float]) -> Spread:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0], len(values))
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, middle, high, len(values))
