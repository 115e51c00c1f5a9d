"""An evening in the city: five riders, three cabs, and a clock that is turned by hand."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rides import (
    CabAssigned,
    CabMoved,
    Cards,
    DroppedOff,
    FareQuoted,
    OfferAccepted,
    OfferDeclined,
    OfferLapsed,
    Place,
    Post,
    ReceiptSent,
    RideOffered,
    RiderCancelled,
    RideRequested,
    TripCancelled,
    Zone,
    rides,
)

from callboard import ManualClock
from callboard.board import Board, Completion, FlowHandle

SOON = timedelta(seconds=5)


class CardsInTheRain(Cards):
    """Takes the fare, and loses its first answer; the card of `broke` is refused."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[str, Decimal]] = {}

    async def take(self, rider_id: str, amount: Decimal, *, key: str) -> bool:
        if rider_id == "broke":
            return False
        if key not in self.taken:
            self.taken[key] = (rider_id, amount)
            raise ConnectionError("no answer")
        return True


class Letters(Post):
    async def mail(self, rider_id: str, text: str, *, key: str) -> None:
        print(f"   letter to {rider_id}: {text}")


async def seen(flow: FlowHandle, event: Any) -> None:
    """The flow has this very event."""
    async with asyncio.timeout(SOON.total_seconds()):
        while event not in await flow.events():  # noqa: ASYNC110  # an event of this type may be there already
            await asyncio.sleep(0.002)


async def request(board: Board, trip_id: str, rider_id: str, pickup: Place) -> FlowHandle:
    print(f"{trip_id}: {rider_id} asks for a ride")
    return await board.publish(RideRequested(trip_id=trip_id, rider_id=rider_id, zone="mitte", pickup=pickup))


def tell(trip: FlowHandle, done: Completion) -> None:
    told = " > ".join(type(each).__name__ for each in done.events if type(each) is not FareQuoted)
    print(f"   {trip.key} {done.verdict}: {told}")
    if cancelled := done.event(TripCancelled):
        print(f"   the fee is {cancelled.fee} EUR")


async def declined_and_accepted(board: Board, clock: ManualClock) -> None:
    """The nearest cab says no, the next one yes; the first answer about the card is lost, the second says: paid."""
    trip = await request(board, "t-1", "ada", Place(0.0, 0.0))
    await seen(trip, RideOffered(trip_id="t-1", cab_id="ann"))
    await board.publish(OfferDeclined(trip_id="t-1", cab_id="ann"))
    await seen(trip, RideOffered(trip_id="t-1", cab_id="bob"))
    await board.publish(OfferAccepted(trip_id="t-1", cab_id="bob"))
    await seen(trip, CabAssigned(trip_id="t-1", cab_id="bob", zone="mitte"))
    dropped = DroppedOff(trip_id="t-1", at=Place(9.0, 9.0))
    await board.publish(dropped)
    while not any(type(each) is ReceiptSent for each in await trip.events()):
        clock.advance(timedelta(seconds=1))  # the retry is due after a second
        await asyncio.sleep(0.01)
    tell(trip, await trip.completion(timeout=SOON))


async def silent_cab(board: Board, clock: ManualClock) -> None:
    """A cab does not answer for 20 seconds: the offer lapses, the next is asked. Then the rider has had enough."""
    trip = await request(board, "t-2", "eve", Place(0.0, 0.0))
    await seen(trip, RideOffered(trip_id="t-2", cab_id="ann"))
    clock.advance(timedelta(seconds=20))
    await seen(trip, RideOffered(trip_id="t-2", cab_id="cem"))
    await board.publish(OfferAccepted(trip_id="t-2", cab_id="cem"))
    await seen(trip, CabAssigned(trip_id="t-2", cab_id="cem", zone="mitte"))
    await board.publish(RiderCancelled(trip_id="t-2"))
    tell(trip, await trip.completion(timeout=SOON))


async def wanted_twice(board: Board) -> None:
    """Two trips are offered the same cab, which says yes to both: one gets it, the other is offered the next."""
    first = await request(board, "t-3", "ida", Place(0.0, 0.0))
    second = await request(board, "t-4", "broke", Place(0.0, 0.0))
    for trip in (first, second):
        await seen(trip, RideOffered(trip_id=str(trip.key), cab_id="cem"))
        await board.publish(OfferAccepted(trip_id=str(trip.key), cab_id="cem"))
    await seen(second, OfferLapsed(trip_id="t-4", cab_id="cem"))
    await seen(second, RideOffered(trip_id="t-4", cab_id="ann"))
    await board.publish(OfferAccepted(trip_id="t-4", cab_id="ann"))
    await seen(second, CabAssigned(trip_id="t-4", cab_id="ann", zone="mitte"))
    await board.publish(DroppedOff(trip_id="t-4", at=Place(2.0, 2.0)))
    tell(second, await second.completion(timeout=SOON))
    await board.publish(RiderCancelled(trip_id="t-3"))
    tell(first, await first.completion(timeout=SOON))


async def nobody_there(board: Board) -> None:
    asked = RideRequested(trip_id="t-5", rider_id="max", zone="woods", pickup=Place(0.0, 0.0))
    print("t-5: max asks for a ride in the woods")
    trip = await board.publish(asked)
    tell(trip, await trip.completion(timeout=SOON))


async def main() -> None:
    clock, cards = ManualClock(), CardsInTheRain()
    async with rides.open("sqlite:///:memory:", ports=[cards, Letters()], clock=clock) as board:
        for cab, where in (("ann", Place(1.0, 0.0)), ("cem", Place(3.0, 0.0)), ("bob", Place(2.0, 0.0))):
            await board.publish(CabMoved(cab_id=cab, zone="mitte", at=where))
        await declined_and_accepted(board, clock)
        await silent_cab(board, clock)
        await wanted_twice(board)
        await nobody_there(board)
        zone = await board.load(Zone, "mitte")
        print("free again:", sorted(zone.cabs) if zone else "nobody")
        print("taken from cards, once each:", [f"{rider} {amount}" for rider, amount in cards.taken.values()])


if __name__ == "__main__":
    asyncio.run(main())
