"""Measure what pruning costs under load: the rate with and without it, how long a batch takes, and what is left."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from callboard import FOREVER, Choreography, Flow, Service, event, run, state
from callboard.hops import retention


@event
class Ordered:
    order_id: str


@event
class Packed:
    order_id: str


@event
class Sent:
    order_id: str


@state(key="order_id")
class Parcel:
    order_id: str
    steps: int = 0


packing, sending = Service("packing"), Service("sending")


@packing.reaction
def pack(ordered: Ordered, parcel: Parcel) -> Packed:
    parcel.steps += 1
    return Packed(order_id=ordered.order_id)


@sending.reaction
def send(packed: Packed) -> Sent:
    return Sent(order_id=packed.order_id)


shop = Choreography(
    "shop",
    packing,
    sending,
    flows=[Flow("order", key="order_id", starts=Ordered, succeeds=Sent, timeout=timedelta(minutes=30))],
)


class Figure(NamedTuple):
    """One run: flows a second, how long each batch took in ms, and how many events were left at its end."""

    rate: float
    batches: list[float]
    left: int


async def measure(url: str, orders: int, in_flight: int, keep: timedelta) -> Figure:
    """So many flows, published by so many callers at once."""
    batches: list[float] = []
    prune = retention.prune

    async def timed(*given: Any, **more: Any) -> retention.Found:
        began = time.perf_counter()
        found = await prune(*given, **more)
        if found.going:
            batches.append((time.perf_counter() - began) * 1000)
        return found

    numbers = iter(range(orders))

    async def caller(board: run.Board) -> None:
        for number in numbers:
            flow = await board.publish(Ordered(order_id=f"o-{number}"))
            assert flow.is_new

    with patch.object(run, "prune", timed), patch.object(run, "_PRUNE_REST", 0.05):
        async with shop.open(url, keep=keep) as board:
            began = time.perf_counter()
            await asyncio.gather(*(caller(board) for _ in range(in_flight)))
            rate = orders / (time.perf_counter() - began)
            left = len(await board.work.ledger.read(0, limit=10 * orders))
    return Figure(rate, batches, left)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    ratios: list[float] = []
    last: Figure | None = None
    for number in range(options.pairs):
        found: dict[timedelta, Figure] = {}
        for keep in (FOREVER, timedelta(seconds=1)) if number % 2 else (timedelta(seconds=1), FOREVER):
            with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
                url = f"sqlite:///{folder}/shop.db"
                found[keep] = asyncio.run(measure(url, options.orders, options.in_flight, keep))
        last = found[timedelta(seconds=1)]
        ratios.append(last.rate / found[FOREVER].rate)
    assert last is not None
    low, high = min(ratios), max(ratios)
    print(f"rate with pruning / without   {statistics.median(ratios):.2f}  ({low:.2f} to {high:.2f})")
    print(f"rate with pruning             {last.rate:,.0f} flows/s")
    print(f"a batch                       {statistics.median(last.batches):.1f} ms, at most {max(last.batches):.1f} ms")
    print(f"events left of {3 * options.orders:,}          {last.left:,}")


if __name__ == "__main__":
    main()
