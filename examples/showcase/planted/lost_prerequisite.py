"""A prerequisite that is lost on restart: the address is remembered in a variable, instead of needs=."""

from typing import Protocol

from callboard import Choreography, Flow, Service, event, port


@event
class ParcelWanted:
    parcel: str
    address: str


@event
class ParcelPacked:
    parcel: str


@event
class ParcelSent:
    parcel: str


@port
class Press(Protocol):
    async def pack(self, parcel: str) -> None: ...


packing, sending = Service("packing"), Service("sending")
addresses: dict[str, str] = {}


@packing.reaction(keeps="cardboard")
async def pack(wanted: ParcelWanted, press: Press) -> ParcelPacked:
    await press.pack(wanted.parcel)
    return ParcelPacked(parcel=wanted.parcel)


@sending.reaction
def remember(wanted: ParcelWanted) -> None:
    addresses[wanted.parcel] = wanted.address


@sending.reaction
def send(packed: ParcelPacked) -> ParcelSent | None:
    if packed.parcel not in addresses:
        return None  # the address has not come yet
    return ParcelSent(parcel=packed.parcel)


planted = Choreography(
    "lost_prerequisite",
    packing,
    sending,
    flows=[Flow("parcel", key="parcel", starts=ParcelWanted, succeeds=ParcelSent)],
)
