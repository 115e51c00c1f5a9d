"""An archive of loans that are soon forgotten: what is pruned neither comes again nor is missed by anybody.

Written for worlds: a clerk who is away for long, requests that are repeated, and a projection that is rebuilt too late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from callboard import (
    Breaker,
    Choreography,
    Context,
    Flow,
    Guarded,
    LedgerRefusal,
    Projection,
    Retry,
    Service,
    event,
    port,
    state,
)
from callboard.board import Board
from callboard.errors import CallboardError
from callboard.hops.retention import Retention, prune
from callboard.ledger import on_record
from callboard.letters import patiently
from callboard.rebuild import rebuild, switch
from callboard.simulation.world import World

KEEP = timedelta(minutes=1)
LOANS = 4
BACK = 2000.0  # seconds until the clerk is there


@event
class Lent:
    loan_id: str


@event
class Stamped:
    loan_id: str


@event
class Filed:
    loan_id: str


@state(key="loan_id")
class Card:
    loan_id: str
    stamps: int = 0


@port
class Clerk(Protocol):
    async def file(self, *, key: str) -> None: ...


class Hall:
    """The world in which the archive is lived."""

    world: World | None = None


class TheClerk(Clerk):
    async def file(self, *, key: str) -> None:
        if Hall.world is not None and Hall.world.loop.time() < BACK:
            raise ConnectionError("the clerk is away (simulated)")


front, back = Service("front"), Service("back")
cards = Projection("cards")


@cards.fold
def keep_card(stamped: Stamped, card: Card) -> None:
    card.stamps += 1


@front.reaction
def stamp(lent: Lent) -> Stamped:
    return Stamped(loan_id=lent.loan_id)


@back.reaction(retry=Retry(max_attempts=50, first_wait=timedelta(seconds=1)), order="loose")
async def file(stamped: Stamped, clerk: Clerk, ctx: Context) -> Filed:
    await clerk.file(key=ctx.idempotency_key())
    return Filed(loan_id=stamped.loan_id)


archive = Choreography(
    "archive",
    front,
    back,
    flows=[Flow("loan", key="loan_id", starts=Lent, succeeds=Stamped, timeout=KEEP, keep=KEEP)],
    projections=[cards],
)


def keepers() -> list[object]:
    """Those of one world."""
    return [Guarded(TheClerk(), concurrency=1, breaker=Breaker(failures=1, pause=timedelta(minutes=5)))]


@archive.workload
async def a_year(world: World) -> None:
    """Loans are asked for, forgotten, and asked for once more under the same keys."""
    Hall.world = world
    for number in range(LOANS):
        await _lend(world, number)
    for at in range(200, 5000, 200):
        await asyncio.sleep(max(0.0, at - world.loop.time()))
        for worker in list(world.workers.values()):
            with suppress(CallboardError):
                await world.insist(worker, _prune)
        if at % 1000 == 0:
            for number in range(LOANS):  # asked once more, while its key is known
                await _lend(world, number)
        if at == 3600:
            home = world.workers.get("front") or world.workers["archive"]
            await home.up()
            await world.insist(home, _rebuild)
        if at in (4000, 4600):
            for worker in world.workers.values():
                await worker.up()
                worker.cut(1.0)


async def _lend(world: World, number: int) -> None:
    worker = world.workers.get("front") or world.workers["archive"]

    async def lend(board: Board) -> None:
        with suppress(CallboardError):  # refused: it is over
            await board.publish(Lent(loan_id=f"loan-{number}"), idempotency_key=f"request {number}")

    await world.insist(worker, lend)


async def _prune(board: Board) -> None:
    separate = board.work.abroad is not None  # else the keys of what is forgotten are known for a day
    retention = Retention(archive, KEEP if separate else timedelta(days=1), separate=separate)
    await patiently(lambda: prune(board.work, retention))


async def _rebuild(board: Board) -> None:
    record = on_record("rebuild", "cards", by="an operator", now=board.work.now())
    with suppress(LedgerRefusal):  # what it would be made of is gone
        await patiently(lambda: rebuild(board.work.ledger, cards, record))
        board.work.moved = True
        board.work.wake()
        await asyncio.sleep(1)
        await patiently(lambda: switch(board.work.ledger, cards, record))
        board.work.moved = True
        board.work.wake()


@archive.invariant
def each_loan_is_lent_and_filed_once(world: World) -> None:
    lent = Counter(each.loan_id for each in world.events(Lent))
    filed = Counter(each.loan_id for each in world.events(Filed))
    assert len(world.disks) > 1 or max(lent.values(), default=0) <= 1, "a request that is known was taken for a new one"
    assert set(filed) == set(lent), "a loan was forgotten before it was filed"
