"""A deadline: the flow is told once, in the log like any event, and whoever hears it undoes what was done.

The clock of this example is turned by hand, so nobody has to wait for half an hour.
"""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, FlowTimedOut, ManualClock, Service, event, state


@event
class RoomAsked:
    rehearsal_id: str
    room: str


@event
class RoomHeld:
    rehearsal_id: str
    room: str


@event
class CastConfirmed:
    rehearsal_id: str


@event
class RehearsalSet:
    rehearsal_id: str


@event
class RoomFreed:
    rehearsal_id: str


rooms = Service("rooms")


@state(key="room")
class Room:
    room: str
    held_by: list[str]


@rooms.reaction
def hold(asked: RoomAsked, room: Room | None) -> RoomHeld:
    assert room is not None
    room.held_by.append(asked.rehearsal_id)
    return RoomHeld(rehearsal_id=asked.rehearsal_id, room=asked.room)


# Both may be asked at one moment, when the cast confirms just as the deadline passes. `once=` lets one of them run.
@rooms.reaction(compensates=hold, once="end")
def free(late: FlowTimedOut[RoomAsked], held: RoomHeld, room: Room | None) -> RoomFreed:
    assert room is not None
    room.held_by.remove(held.rehearsal_id)
    return RoomFreed(rehearsal_id=late.started.rehearsal_id)


@rooms.reaction(needs=RoomHeld, once="end")
def confirm(cast: CastConfirmed) -> RehearsalSet:
    return RehearsalSet(rehearsal_id=cast.rehearsal_id)


theatre = Choreography(
    "theatre",
    rooms,
    incoming=CastConfirmed,  # said by the world outside; it joins the flow whose key it carries
    flows=[
        Flow(
            "rehearsal",
            key="rehearsal_id",
            starts=RoomAsked,
            succeeds=RehearsalSet,
            fails=RoomFreed,
            timeout=timedelta(minutes=30),
        )
    ],
)


async def main() -> None:
    clock = ManualClock()
    async with theatre.open("sqlite:///:memory:", clock=clock) as board:
        async with board.transaction(rooms) as tx:
            await tx.put(Room(room="attic", held_by=[]))
        prompt = await board.publish(RoomAsked(rehearsal_id="prompt", room="attic"))
        silent = await board.publish(RoomAsked(rehearsal_id="silent", room="attic"))
        await silent.event(RoomHeld, timeout=timedelta(seconds=5))
        await board.publish(CastConfirmed(rehearsal_id="prompt"))
        print(prompt.key, (await prompt.completion(timeout=timedelta(seconds=5))).verdict)
        print("held by", (await board.load(Room, "attic") or Room(room="", held_by=[])).held_by)

        clock.advance(timedelta(minutes=31))
        done = await silent.completion(timeout=timedelta(seconds=5))
        print(f"{silent.key} {done.verdict}:", " > ".join(type(each).__name__ for each in done.events))
        print("held by", (await board.load(Room, "attic") or Room(room="", held_by=[])).held_by)


if __name__ == "__main__":
    asyncio.run(main())
