"""State in a variable of the module: it is gone when the worker dies."""

from callboard import Choreography, Flow, Service, event, failure


@event
class SeatWanted:
    ticket: str


@event
class SeatSold:
    ticket: str


@failure
class HouseFull:
    ticket: str


free = {"seats": 3}
house = Service("house")


@house.reaction
def sell(wanted: SeatWanted) -> SeatSold | HouseFull:
    if not free["seats"]:
        return HouseFull(ticket=wanted.ticket)
    free["seats"] -= 1
    return SeatSold(ticket=wanted.ticket)


planted = Choreography(
    "module_variable",
    house,
    flows=[Flow("ticket", key="ticket", starts=SeatWanted, succeeds=SeatSold, fails=HouseFull)],
)
