"""One reaction: a typed function from an event to the events it emits. Its signature is all there is to declare."""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, Service, event


@event
class GuestArrived:
    guest: str


@event
class GuestWelcomed:
    guest: str
    text: str


porter = Service("porter")


@porter.reaction
def welcome(arrived: GuestArrived) -> GuestWelcomed:
    return GuestWelcomed(guest=arrived.guest, text=f"Good evening, {arrived.guest}.")


house = Choreography("house", porter, flows=[Flow("visit", key="guest", starts=GuestArrived, succeeds=GuestWelcomed)])


async def main() -> None:
    async with house.open("sqlite:///:memory:") as board:
        visit = await board.publish(GuestArrived(guest="Ada"))  # durable when this returns
        done = await visit.completion(timeout=timedelta(seconds=5))
        print(done.verdict, "by", *done.by)
        welcomed = done.event(GuestWelcomed)  # typed: GuestWelcomed | None
        assert welcomed is not None
        print(welcomed.text)


if __name__ == "__main__":
    # A reaction stays a plain function, so its first test needs nothing but the function.
    assert welcome(GuestArrived(guest="Eve")).text == "Good evening, Eve."
    asyncio.run(main())
