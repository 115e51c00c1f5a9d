"""`callboard demo`."""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import click

from callboard.board import Board
from callboard.cli.command import Command, Refusal, option
from callboard.cli.demo_shop import ForgetfulBank, OrderPlaced, Shelf, keepers, shop, stock, wrongs
from callboard.cli.output import note, say_json, table
from callboard.cli.settings import Duration, json_option

CUSTOMERS = 64
ARTICLES = tuple(f"sku-{number}" for number in range(12))
ON_SHELF = 10_000
RARE = 40  # of the rare article there are so many


class Tally:
    """What the customers saw."""

    def __init__(self) -> None:
        self.verdicts: dict[str, str | None] = {}
        self.duplicates = 0
        self.began = time.perf_counter()

    def count(self, verdict: str | None) -> int:
        """How many orders ended so; None: not yet."""
        return sum(each == verdict for each in self.verdicts.values())


@click.command(cls=Command, name="demo")
@option("--for", "duration", type=Duration(), default="6s", help="How long orders come in.")
@option("--keep", metavar="FILE", help="Keep the ledger in this new file.")
@option("--seed", type=int, help="Draw the same orders and troubles again.")
@json_option
def command(duration: timedelta, keep: str | None, seed: int | None, *, as_json: bool) -> int:
    """Run a small shop under load: sold-out articles, refused cards, a bank that loses answers, orders sent twice.

    It ends with a table, and with exit code 1 if one of the three counters is not 0. The ledger is a temporary file;
    with --keep it stays, for `callboard flows list` and the others to look at.
    """
    with _place(keep) as url:
        found = asyncio.run(_demo(url, duration, Random(seed), seed))  # noqa: S311
    wrong = sum(found["counters"].values())
    if as_json:
        say_json("demo", found)
    else:
        rows = [(name, str(value)) for name, value in found["figures"].items()]
        rows += [(name, str(value)) for name, value in found["counters"].items()]
        table(
            ("", ""),
            rows,
            ["" for _ in found["figures"]] + ["failure" if n else "good" for n in found["counters"].values()],
        )
    if keep is not None:
        note(f"look around: callboard flows list --ledger sqlite:///{keep}")
        note("             callboard graph callboard.cli.demo_shop:shop")
    return 1 if wrong else 0


@contextmanager
def _place(keep: str | None) -> Iterator[str]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="callboard-") as folder:
            yield f"sqlite:///{folder}/demo.db"
        return
    if Path(keep).exists():
        raise Refusal(2, f"{keep} is there already: the demo begins with a new file")
    yield f"sqlite:///{keep}"


async def _demo(url: str, duration: timedelta, chance: Random, seed: int | None) -> dict[str, Any]:
    given = keepers(seed)
    bank = next(each for each in given if isinstance(each, ForgetfulBank))
    tally = Tally()
    async with shop.open(url, ports=given) as board:
        async with board.transaction(stock) as edit:
            for sku in ARTICLES:
                await edit.put(Shelf(sku=sku, free=RARE if sku == ARTICLES[0] else ON_SHELF))
        until = time.perf_counter() + duration.total_seconds()
        with _progress(tally, bank, duration):
            await asyncio.gather(*(_customer(board, tally, chance, n, until) for n in range(CUSTOMERS)))
        took = time.perf_counter() - tally.began
        shelves = [await board.load(Shelf, sku) for sku in ARTICLES]
        events = await board.work.ledger.head()
        dead = len(await board.work.ledger.parked(why=["dead"]))
    stocked = RARE + ON_SHELF * (len(ARTICLES) - 1)
    missing = stocked - sum(shelf.free for shelf in shelves if shelf is not None)
    sold = tally.count("succeeded")
    figures = {
        "orders": len(tally.verdicts),
        "succeeded": sold,
        "failed and undone": tally.count("failed"),
        "answers that the bank lost": bank.lost_answers,
        "duplicates suppressed": tally.duplicates,
        "dead letters left": dead,
        "events": events,
        "events/s": round(events / took),
    }
    return {"figures": figures, "counters": dict(wrongs(tally.verdicts, bank, sold, missing))}


async def _customer(board: Board, tally: Tally, chance: Random, number: int, until: float) -> None:
    """Orders, sometimes twice, and waits for the end of it before ordering again."""
    ordered = 0
    while time.perf_counter() < until:
        ordered += 1
        order_id = f"o-{number}-{ordered}"
        card = "declined" if chance.random() < 0.08 else "good"
        placed = OrderPlaced(order_id=order_id, sku=chance.choice(ARTICLES), card=card)
        tally.verdicts[order_id] = None
        flow = await board.publish(placed, idempotency_key=order_id)
        if chance.random() < 0.1:
            again = await board.publish(placed, idempotency_key=order_id)
            tally.duplicates += not again.is_new
        try:
            tally.verdicts[order_id] = (await flow.completion(timeout=timedelta(seconds=60))).verdict
        except TimeoutError:
            return  # it counts as lost


@contextmanager
def _progress(tally: Tally, bank: ForgetfulBank, duration: timedelta) -> Iterator[None]:
    """A line that lives, where somebody watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(30), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=duration.total_seconds())
        watching = asyncio.get_running_loop().create_task(_watch(progress, task, tally, bank))
        try:
            yield
        finally:
            watching.cancel()


async def _watch(progress: Any, task: Any, tally: Tally, bank: ForgetfulBank) -> None:
    while True:
        seen = Counter(tally.verdicts.values())
        said = f"{seen['succeeded']} orders shipped, {seen['failed']} undone, {bank.lost_answers} answers lost"
        progress.update(task, description=said, completed=time.perf_counter() - tally.began)
        await asyncio.sleep(0.1)
