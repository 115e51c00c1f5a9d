"""A bad day in the shop: hundreds of orders at once, and everything goes wrong that can. Three counters must read 0.

Two worker processes share one SQLite file; they are killed with kill -9 while they work, and started again. Cards are
declined, the bank takes money and loses its answers, shelves run empty, carriers refuse or never answer, and every
fifth order is published more than once. At the end the files are compared: exit code 1 if anything was lost, doubled
or kept.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

from audit import Report, audit, handled, undecided, unfinished
from screen import Lines, Progress, screen, table
from workers import FastClock, Worker

from callboard import FlowHasEnded, FlowIsOpen
from callboard.board import Board
from shop import Line, OrderCreated, Shelf, inventory, shop

STOCK = {"lamp": 10_000, "chair": 10_000, "signed poster": 12}
CARDS = ("good", "good", "good", "good", "good", "good", "declined", "lost-2", "down-1", "lost-always")
ADDRESSES = ("town", "town", "town", "town", "town", "town", "town", "island", "lost-2", "down-1")
PATIENCE = 120  # seconds until an order without an end counts as lost


@dataclass
class Day:
    """One run of the demo: what was ordered, and what was done to the shop meanwhile."""

    folder: Path
    orders: list[OrderCreated]
    chance: Random
    rate: float
    speed: float
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    accepted: list[OrderCreated] = field(default_factory=list[OrderCreated])
    repeated: int = 0
    refused: int = 0
    kills: int = 0
    landed: int = 0
    pace: float = 0.0  # events in a second while orders came in

    @property
    def ledger(self) -> Path:
        return self.folder / "shop.db"

    def all_in(self) -> bool:
        return len(self.accepted) == len(self.orders)

    def over(self) -> bool:
        return self.all_in() and self.progress().running == 0

    def progress(self) -> Progress:
        running, completed, cancelled, events = undecided(self.ledger)
        return Progress(len(self.accepted), len(self.orders), running, completed, cancelled, events)


def orders_of_the_day(count: int, chance: Random) -> list[OrderCreated]:
    """Orders with trouble written on their cards and addresses; some of the first have a carrier that never answers."""
    orders: list[OrderCreated] = []
    for number in range(count):
        sku = chance.choice(["lamp", "lamp", "chair", "chair", "signed poster"])
        lines = tuple(
            Line(each, chance.randint(1, 2)) for each in dict.fromkeys((sku, chance.choice(["lamp", "chair"])))
        )
        card, address = chance.choice(CARDS), chance.choice(ADDRESSES)
        if number < count * 0.4 and number % 12 == 0:
            card, address = "good", chance.choice(["lost-always", "down-always"])
        total = Decimal(sum(line.quantity for line in lines)) * Decimal("9.90")
        orders.append(
            OrderCreated(
                order_id=f"{number:04}",
                card=f"{card}/{number}",
                total=total,
                address=f"{address}/{number}",
                lines=lines,
            )
        )
    return orders


async def publish(board: Board, day: Day, order: OrderCreated) -> None:
    """The order is accepted once, however often it is published."""
    key = f"request-{order.order_id}"
    how = day.chance.choice(["once", "once", "once", "once", "request repeated", "event repeated", "order changed"])
    if how == "request repeated":
        flows = await asyncio.gather(*(board.publish(order, idempotency_key=key) for _ in range(3)))
    elif how == "event repeated":
        flows = await asyncio.gather(*(board.publish(order) for _ in range(2)))
    else:
        flows = [await board.publish(order, idempotency_key=key)]
    day.accepted.append(order)
    day.repeated += sum(not flow.is_new for flow in flows)
    if how == "order changed":
        try:
            await board.publish(replace(order, total=order.total * 2))
        except (FlowIsOpen, FlowHasEnded):
            day.refused += 1


async def load(board: Board, day: Day) -> None:
    """Publish all orders at the day's rate, as many at once as it takes."""
    async with asyncio.TaskGroup() as group:
        for order in day.orders:
            group.create_task(publish(board, day, order))
            await asyncio.sleep(day.chance.expovariate(day.rate))


