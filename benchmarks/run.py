"""Measure callboard beside the hand-written floor: pairs in one run (A B, B A), median and quartiles of the ratio."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import floor, workload
from benchmarks.workload import Figure


def pairs(ours: Callable[[str], Figure], theirs: Callable[[str], Figure], count: int) -> list[tuple[Figure, Figure]]:
    """Run both, one right after the other, the order alternating."""
    found: list[tuple[Figure, Figure]] = []
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
            a, b = f"{folder}/a.db", f"{folder}/b.db"
            if number % 2:
                second = theirs(b)
                found.append((ours(a), second))
            else:
                first = ours(a)
                found.append((first, theirs(b)))
        print(f"\r{number + 1}/{count} pairs", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def spread(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=5000, help="orders in each run")
    parser.add_argument("--in-flight", type=int, default=500, help="publishes under way at once")
    parser.add_argument("--pairs", type=int, default=9, help="pairs of runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = pairs(
        lambda path: asyncio.run(workload.run(f"sqlite:///{path}", options.orders, options.in_flight)),
        lambda path: floor.run(path, options.orders, 256),
        options.pairs,
    )
    low, middle, high = spread([ours.rate / theirs.rate for ours, theirs in found])
    rates = [statistics.median(figure.rate for figure in side) for side in zip(*found, strict=True)]
    best = [min(figure.cpu for figure in side) for side in zip(*found, strict=True)]
    if options.json:
        print(json.dumps({"ratio": middle, "quartiles": [low, high], "rates": rates, "best_cpu_us": best}))
        return
    print("reference workload, synchronous=FULL, every guarantee on")
    print(f"  callboard          {rates[0]:>9,.0f} orders/s   best {best[0]:>6.1f} us of CPU an order")
    print(f"  hand-written loop  {rates[1]:>9,.0f} orders/s   best {best[1]:>6.1f} us of CPU an order")
    print(f"  ratio              {middle:>9.2f}            quartiles {low:.2f} to {high:.2f}, {len(found)} pairs")


if __name__ == "__main__":
    main()
