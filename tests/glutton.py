"""Somebody who wants more than there may be: an event too large, too many at once, a loop without an end, SQL on tables
that are not theirs. Each is refused, and told.
"""

from __future__ import annotations

from callboard import Choreography, Context, Retry, Service, event
from callboard.board import Board
from callboard.errors import TooLarge, TransactionRefused
from callboard.hops.limits import DEPTH, FAN_OUT, PAYLOAD
from callboard.simulation.world import World


@event(key="name")
class Wanted:
    name: str
    text: str = ""


@event(key="name")
class Crumb:
    name: str


@event(key="name")
class Turn:
    name: str
    number: int


@event(key="name")
class Tampered:
    name: str


ONCE = Retry(max_attempts=1)
table = Service("table")


@table.reaction(retry=ONCE)
def crumble(wanted: Wanted) -> list[Crumb]:
    return [Crumb(name=wanted.name)] * (FAN_OUT + 1)


@table.reaction(retry=ONCE)
def turn(said: Wanted | Turn) -> Turn | None:
    number = said.number + 1 if isinstance(said, Turn) else 0
    return Turn(name=said.name, number=number) if number < DEPTH + 20 else None


@table.reaction(retry=ONCE)
def tamper(wanted: Wanted, ctx: Context) -> Tampered | None:
    try:
        ctx.transaction.execute("UPDATE ledger SET edits = edits + 1")
    except TransactionRefused:
        return None
    return Tampered(name=wanted.name)


glutton = Choreography("glutton", table, incoming=Wanted, flows=[])


@glutton.workload
async def a_meal(world: World) -> None:
    await world.publish(Wanted(name="cake"))

    async def too_much(board: Board) -> None:
        try:
            await board.publish(Wanted(name="feast", text="x" * PAYLOAD))
        except TooLarge:
            return

    await world.insist(next(iter(world.workers.values())), too_much)


@glutton.invariant
def what_is_too_much_is_refused(world: World) -> None:
    assert all(len(entry.data) <= PAYLOAD for _, entry in world.log), "an event is larger than it may be"
    assert len(world.events(Crumb)) <= FAN_OUT, "a run has emitted more than it may"
    assert max((each.number for each in world.events(Turn)), default=0) <= DEPTH, "a loop has no end"


@glutton.invariant
def nobody_writes_on_tables_of_callboard(world: World) -> None:
    assert not world.events(Tampered)