async def torment(day: Day, workers: Sequence[Worker], kills: int, show: Lines) -> None:
    """Kill one worker after the other with kill -9, until `kills` of them hit work in hand or the day is over."""
    pause = 0.5 * len(day.orders) / day.rate / max(1, kills)
    while day.landed < kills and not day.over():
        worker = workers[day.kills % len(workers)]
        began = handled(day.ledger, worker.services)
        await asyncio.sleep(day.chance.uniform(0.5, 1.0) * pause)
        while not day.over() and (  # noqa: ASYNC110  # what it waits for happens in another process
            handled(day.ledger, worker.services) == began or not unfinished(day.ledger, worker.services)
        ):
            await asyncio.sleep(0.02)  # it has not begun to work, or has nothing to do
        if day.over():
            return
        await worker.kill()
        day.kills += 1
        left = unfinished(day.ledger, worker.services)
        day.landed += left > 0
        show.say(f"kill -9 of {' and '.join(worker.services)}; deliveries left unfinished: {left}")
        await asyncio.sleep(day.chance.uniform(0.1, 0.6))
        await worker.start()


async def watch(day: Day, show: Lines) -> None:
    """Show how it goes until every order has its end, or patience is at its end."""
    began = time.monotonic()
    while not day.all_in():
        show.show(day.progress())
        await asyncio.sleep(0.25)
    day.pace = day.progress().events / (time.monotonic() - began)
    deadline = time.monotonic() + PATIENCE
    while (now := day.progress()).running and time.monotonic() < deadline:
        show.show(now)
        await asyncio.sleep(0.25)


async def run(day: Day, kills: int, show: Lines) -> None:
    """The day, from the first delivery of stock to the last order's end."""
    clock = FastClock(day.began, day.speed)
    shares = (("orders", "inventory"), ("payments", "shipping"))
    workers = [Worker(day.folder, share, day.began, day.speed) for share in shares]
    async with shop.open(f"sqlite:///{day.ledger}", services=[], clock=clock) as board:
        async with board.transaction(inventory) as tx:
            for sku, pieces in STOCK.items():
                await tx.put(Shelf(sku=sku, free=pieces))
        for worker in workers:
            await worker.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load(board, day))
                group.create_task(torment(day, workers, kills, show))
                group.create_task(watch(day, show))
        finally:
            codes = await asyncio.gather(*(worker.stop() for worker in workers))
            if any(codes):
                show.say(f"the workers ended with {codes}: see {day.folder / 'workers.log'}")


def summary(day: Day, report: Report) -> str:
    ways = [(f"  {way}", count) for way, count in sorted(report.ways.items())]
    return table(
        [
            ("orders", len(day.accepted)),
            *ways,
            ("retries", report.retries),
            ("duplicates suppressed", day.repeated + day.refused + report.repeated_calls),
            ("  published again, one flow came of it", day.repeated),
            ("  another order under its key, refused", day.refused),
            ("  calls outside repeated, under their key", report.repeated_calls),
            ("dead letters", report.dead_letters),
            ("events/s while orders came in", f"{day.pace:.0f}"),
            ("kills that landed while work was unfinished", f"{day.landed} of {day.kills}"),
            ("must read 0", ""),
            ("charged twice", report.charged_twice),
            ("lost orders", report.lost_orders),
            ("stock or money not given back", report.not_given_back),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=25, help="orders in a second (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=4, help="kill -9 of a worker, so often (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="order the same trouble again")
    parser.add_argument("--speed", type=float, default=90, help="the clock runs so much faster (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=None, help="keep the files here; it must be empty")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else Random().randrange(10_000)
    chance = Random(seed)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="callboard-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    day = Day(folder, orders_of_the_day(given.orders, chance), chance, given.rate, given.speed)
    with screen() as show:
        deadline = f"half an hour is {1800 / given.speed:.0f} s"
        show.say(f"{given.orders} orders, seed {seed}; the clock runs {given.speed:g} times as fast: {deadline}")
        asyncio.run(run(day, given.kills, show))
    report = audit(folder, day.accepted, STOCK)
    print(summary(day, report))
    for line in report.trouble[:20]:
        print(line, file=sys.stderr)
    if report.clean and given.folder is None:
        shutil.rmtree(folder)
    else:
        print(f"the files are in {folder}", file=sys.stderr)
    return 0 if report.clean and day.all_in() else 1


if __name__ == "__main__":
    sys.exit(main())
