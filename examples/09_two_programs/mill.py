"""The choreography that both programs import."""

import os
from datetime import timedelta

from callboard import Choreography, Flow, Service, event


@event
class GrainDelivered:
    load_id: str
    sacks: int


@event
class FlourMilled:
    load_id: str
    kilos: int
    pid: int  # which process of the operating system milled it


miller = Service("miller")


@miller.reaction
def grind(delivered: GrainDelivered) -> FlourMilled:
    return FlourMilled(load_id=delivered.load_id, kilos=delivered.sacks * 40, pid=os.getpid())


mill = Choreography(
    "mill",
    miller,
    flows=[
        Flow("load", key="load_id", starts=GrainDelivered, succeeds=FlourMilled, timeout=timedelta(hours=8)),
    ],
)
