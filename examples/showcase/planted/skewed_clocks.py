"""A bug of skewed clocks: what one machine said a moment ago is, for another, from the future."""

from datetime import datetime

from callboard import Choreography, Context, Flow, Service, event


@event
class DoorRung:
    visit: str


@event
class VisitorSeen:
    visit: str
    at: datetime


@event
class DoorOpened:
    visit: str


camera, door = Service("camera"), Service("door")


@camera.reaction
def see(rung: DoorRung, ctx: Context) -> VisitorSeen:
    return VisitorSeen(visit=rung.visit, at=ctx.now())


@door.reaction
def open_door(seen: VisitorSeen, ctx: Context) -> DoorOpened | None:
    if seen.at > ctx.now():
        return None  # from the future: a forgery
    return DoorOpened(visit=seen.visit)


planted = Choreography(
    "skewed_clocks", camera, door, flows=[Flow("visit", key="visit", starts=DoorRung, succeeds=DoorOpened)]
)
