"""Consignments of parcels: scatter and gather, parts, a join, a timer, `once`, compensations of many effects.

Each parcel is weighed for a fee and stowed in a bay, each consignment needs its papers. `seal` and `abandon` decide, in
one service, how it ends; what an abandoned one has taken is given back: fees at the till, room and counts in the yard.
"""

from datetime import timedelta
from typing import Protocol

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    event,
    failure,
    port,
    state,
)

from .lines import Reading


@event
class ConsignmentPlaced:
    consignment_id: str
    bay: str
    parcels: int
    hurried: bool = False


@event
class ParcelTaken:
    consignment_id: str
    bay: str
    number: int


@event
class FeePaid:
    consignment_id: str
    bay: str
    number: int
    reference: str


@failure
class FeeRefused:
    consignment_id: str
    number: int


@event
class FeeReturned:
    consignment_id: str
    number: int
    undone: bool = True  # False: it was given no fee, as where another has undone it


@event
class FeesSettled:
    consignment_id: str
    number: int | None


@event
class ParcelStowed:
    consignment_id: str
    bay: str
    number: int


@failure
class NoRoom:
    consignment_id: str
    number: int


@event
class ParcelCleared:
    consignment_id: str
    number: int


@event
class Loaded:
    consignment_id: str
    numbers: tuple[int, ...]


@failure
class LoadRefused:
    consignment_id: str


@event
class PapersCleared:
    consignment_id: str


@failure
class PapersRefused:
    consignment_id: str


@event
class PapersChased:
    consignment_id: str


@event
class Sealed:
    consignment_id: str


@event
class Abandoned:
    consignment_id: str
    bay: str


@event
class OwnerTold:
    consignment_id: str


desk, yard, customs = Service("desk"), Service("yard"), Service("customs")
fees, post = Service("fees"), Service("post")

PATIENCE = timedelta(seconds=15)  # longer than the flow's deadline, short enough for a test
QUICK = Retry(max_attempts=6, first_wait=timedelta(milliseconds=60), max_wait=timedelta(seconds=1))
STUBBORN = Retry(max_attempts=12, first_wait=timedelta(milliseconds=60), max_wait=timedelta(milliseconds=500))


@state(key="bay")
class Bay:
    bay: str
    free: int = 0


@state(key="bay")
class Tally:
    """How many parcels of consignments that were not abandoned came to this bay."""

    bay: str
    parcels: int = 0


@state(key="consignment_id")
class Docket:
    consignment_id: str
    end: str = "open"
    chased: int = 0


@port
class Till(Protocol):
    async def charge(self, purpose: str, *, key: str) -> str | None: ...
    async def void(self, *, key: str) -> None: ...
    async def void_all(self, purpose: str) -> None: ...


@port
class Office(Protocol):
    def stamp(self, consignment_id: str, *, hurried: bool) -> bool: ...


@port
class Mail(Protocol):
    async def send(self, consignment_id: str, *, key: str) -> None: ...


@desk.reaction
def unpack(placed: ConsignmentPlaced) -> list[ParcelTaken]:
    return [
        ParcelTaken(consignment_id=placed.consignment_id, bay=placed.bay, number=number)
        for number in range(placed.parcels)
    ]


@fees.reaction(per="number", needs=ConsignmentPlaced, retry=QUICK, timeout=timedelta(milliseconds=700))
async def collect(parcel: ParcelTaken, placed: ConsignmentPlaced, till: Till, ctx: Context) -> FeePaid | FeeRefused:
    purpose = f"{placed.consignment_id}/{parcel.number}"
    reference = await till.charge(purpose, key=ctx.idempotency_key())
    if reference is None:
        return FeeRefused(consignment_id=parcel.consignment_id, number=parcel.number)
    return FeePaid(consignment_id=parcel.consignment_id, bay=parcel.bay, number=parcel.number, reference=reference)


@fees.reaction(per="number")
def give_up(failed: ReactionFailed[ParcelTaken]) -> FeeRefused:
    return FeeRefused(consignment_id=failed.event.consignment_id, number=failed.event.number)


