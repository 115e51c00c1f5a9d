"""A workshop that mends what is brought: one flow with a join, a gather, prerequisites, timers and four compensations.

Written for worlds: whatever the options of a reaction promise is at stake in it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    event,
    failure,
    port,
    state,
)
from callboard.ledger import Note, Wish
from callboard.letters import patiently
from callboard.simulation.world import World

MINUTE = timedelta(minutes=1)
FEW = Retry(max_attempts=3, first_wait=timedelta(seconds=2), max_wait=MINUTE)
LONG = timedelta(hours=12)  # longer than any row of accidents takes
FREE = 2  # of each part, in the beginning


@event
class Brought:
    repair_id: str
    sku: str
    pieces: int


@event
class Reserved:
    repair_id: str
    sku: str


@failure
class SoldOut:
    repair_id: str


@event
class PutBack:
    repair_id: str


@event
class Paid:
    repair_id: str


@failure
class Declined:
    repair_id: str


@event
class Refunded:
    repair_id: str


@event
class Shipped:
    repair_id: str


@event
class SentBack:
    repair_id: str


@event
class Delivered:  # said outside, more than once
    repair_id: str
    number: int


@event
class LaidOut:
    repair_id: str
    number: int


@event
class Cleared:
    repair_id: str


@event
class Piece:
    repair_id: str
    number: int


@event
class Mended:
    repair_id: str
    number: int


@event
class Fitted:
    repair_id: str


@event
class Assembled:
    repair_id: str


@event
class Polished:
    repair_id: str


@event
class Hopeless:
    repair_id: str


@event
class Asked:  # said outside, often before there is an answer
    repair_id: str
    number: int


@event
class Answered:
    repair_id: str
    number: int


@event
class Reminded:
    repair_id: str


@event
class Weighed:
    repair_id: str


@event
class Collected:
    repair_id: str


@event
class GivenUp:
    repair_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = FREE


@state(key="repair_id")
class Rack:
    repair_id: str
    laid: int = 0


@port
class Bank(Protocol):
    async def charge(self, *, key: str) -> bool: ...
    async def void(self, *, key: str) -> None: ...


@port
class Supplier(Protocol):
    async def order(self, *, key: str) -> None: ...
    async def cancel(self, *, key: str) -> None: ...


@port
class Tools(Protocol):
    async def mend(self, *, key: str) -> None: ...


class Patience:
    """Which repairs have been polished in vain: the polish fails until an operator asks for it once more."""

    world: World | None = None


store, till, bench, desk = Service("store"), Service("till"), Service("bench"), Service("desk")


@store.reaction
def reserve(brought: Brought, shelf: Shelf) -> Reserved | SoldOut:
    shelf.free -= 1  # a refusal saves nothing of what is shared
    if shelf.free < 0:
        return SoldOut(repair_id=brought.repair_id)
    return Reserved(repair_id=brought.repair_id, sku=brought.sku)


@store.reaction(compensates=reserve)
def put_back(why: GivenUp, reserved: Reserved, shelf: Shelf) -> PutBack:
    shelf.free += 1
    return PutBack(repair_id=why.repair_id)


@store.reaction(retry=FEW)
async def ship(reserved: Reserved, supplier: Supplier, ctx: Context) -> Shipped:
    await supplier.order(key=ctx.idempotency_key())
    return Shipped(repair_id=reserved.repair_id)


@store.reaction(compensates=ship, retry=FEW)
async def send_back(why: GivenUp | Hopeless, shipped: Shipped, supplier: Supplier, ctx: Context) -> SentBack:
    await supplier.cancel(key=ctx.key_of(ship))
    return SentBack(repair_id=why.repair_id)


@till.reaction(retry=FEW)
async def deposit(reserved: Reserved, bank: Bank, ctx: Context) -> Paid | Declined:
    if await bank.charge(key=ctx.idempotency_key()):
        return Paid(repair_id=reserved.repair_id)
    return Declined(repair_id=reserved.repair_id)


@till.reaction(compensates=deposit, retry=FEW)
async def refund(why: GivenUp | Hopeless, paid: Paid | None, bank: Bank, ctx: Context) -> Refunded:
    await bank.void(key=ctx.key_of(deposit))
    return Refunded(repair_id=why.repair_id)


@bench.reaction
def lay_out(delivered: Delivered, rack: Rack) -> LaidOut:
    rack.laid += 1
    return LaidOut(repair_id=delivered.repair_id, number=delivered.number)


@bench.reaction(compensates=lay_out)
def clear(why: GivenUp | Hopeless, laid: LaidOut, rack: Rack) -> Cleared:
    rack.laid -= 1
    return Cleared(repair_id=why.repair_id)


@bench.reaction(needs=Brought)
def take_apart(paid: Paid, brought: Brought) -> list[Piece]:
    return [Piece(repair_id=paid.repair_id, number=number) for number in range(brought.pieces)]


@bench.reaction(per="number", retry=FEW, keeps="what is mended is mended")
async def mend(piece: Piece, tools: Tools, ctx: Context) -> Mended:
    await tools.mend(key=ctx.idempotency_key())
    return Mended(repair_id=piece.repair_id, number=piece.number)


@bench.reaction(gathers=Piece, within=LONG)
def fit(parts: list[Mended]) -> Fitted:
    return Fitted(repair_id=parts[0].repair_id)


@bench.reaction(within=LONG)
def assemble(fitted: Fitted, delivered: Delivered) -> Assembled:
    return Assembled(repair_id=fitted.repair_id)


@bench.reaction(retry=FEW)
def polish(assembled: Assembled, ctx: Context) -> Polished:
    world = Patience.world
    if world is not None and world.loop.time() < 3600:
        raise ConnectionError("no polish is left (simulated)")
    return Polished(repair_id=assembled.repair_id)


@desk.reaction
def despair(failed: ReactionFailed[Piece] | ReactionFailed[Reserved]) -> Hopeless:
    return Hopeless(repair_id=failed.event.repair_id)


@desk.reaction(wait=MINUTE, unless=Paid)
def remind(brought: Brought) -> Reminded:
    return Reminded(repair_id=brought.repair_id)


@desk.reaction(needs=Paid, within=LONG)
def weigh_in(reserved: Reserved) -> Weighed:
    return Weighed(repair_id=reserved.repair_id)


@desk.reaction(needs=Assembled | GivenUp, per="number", within=LONG)
def answer(asked: Asked) -> Answered:
    return Answered(repair_id=asked.repair_id, number=asked.number)


@desk.reaction(once="end")
def hand_over(assembled: Assembled) -> Collected:
    return Collected(repair_id=assembled.repair_id)


@desk.reaction(once="end")
def give_up(why: SoldOut | Declined | Hopeless) -> GivenUp:
    return GivenUp(repair_id=why.repair_id)


@desk.reaction(once="end")
def give_up_late(late: FlowTimedOut[Brought]) -> GivenUp:
    return GivenUp(repair_id=late.started.repair_id)


workshop = Choreography(
    "workshop",
    store,
    till,
    bench,
    desk,
    incoming=Delivered | Asked,
    flows=[
        Flow(
            "repair",
            key="repair_id",
            starts=Brought,
            succeeds=tuple[Collected, Weighed],
            fails=GivenUp,
            timeout=20 * MINUTE,
            home=desk,
        )
    ],
)


@workshop.workload
async def a_day(world: World) -> None:
    """Seven repairs; what they need is delivered twice, and somebody asks after them. Then an operator comes."""
    Patience.world = world
    said: list[object] = []
    for number in range(7):
        repair = f"repair-{number + 1}"
        said.append(Brought(repair_id=repair, sku="ab"[number % 2] if number < 6 else "b", pieces=1 + number % 3))
        said += [Delivered(repair_id=repair, number=each) for each in (1, 2)]
        said += [Asked(repair_id=repair, number=each) for each in (1, 2)]
    at = [world.choices.between(f"say {each}", 0.0, 30.0) for each in said]
    at = [when if isinstance(each, Brought) else 30 + 4 * when for each, when in zip(said, at, strict=True)]
    await asyncio.gather(*(world.publish(each, after=when) for each, when in zip(said, at, strict=True)))
    await asyncio.sleep(4000 - world.loop.time())
    await asyncio.gather(*(_ask_for_all(world, name) for name in world.workers))


async def _ask_for_all(world: World, name: str) -> None:
    """An operator asks for every dead letter, also of flows that are over: those are refused by the owner."""
    board = await world.workers[name].up()
    rows = await board.work.ledger.parked(why=["dead"])
    rows, now = [row for row in rows if row.reaction in board.work.readers], board.work.now()
    for row in rows:
        row.asked, row.due = Wish("replay"), now
    notes = [Note(row.pos, row.reaction, row.flow, "asked", "replay", now) for row in rows]
    await patiently(lambda: board.work.ledger.ask(rows, notes))
    board.work.wishes = True
    board.work.wake()


@workshop.invariant
async def the_shelf_adds_up(world: World) -> None:
    taken = len(world.events(Reserved)) - len(world.events(PutBack))
    shelves = await world.rows(Shelf)
    assert sum(FREE - shelf.free for shelf in shelves) == taken, "the shelves say something else than the events"


@workshop.invariant
async def the_rack_adds_up(world: World) -> None:
    laid = len(world.events(LaidOut)) - len(world.events(Cleared))
    assert sum(rack.laid for rack in await world.rows(Rack)) == laid, "the racks say something else than the events"


@workshop.invariant
def nobody_waits_in_vain(world: World) -> None:
    gave_up = (line.text for line in world.lines if line.what == "dead letter")
    if all(text.startswith("bench.polish") for text in gave_up):
        late = [line.flow for line in world.lines if "-> Weighed" in line.text and line.time > LONG.total_seconds() / 2]
        assert not late, f"{late} waited to the end of their patience for what had come"


@workshop.invariant
def what_is_over_is_not_replayed(world: World) -> None:
    over, dead = set[str](), set[str]()
    for line in world.lines if len(world.disks) == 1 else ():
        if line.what == "verdict":
            over.add(line.flow)
        elif line.what == "dead letter" and line.text.startswith("bench.polish"):
            dead.add(line.flow)
        polished = line.what == "commits" and line.text.startswith("bench.polish -> Polished")
        assert not (polished and line.flow in over & dead), f"{line.flow} was polished by a replay after its end"
