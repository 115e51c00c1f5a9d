"""A small choreography of three services, built as often as a test needs one: also an older and a newer build of it."""

from dataclasses import dataclass
from datetime import timedelta

from callboard import Choreography, Flow, Service, event, failure, state


@event
class ErrandAsked:
    errand_id: str
    what: str = "bread"


@event
class ErrandTaken:
    errand_id: str


@event
class ErrandDone:
    errand_id: str


@failure
class ErrandRefused:
    errand_id: str


@event
class ErrandRevoked:
    errand_id: str


@event(key="bike_id")
class BikeMoved:
    bike_id: str
    to: str


@event(key="bike_id")
class BikeSeen:
    bike_id: str
    to: str


@event
class ErrandPraised:
    errand_id: str


@state(key="bike_id")
class Whereabouts:
    bike_id: str
    seen: str = ""


@state(key="errand_id")
class Praise:
    errand_id: str
    times: int = 0


@dataclass
class Errands:
    """One build."""

    choreography: Choreography
    desk: Service
    bikes: Service
    road: Service


def _add_praise(desk: Service, road: Service) -> None:
    @road.reaction
    def praise(done: ErrandTaken) -> ErrandPraised:
        return ErrandPraised(errand_id=done.errand_id)

    @desk.reaction
    def hear(praised: ErrandPraised, praise: Praise) -> None:
        praise.times += 1


def build(*, newer: bool = False, second_flow: bool = False) -> Errands:
    """A build; the newer one also knows ErrandPraised, said on the road and heard at the desk."""
    desk, bikes, road = Service("desk"), Service("bikes"), Service("road")

    @bikes.reaction
    def take(asked: ErrandAsked) -> ErrandTaken | ErrandRefused:
        if asked.what == "elephant":
            return ErrandRefused(errand_id=asked.errand_id)
        return ErrandTaken(errand_id=asked.errand_id)

    @bikes.reaction
    def give_up(revoked: ErrandRevoked) -> ErrandRefused:
        return ErrandRefused(errand_id=revoked.errand_id)

    @road.reaction(unless=ErrandRevoked)
    def ride(taken: ErrandTaken) -> ErrandDone:
        return ErrandDone(errand_id=taken.errand_id)

    @road.reaction
    def look(moved: BikeMoved) -> BikeSeen:
        return BikeSeen(bike_id=moved.bike_id, to=moved.to)

    @desk.reaction
    def mark(seen: BikeSeen, where: Whereabouts) -> None:
        where.seen += seen.to

    if newer:
        _add_praise(desk, road)
    hour = timedelta(hours=1)
    flows = [
        Flow(
            "errand",
            key="errand_id",
            starts=ErrandAsked,
            succeeds=ErrandDone,
            fails=ErrandRefused,
            timeout=hour,
            home=desk,
        )
    ]
    if second_flow:
        flows.append(Flow("ride", key="errand_id", starts=ErrandAsked, succeeds=ErrandTaken, timeout=hour, home=road))
    choreography = Choreography("errands", desk, bikes, road, flows=flows, incoming=ErrandRevoked | BikeMoved)
    return Errands(choreography, desk, bikes, road)