@fees.reaction(compensates=collect, per="number", retry=STUBBORN)
async def return_fee(full: NoRoom, paid: FeePaid | None, till: Till, ctx: Context) -> FeeReturned:
    await till.void(key=ctx.key_of(collect))
    return FeeReturned(consignment_id=full.consignment_id, number=full.number, undone=paid is not None)


@fees.reaction(compensates=collect, retry=STUBBORN)
async def settle_fees(over: Abandoned, paid: FeePaid | None, till: Till, ctx: Context) -> FeesSettled:
    if paid is None:  # nobody knows which of them were paid
        await till.void_all(over.consignment_id)
    else:
        await till.void(key=ctx.key_of(collect))
    return FeesSettled(consignment_id=over.consignment_id, number=None if paid is None else paid.number)


@yard.reaction(per="number")
def stow(paid: FeePaid, bay: Bay) -> ParcelStowed | NoRoom:
    if bay.free < 1:
        return NoRoom(consignment_id=paid.consignment_id, number=paid.number)
    bay.free -= 1
    return ParcelStowed(consignment_id=paid.consignment_id, bay=paid.bay, number=paid.number)


@yard.reaction(compensates=stow)
def clear(over: Abandoned, stowed: ParcelStowed, bay: Bay) -> ParcelCleared:
    bay.free += 1
    return ParcelCleared(consignment_id=over.consignment_id, number=stowed.number)


@yard.reaction(per="number")
def count(parcel: ParcelTaken, tally: Tally) -> None:
    tally.parcels += 1


@yard.reaction(compensates=count)
def discount(over: Abandoned, tally: Tally) -> None:
    tally.parcels -= 1


@desk.reaction(gathers=ParcelTaken, within=PATIENCE)
def load(parts: list[ParcelStowed | NoRoom | FeeRefused]) -> Loaded | LoadRefused:
    if all(isinstance(part, ParcelStowed) for part in parts):
        return Loaded(consignment_id=parts[0].consignment_id, numbers=tuple(part.number for part in parts))
    return LoadRefused(consignment_id=parts[0].consignment_id)


@customs.reaction(blocking=True, retry=QUICK, concurrency=4, keeps="a stamp is a stamp")
def inspect(placed: ConsignmentPlaced, office: Office) -> PapersCleared | PapersRefused:
    if office.stamp(placed.consignment_id, hurried=placed.hurried):
        return PapersCleared(consignment_id=placed.consignment_id)
    return PapersRefused(consignment_id=placed.consignment_id)


@desk.reaction(wait=timedelta(milliseconds=150), unless=PapersCleared | PapersRefused)
def chase(placed: ConsignmentPlaced, docket: Docket) -> PapersChased:
    docket.chased += 1
    return PapersChased(consignment_id=placed.consignment_id)


@desk.reaction(once="end", within=PATIENCE)
def seal(loaded: Loaded, cleared: PapersCleared, docket: Docket) -> Sealed:
    docket.end = "sealed"
    return Sealed(consignment_id=loaded.consignment_id)


@desk.reaction(once="end", needs=ConsignmentPlaced)
def abandon(
    why: LoadRefused | PapersRefused | FlowTimedOut[ConsignmentPlaced] | FlowCancelled[ConsignmentPlaced],
    placed: ConsignmentPlaced,
    docket: Docket,
) -> Abandoned:
    docket.end = "abandoned"
    return Abandoned(consignment_id=placed.consignment_id, bay=placed.bay)


@post.reaction(keeps="a letter is a letter", retry=STUBBORN)
async def tell(sealed: Sealed, mail: Mail, ctx: Context) -> OwnerTold:
    await mail.send(sealed.consignment_id, key=ctx.idempotency_key())
    return OwnerTold(consignment_id=sealed.consignment_id)


def depot(*lines: Service) -> Choreography:
    """The whole, with these services beside it."""
    flow = Flow(
        "consignment", key="consignment_id", starts=ConsignmentPlaced, timeout=timedelta(seconds=10),
        succeeds=tuple[Sealed, OwnerTold], fails=Abandoned,
    )  # fmt: skip
    return Choreography("depot", desk, yard, customs, fees, post, *lines, flows=[flow], incoming=Reading)
