"""A journey of seven services and fourteen reactions: seat, room, car, money, tickets, a letter. Whatever fails, what
was done is undone from the last step back; the deadline enters at the far end.
"""

from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Context, Flow, FlowTimedOut, ReactionFailed, Service, event, failure, port, state


@event
class TripAsked:
    trip_id: str
    traveller: str
    city: str
    price: int


@event
class SeatHeld:
    trip_id: str
    city: str


@failure
class NoSeat:
    trip_id: str


@event
class SeatFreed:
    trip_id: str


@event
class RoomBooked:
    trip_id: str
    city: str


@failure
class NoRoom:
    trip_id: str


@event
class RoomFreed:
    trip_id: str


@event
class CarHeld:
    trip_id: str
    city: str


@failure
class NoCar:
    trip_id: str


@event
class CarFreed:
    trip_id: str


@event
class Charged:
    trip_id: str


@failure
class Declined:
    trip_id: str


@event
class Refunded:
    trip_id: str


@event
class Ticketed:
    trip_id: str
    number: str


@failure
class TicketsRefused:
    trip_id: str


@event
class TripConfirmed:
    trip_id: str
    number: str


@event
class TripCancelled:
    trip_id: str


@event
class VoucherSent:
    trip_id: str


@event
class RegretSent:
    trip_id: str


flights, rooms, cars = Service("flights"), Service("rooms"), Service("cars")
payments, tickets, trips, letters = Service("payments"), Service("tickets"), Service("trips"), Service("letters")


@state(key="city")
class Plane:
    city: str
    free: int = 0


@flights.reaction
def hold_seat(asked: TripAsked, plane: Plane) -> SeatHeld | NoSeat:
    if plane.free == 0:
        return NoSeat(trip_id=asked.trip_id)
    plane.free -= 1
    return SeatHeld(trip_id=asked.trip_id, city=asked.city)


@flights.reaction(compensates=hold_seat, needs=TripAsked)
def free_seat(why: NoRoom | RoomFreed, held: SeatHeld | None, asked: TripAsked, plane: Plane) -> SeatFreed:
    plane.free += held is not None
    return SeatFreed(trip_id=asked.trip_id)


@port
class Hotels(Protocol):
    async def book(self, city: str, *, key: str) -> bool: ...

    async def cancel(self, *, key: str) -> None: ...


@rooms.reaction
async def book(held: SeatHeld, hotels: Hotels, ctx: Context) -> RoomBooked | NoRoom:
    if await hotels.book(held.city, key=ctx.idempotency_key()):
        return RoomBooked(trip_id=held.trip_id, city=held.city)
    return NoRoom(trip_id=held.trip_id)


@rooms.reaction(compensates=book)
async def unbook(
    why: NoCar | CarFreed | ReactionFailed[SeatHeld], booked: RoomBooked | None, hotels: Hotels, ctx: Context
) -> RoomFreed:
    await hotels.cancel(key=ctx.key_of(book))
    return RoomFreed(trip_id=why.event.trip_id if isinstance(why, ReactionFailed) else why.trip_id)


@state(key="city")
class Fleet:
    city: str
    free: int = 0


@cars.reaction
def hold_car(booked: RoomBooked, fleet: Fleet) -> CarHeld | NoCar:
    if fleet.free == 0:
        return NoCar(trip_id=booked.trip_id)
    fleet.free -= 1
    return CarHeld(trip_id=booked.trip_id, city=booked.city)


@cars.reaction(compensates=hold_car, needs=TripAsked)
def free_car(why: Declined | Refunded, held: CarHeld | None, asked: TripAsked, fleet: Fleet) -> CarFreed:
    fleet.free += held is not None
    return CarFreed(trip_id=asked.trip_id)


@port
class Bank(Protocol):
    async def charge(self, traveller: str, amount: int, *, key: str) -> bool: ...

    async def void(self, *, key: str) -> None: ...


@payments.reaction(needs=TripAsked)
async def charge(held: CarHeld, asked: TripAsked, bank: Bank, ctx: Context) -> Charged | Declined:
    if await bank.charge(asked.traveller, asked.price, key=ctx.idempotency_key()):
        return Charged(trip_id=held.trip_id)
    return Declined(trip_id=held.trip_id)


@payments.reaction(compensates=charge)
async def refund(
    why: TicketsRefused | ReactionFailed[CarHeld], charged: Charged | None, bank: Bank, ctx: Context
) -> Refunded:
    await bank.void(key=ctx.key_of(charge))
    return Refunded(trip_id=why.event.trip_id if isinstance(why, ReactionFailed) else why.trip_id)


@port
class Airline(Protocol):
    async def issue(self, traveller: str, *, key: str) -> str | None: ...

    async def close(self, *, key: str) -> str | None: ...


@tickets.reaction(pivot=True, needs=TripAsked)
async def issue(paid: Charged, asked: TripAsked, airline: Airline) -> Ticketed | TicketsRefused:
    number = await airline.issue(asked.traveller, key=f"trip-{paid.trip_id}")
    if number is None:
        return TicketsRefused(trip_id=paid.trip_id)
    return Ticketed(trip_id=paid.trip_id, number=number)


@tickets.reaction(compensates=issue)
async def close(
    late: FlowTimedOut[TripAsked], issued: Ticketed | None, airline: Airline
) -> Ticketed | TicketsRefused | None:
    trip_id = late.started.trip_id
    if issued is not None:
        return None  # it goes on, late
    if number := await airline.close(key=f"trip-{trip_id}"):
        return Ticketed(trip_id=trip_id, number=number)
    return TicketsRefused(trip_id=trip_id)


@state(key="trip_id")
class Trip:
    trip_id: str
    number: str | None = None


@trips.reaction(once="end")
def confirm(issued: Ticketed, trip: Trip) -> TripConfirmed:
    trip.number = issued.number
    return TripConfirmed(trip_id=trip.trip_id, number=issued.number)


@trips.reaction(once="end")
def cancel(why: NoSeat | SeatFreed, trip: Trip) -> TripCancelled:
    trip.number = None
    return TripCancelled(trip_id=why.trip_id)


@port
class Post(Protocol):
    async def send(self, traveller: str, text: str, *, key: str) -> None: ...


@letters.reaction(needs=TripAsked, keeps="a letter is a letter")
async def send_voucher(done: TripConfirmed, asked: TripAsked, post: Post, ctx: Context) -> VoucherSent:
    await post.send(asked.traveller, done.number, key=ctx.idempotency_key())
    return VoucherSent(trip_id=done.trip_id)


@letters.reaction(needs=TripAsked, keeps="a letter is a letter")
async def send_regret(off: TripCancelled, asked: TripAsked, post: Post, ctx: Context) -> RegretSent:
    await post.send(asked.traveller, "we are sorry", key=ctx.idempotency_key())
    return RegretSent(trip_id=off.trip_id)


journeys = Choreography(
    "journeys", flights, rooms, cars, payments, tickets, trips, letters,
    flows=[Flow("journey", key="trip_id", starts=TripAsked, timeout=timedelta(hours=1), succeeds=VoucherSent,
                fails=RegretSent)],
)  # fmt: skip
