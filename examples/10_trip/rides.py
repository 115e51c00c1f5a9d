"""A trip from request to receipt: offers that lapse, cabs that two trips want, cancellations from both sides.

Nobody holds the trip together: dispatch finds a cab, pricing quotes, trips says how it ended, billing collects.
What the apps say comes from outside and joins its trip by `trip_id`; where cabs are belongs to no trip, and is
kept in order per cab (`@event(key="cab_id")`).
"""

from dataclasses import field
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowTimedOut,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)


class Place(NamedTuple):
    lat: float
    lon: float


# Said by the apps.


@event
class RideRequested:
    trip_id: str
    rider_id: str
    zone: str
    pickup: Place


@event
class OfferAccepted:
    trip_id: str
    cab_id: str


@event
class OfferDeclined:
    trip_id: str
    cab_id: str


@event
class RiderCancelled:
    trip_id: str


@event
class CabCancelled:
    trip_id: str
    cab_id: str


@event
class DroppedOff:
    trip_id: str
    at: Place


@event(key="cab_id")
class CabMoved:
    cab_id: str
    zone: str
    at: Place


# Said by the services.


@event
class FareQuoted:
    trip_id: str
    fare: Decimal


@event
class RideOffered:
    trip_id: str
    cab_id: str


@event
class OfferLapsed:
    trip_id: str
    cab_id: str


@failure
class NoCabFound:
    trip_id: str


@event
class CabAssigned:
    trip_id: str
    cab_id: str
    zone: str


@event
class TripCancelled:
    trip_id: str
    fee: Decimal


@event
class TripCompleted:
    trip_id: str
    at: Place


@event
class FareCharged:
    trip_id: str
    amount: Decimal


@failure
class FareUnpaid:
    trip_id: str


@event
class ReceiptSent:
    trip_id: str


dispatch, pricing, trips, billing = Service("dispatch"), Service("pricing"), Service("trips"), Service("billing")

# Dispatch: who is where, and who is asked next.


@state(key="zone")
class Zone:
    zone: str
    cabs: dict[str, Place] = field(default_factory=dict[str, Place])


@state(key="cab_id")
class Whereabouts:
    cab_id: str
    zone: str | None = None


@state(key="trip_id")  # the flow's own key: private to the trip
class Search:
    trip_id: str
    left: list[str] = field(default_factory=list[str])
    cab_id: str | None = None


@dispatch.reaction
async def stand(moved: CabMoved, cab: Whereabouts, zone: Zone, zones: States[Zone]) -> None:
    if cab.zone not in (None, moved.zone) and (old := await zones.get(cab.zone)):
        old.cabs.pop(moved.cab_id, None)
    zone.cabs[moved.cab_id], cab.zone = moved.at, moved.zone


@dispatch.reaction
def look_around(asked: RideRequested, zone: Read[Zone], search: Search) -> RideOffered | NoCabFound:
    def distance(cab: str) -> float:
        at = zone.cabs[cab]
        return abs(at.lat - asked.pickup.lat) + abs(at.lon - asked.pickup.lon)

    search.left = sorted(zone.cabs, key=distance)
    return offer_next(search)


@dispatch.reaction(wait=timedelta(seconds=20), unless=OfferAccepted | OfferDeclined, per="cab_id")
def lapse(offer: RideOffered) -> OfferLapsed:
    return OfferLapsed(trip_id=offer.trip_id, cab_id=offer.cab_id)


@dispatch.reaction
def offer_again(
    no: OfferDeclined | OfferLapsed, over: TripCancelled | None, search: Search
) -> RideOffered | NoCabFound | None:
    return None if over or search.cab_id else offer_next(search)


def offer_next(search: Search) -> RideOffered | NoCabFound:
    if not search.left:
        return NoCabFound(trip_id=search.trip_id)
    return RideOffered(trip_id=search.trip_id, cab_id=search.left.pop(0))


@dispatch.reaction(needs=RideRequested)
def assign(yes: OfferAccepted, asked: RideRequested, search: Search, zone: Zone) -> CabAssigned | OfferLapsed | None:
    if search.cab_id:
        return None
    if yes.cab_id not in zone.cabs:  # another trip took this cab meanwhile
        return OfferLapsed(trip_id=yes.trip_id, cab_id=yes.cab_id)
    search.cab_id = yes.cab_id
    del zone.cabs[yes.cab_id]
    return CabAssigned(trip_id=yes.trip_id, cab_id=yes.cab_id, zone=asked.zone)


@dispatch.reaction(compensates=assign, needs=RideRequested)
def free(over: TripCancelled | TripCompleted, assigned: CabAssigned, asked: RideRequested, zone: Zone) -> None:
    zone.cabs[assigned.cab_id] = over.at if isinstance(over, TripCompleted) else asked.pickup


# Pricing.


@state(key="zone")
class Demand:
    zone: str
    requests: int = 0


@pricing.reaction(keeps="demand is a statistic")
def quote(asked: RideRequested, demand: Demand) -> FareQuoted:
    demand.requests += 1
    surge = Decimal("1.5") if demand.requests > 3 else Decimal(1)
    return FareQuoted(trip_id=asked.trip_id, fare=12 * surge)


# Trips: says how it ended, once.


@trips.reaction(once="end", needs=CabAssigned)
def complete(out: DroppedOff) -> TripCompleted:
    return TripCompleted(trip_id=out.trip_id, at=out.at)


@trips.reaction(once="end")
def cancel(who: RiderCancelled | CabCancelled | NoCabFound, assigned: CabAssigned | None) -> TripCancelled:
    match who:
        case RiderCancelled() if assigned:
            return TripCancelled(trip_id=who.trip_id, fee=Decimal(5))
        case _:
            return TripCancelled(trip_id=who.trip_id, fee=Decimal(0))


@trips.reaction(once="end")
def give_up(late: FlowTimedOut[RideRequested]) -> TripCancelled:
    return TripCancelled(trip_id=late.started.trip_id, fee=Decimal(0))


# Billing: the only way out.


@port
class Cards(Protocol):
    async def take(self, rider_id: str, amount: Decimal, *, key: str) -> bool: ...


@port
class Post(Protocol):
    async def mail(self, rider_id: str, text: str, *, key: str) -> None: ...


@billing.reaction(
    needs=tuple[RideRequested, FareQuoted],
    pivot=True,
    retry=Retry(max_attempts=6, first_wait=timedelta(seconds=1)),
)
async def collect(
    done: TripCompleted, asked: RideRequested, quoted: FareQuoted, cards: Cards, ctx: Context
) -> FareCharged | FareUnpaid:
    if await cards.take(asked.rider_id, quoted.fare, key=ctx.idempotency_key()):
        return FareCharged(trip_id=done.trip_id, amount=quoted.fare)
    return FareUnpaid(trip_id=done.trip_id)


@billing.reaction(needs=RideRequested, keeps="a letter is a letter")
async def receipt(paid: FareCharged, asked: RideRequested, post: Post) -> ReceiptSent:
    await post.mail(asked.rider_id, f"{paid.amount} EUR", key=f"receipt-{paid.trip_id}")
    return ReceiptSent(trip_id=paid.trip_id)


rides = Choreography(
    "rides",
    dispatch,
    pricing,
    trips,
    billing,
    incoming=OfferAccepted | OfferDeclined | RiderCancelled | CabCancelled | DroppedOff | CabMoved,
    flows=[
        Flow(
            "trip",
            key="trip_id",
            starts=RideRequested,
            timeout=timedelta(hours=6),
            succeeds=ReceiptSent,
            fails=TripCancelled | FareUnpaid,
        )
    ],
)
