"""A yard of carts that move: lines and rows without a flow, ports with limits, SQL, a projection, and an operator.

Written for worlds: what ends its worker, what fails until an operator has edited it, and what fails for a while.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Protocol

from callboard import (
    Breaker,
    Choreography,
    CodecError,
    Context,
    Guarded,
    LedgerRefusal,
    Projection,
    ReactionFailed,
    Retry,
    Service,
    States,
    event,
    port,
    state,
)
from callboard.board import Board
from callboard.errors import CallboardError
from callboard.hops.attempt import Attempt
from callboard.ledger import Note, Wish, on_record
from callboard.letters import patiently
from callboard.rebuild import rebuild, switch
from callboard.simulation.loop import LIFE, PowerCut
from callboard.simulation.world import World

SECOND = timedelta(seconds=1)
MANY = Retry(max_attempts=8, first_wait=SECOND, max_wait=timedelta(minutes=10))
THREE = Retry(max_attempts=3, first_wait=SECOND)
CARTS, MOVES = ("red", "blue", "grey"), 6
OUTAGE = (20.0, 220.0)  # seconds in which the relay is out
POISON = 4  # the number of the move that ends its worker


@event(key="cart")
class Moved:
    cart: str
    number: int
    gate: str
    weight: int
    label: str = "clean"


@event(key="cart")
class Seen:
    cart: str
    number: int


@event(key="cart")
class Typed:
    cart: str
    number: int


@event(key="cart")
class Printed:
    cart: str
    number: int


@event(key="cart")
class Struck:
    cart: str
    number: int


@event(key="cart")
class Scanned:
    cart: str
    number: int


@event(key="cart")
class Missed:
    cart: str
    number: int


@event(key="cart")
class Booked:
    cart: str
    number: int


@state(key="gate")
class Gate:
    gate: str
    count: int = 0


@state(key="gate")
class Tally:
    gate: str
    count: int = 0


@state(key="name")
class Scale:
    name: str
    weight: int = 0


@state(key="cart")
class Way:
    cart: str
    moves: int = 0


@state(key="gate")
class Crowd:
    gate: str
    weight: int = 0


@port
class Radio(Protocol):
    async def say(self, *, key: str) -> None: ...


@port
class Horn(Protocol):
    def check(self, gate: str, count: int) -> None: ...


@port
class Relay(Protocol):
    async def tell(self, *, key: str) -> None: ...


class Site:
    """The world in which the yard is lived, and what the people in it have to complain of."""

    world: World | None = None
    complaints: tuple[str, ...] = ()


def in_vain(until: float) -> bool:
    """Whether it is not so late yet."""
    return Site.world is not None and Site.world.loop.time() < until


def end_the_worker() -> None:
    """The power is off, whoever runs; in every other world."""
    world, life = Site.world, LIFE.get()
    if world is not None and life is not None and world.choices.seed % 2:
        world.tell(life.worker, "FAULT", "dies of what it reads")
        world.workers[life.worker].cut(1.0)
        raise PowerCut


yard, books = Service("yard"), Service("books")


@yard.reaction(retry=MANY)
async def follow(moved: Moved, radio: Radio, ctx: Context) -> Seen:
    await radio.say(key=ctx.idempotency_key())
    return Seen(cart=moved.cart, number=moved.number)


@yard.reaction
def tally(moved: Moved, tally: Tally) -> None:
    tally.count += 1


@yard.reaction(retry=MANY)
def blow(moved: Moved, tally: Tally | None, horn: Horn) -> None:
    horn.check(moved.gate, tally.count if tally is not None else 0)


@yard.reaction(retry=MANY, order="loose")
async def count(moved: Moved, gate: Gate, radio: Radio, ctx: Context) -> None:
    await radio.say(key=ctx.idempotency_key())
    gate.count += 1


@yard.reaction(retry=MANY, order="loose")
async def weigh(moved: Moved, scales: States[Scale], radio: Radio, ctx: Context) -> None:
    scale = await scales.get("all") or Scale(name="all")
    await radio.say(key=ctx.idempotency_key())
    scale.weight += moved.weight
    scales.put(scale)


@yard.reaction(retry=MANY, order="loose")
async def relay(moved: Moved, relay: Relay, ctx: Context) -> None:
    await relay.tell(key=ctx.idempotency_key())


@yard.reaction(retry=THREE)
async def set_type(moved: Moved, radio: Radio, ctx: Context) -> Typed:
    await radio.say(key=ctx.idempotency_key())
    return Typed(cart=moved.cart, number=moved.number)


@yard.reaction(retry=THREE)
def print_out(typed: Typed) -> Printed:
    if typed.number == POISON:
        end_the_worker()
    return Printed(cart=typed.cart, number=typed.number)


@yard.reaction(retry=THREE, wait=timedelta(minutes=2), order="loose")
def strike(moved: Moved) -> Struck:
    if moved.number == POISON and moved.cart == "red":
        end_the_worker()
    return Struck(cart=moved.cart, number=moved.number)


@yard.reaction(retry=Retry(max_attempts=3, never=ConnectionError), order="loose")
def scan(moved: Moved) -> Scanned:
    if moved.label != "clean":
        raise ConnectionError(f"{moved.label} cannot be read (simulated)")
    return Scanned(cart=moved.cart, number=moved.number)


@yard.reaction
def miss(failed: ReactionFailed[Moved]) -> Missed:
    return Missed(cart=failed.event.cart, number=failed.event.number)


@books.reaction(retry=THREE)
def book(moved: Moved, ctx: Context) -> Booked:
    db = ctx.transaction
    db.execute("CREATE TABLE IF NOT EXISTS booking (cart TEXT, number INTEGER)")
    db.execute("INSERT INTO booking VALUES (?, ?)", (moved.cart, moved.number))
    if moved.number == 1 and ctx.attempt == 1:
        raise ConnectionError("not now (simulated)")
    return Booked(cart=moved.cart, number=moved.number)


ways = Projection("ways")


@ways.fold
def go(moved: Moved, way: Way) -> None:
    way.moves += 1


@ways.fold
def crowd(moved: Moved, crowd: Crowd) -> None:
    if moved.number == 2 and in_vain(300):
        raise ConnectionError("not now (simulated)")
    crowd.weight += moved.weight


carts = Choreography("yard", yard, books, incoming=Moved, flows=[], projections=[ways])


class TheRadio(Radio):
    async def say(self, *, key: str) -> None: ...


class TheHorn(Horn):
    """Knows what is committed."""

    def check(self, gate: str, count: int) -> None:
        world = Site.world
        disk = world.disks.get("yard") if world is not None else None
        if disk is not None:
            rows = disk.query('SELECT data FROM "state_Tally" WHERE key = ?', gate)
            uncommitted = disk.db is not None and disk.db.in_transaction
            if not uncommitted and count > max((int(row[0].split(b":")[-1].strip(b"}")) for row in rows), default=0):
                Site.complaints += ("the horn was blown for what is not committed",)


class TheRelay(Relay):
    """Is out for a while, and counts who comes all the same."""

    def __init__(self) -> None:
        self.came = Counter[int]()

    async def tell(self, *, key: str) -> None:
        if in_vain(OUTAGE[1]) and not in_vain(OUTAGE[0]):
            life = LIFE.get()
            self.came[life.number if life is not None else 0] += 1
            if max(self.came.values()) > 8:
                Site.complaints += ("the relay is called again and again while its breaker is open",)
            raise ConnectionError("the relay is out (simulated)")


def keepers() -> list[object]:
    """Those of one world."""
    pause = Breaker(failures=2, pause=timedelta(minutes=1))
    return [TheRadio(), TheHorn(), Guarded(TheRelay(), concurrency=1, breaker=pause)]


@carts.workload
async def a_day(world: World) -> None:
    """Three carts move; one of their labels in three is smudged. Then operators see to it."""
    Site.world, Site.complaints = world, ()
    moves = [
        Moved(cart=cart, number=number, gate="ab"[number % 2], weight=number + 1, label=_label(cart, number))
        for number in range(MOVES)
        for cart in CARTS
    ]
    await asyncio.gather(_stop_and_start(world), *(world.publish(each, after=4.0 * each.number) for each in moves))
    for at, step in ((100, _rebuild), (400, _ask_twice), (600, _leave_the_line), (900, _stop), (1500, _clean)):
        await asyncio.sleep(max(0.0, at - world.loop.time()))
        for worker in list(world.workers.values()):
            with suppress(CallboardError):
                await world.insist(worker, step)


def _label(cart: str, number: int) -> str:
    return "smudged" if number % 3 == 1 and cart != "grey" else "clean"


def _complain(text: str) -> None:
    Site.complaints += (text,)


async def _stop_and_start(world: World) -> None:
    """A new build is rolled out while the carts move: what runs is finished, and nothing is begun."""
    for at in (8.1, 12.1, 16.1):
        await asyncio.sleep(at - world.loop.time())
        for worker in list(world.workers.values()):
            board, calls = await worker.up(), len(world.calls)
            stopping = asyncio.ensure_future(_at_the_stop(board))
            if not await worker.stop():
                stopping.cancel()
                continue
            began, running = await stopping
            told = {(each.delivery.reader.path, world.flow_name(each.delivery.trigger.id)) for each in running}
            over = [each for each in running if not each.finished or isinstance(each.error, asyncio.CancelledError)]
            cut = [each.delivery.reader.path for each in over]
            if cut and world.loop.time() - began < 1.9:
                _complain(f"a stop has cut {cut[0]}")
            if cut and any(clean for (clean,) in worker.disk.query("SELECT clean FROM owner")):
                _complain("a stop that has cut something was called clean")
            late = [each for each in world.calls[calls:] if each.at > began + 0.5]
            if begun := [each.told for each in late if (each.reaction, each.flow) not in told]:
                _complain(f"a worker that stops has begun {begun[0]}")
            worker.start()


async def _at_the_stop(board: Board) -> tuple[float, set[Attempt]]:
    """When nothing more may be begun, and what runs then."""
    while not board.work.draining:  # noqa: ASYNC110 - of what happens at once nobody is told by an event
        await asyncio.sleep(0)
    return asyncio.get_running_loop().time(), {each for each in board.work.running if not each.finished}


async def _rebuild(board: Board) -> None:
    record = on_record("rebuild", "ways", by="an operator", now=board.work.now())
    await patiently(lambda: rebuild(board.work.ledger, ways, record))
    board.work.moved = True
    board.work.wake()
    for _ in range(200):
        try:
            await patiently(lambda: switch(board.work.ledger, ways, record))
        except LedgerRefusal:
            await asyncio.sleep(0.01)
        else:
            break
    board.work.moved = True
    board.work.wake()


async def _ask_twice(board: Board) -> None:
    """Two operators have looked at one list of dead letters; the second comes too late."""
    now, ledger = board.work.now(), board.work.ledger
    rows = [row for row in await ledger.parked(why=["dead"]) if row.reaction == "yard.scan" and row.asked is None]
    for row in rows[:1]:
        notes = [Note(row.pos, row.reaction, row.flow, "asked", "replay", now)]
        wishes: list[list[bool]] = []
        for _ in range(2):
            row.asked, row.due = Wish("replay"), now
            wishes.append(await patiently(partial(ledger.ask, [row], notes)))
        if wishes[1] != [False]:
            _complain("one dead letter was given two replays")
    board.work.wishes = True
    board.work.wake()


async def _leave_the_line(board: Board) -> None:
    letters = board.dead_letters
    for letter in (await letters.find(reaction="yard.scan"))[:1]:
        try:
            await letters.edit(letter, {"cart": "green"}, by="an operator")
        except CodecError:
            pass
        else:
            _complain("an edit left its line")
        await letters.edit(letter, {"label": "smeared"}, by="an operator")


async def _stop(board: Board) -> None:
    """The first that fails again stops the others of its batch."""
    letters = board.dead_letters
    batch = await letters.replay(
        await letters.find(reaction="yard.scan"), by="an operator", stop_on_failure=True, rate=1
    )
    board.work.wishes = True
    board.work.wake()
    came = await batch.done(timedelta(minutes=5))
    # one that was asked for by itself before, and comes now, is none of the batch
    if sum(why.startswith("failed again") and "(rp-" in why for why in came.values()) > 1:
        _complain("a replay that failed did not stop the others")


async def _clean(board: Board) -> None:
    letters = board.dead_letters
    for letter in await letters.find(reaction="yard.scan"):
        await letters.edit(letter, {"label": "clean"}, by="an operator")
    await letters.replay(await letters.find(reaction="yard.scan"), by="an operator")
    board.work.wishes = True
    board.work.wake()


@carts.invariant
def nobody_complains(world: World) -> None:
    assert not Site.complaints, "; ".join(sorted(set(Site.complaints)))


@carts.invariant
async def each_move_counts_once(world: World) -> None:
    moves = {(each.cart, each.number): each for each in world.events(Moved)}.values()
    sums = {
        "tally": (sum(row.count for row in await world.rows(Tally)), len(moves)),
        "count": (sum(row.count for row in await world.rows(Gate)), len(moves)),
        "weigh": (sum(row.weight for row in await world.rows(Scale)), sum(each.weight for each in moves)),
    }
    for reaction, (there, wanted) in sums.items():
        gave_up = any(line.what == "dead letter" and line.text.startswith(f"yard.{reaction}") for line in world.lines)
        assert there == wanted or (gave_up and there < wanted), f"{reaction} says {there}, and {wanted} happened"


@carts.invariant
def each_booking_is_there_once(world: World) -> None:
    disk = world.disks.get("books") or world.disks["yard"]
    with suppress(sqlite3.OperationalError):  # nothing was ever booked
        rows = sorted(disk.query("SELECT cart, number FROM booking"))
        booked = sorted((each.cart, each.number) for each in world.events(Booked))
        assert rows == booked, f"{len(rows)} bookings of {len(booked)} are in the table"


@carts.invariant
def what_ends_its_worker_is_blamed(world: World) -> None:
    if any(line.what == "FAULT" and line.text.startswith("dies ") and "reads" not in line.text for line in world.lines):
        return  # then others were running too, again and again
    blamed = [line.text for line in world.lines if line.what == "dead letter" and "ended its process" in line.text]
    struck = " ".join(line.text for line in world.lines if line.what == "FAULT")  # a call of theirs failed beside it
    innocent = [text for text in blamed if f"in {text.partition('#')[0]}#" not in struck]
    # what has SQL of its own is announced before its turn in a commit comes, and blamed for what happens in between
    innocent = [text for text in innocent if not text.startswith(("yard.print_out", "yard.strike", "books.book"))]
    assert not innocent, f"blamed for the end of its worker: {innocent[0]}"


@carts.invariant
def no_run_is_repeated_for_nothing(world: World) -> None:
    """A row that a reaction names is held while it runs: it is not run again because somebody else has changed it."""
    if any(line.what == "FAULT" and line.text.startswith("dies ") for line in world.lines):
        return
    of_count = (call for call in world.calls if call.reaction == "yard.count" and call.took_place)
    calls = Counter((call.delivery, call.attempt) for call in of_count)
    assert max(calls.values(), default=0) <= 1, "count has run twice in one attempt"
