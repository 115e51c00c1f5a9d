"""A flow that fails and recovers: the seat was taken, the hotel is full, so the seat is given back before the holiday
is off.

`compensates=take_seat` pairs the two: they never run at the same time in one flow, each seat is given back once, and
a seat that would be taken after that is not taken any more.
"""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, Service, event, failure, state


@event
class HolidayWanted:
    holiday_id: str
    flight: str
    hotel: str


@event
class SeatTaken:
    holiday_id: str
    flight: str


@failure
class FlightFull:
    holiday_id: str


@event
class SeatGivenBack:
    holiday_id: str


@event
class RoomTaken:
    holiday_id: str


@failure
class HotelFull:
    holiday_id: str


@event
class HolidayOff:
    holiday_id: str


airline, hotels, agency = Service("airline"), Service("hotels"), Service("agency")


@state(key="flight")
class Plane:
    flight: str
    free: int = 4


@state(key="hotel")
class Hotel:
    hotel: str
    rooms: int = 2


@airline.reaction
def take_seat(wanted: HolidayWanted, plane: Plane) -> SeatTaken | FlightFull:
    if plane.free == 0:
        return FlightFull(holiday_id=wanted.holiday_id)
    plane.free -= 1
    return SeatTaken(holiday_id=wanted.holiday_id, flight=wanted.flight)


@airline.reaction(compensates=take_seat)  # `taken` is the effect that it undoes
def give_back_seat(full: HotelFull, taken: SeatTaken, plane: Plane) -> SeatGivenBack:
    plane.free += 1
    return SeatGivenBack(holiday_id=full.holiday_id)


@hotels.reaction(needs=HolidayWanted, keeps="nothing after it fails, so a room that was taken stays taken")
def take_room(seat: SeatTaken, wanted: HolidayWanted, hotel: Hotel) -> RoomTaken | HotelFull:
    if hotel.rooms == 0:
        return HotelFull(holiday_id=wanted.holiday_id)
    hotel.rooms -= 1
    return RoomTaken(holiday_id=wanted.holiday_id)


@agency.reaction(once="end")
def call_off(why: FlightFull | SeatGivenBack) -> HolidayOff:
    return HolidayOff(holiday_id=why.holiday_id)


holidays = Choreography(
    "holidays",
    agency,
    airline,
    hotels,
    flows=[Flow("holiday", key="holiday_id", starts=HolidayWanted, succeeds=RoomTaken, fails=HolidayOff)],
)


async def main() -> None:
    async with holidays.open("sqlite:///:memory:") as board:
        for number in range(1, 5):
            flow = await board.publish(HolidayWanted(holiday_id=f"h-{number}", flight="CB 1", hotel="Seaview"))
            done = await flow.completion(timeout=timedelta(seconds=5))
            print(f"{flow.key} {done.verdict}:", " > ".join(type(each).__name__ for each in done.events))
        print(await board.load(Plane, "CB 1"), await board.load(Hotel, "Seaview"))


if __name__ == "__main__":
    asyncio.run(main())
