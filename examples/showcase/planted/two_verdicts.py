"""Two verdicts: a late bid and the end of the auction both have their way."""

from datetime import timedelta

from callboard import Choreography, Flow, Service, event


@event
class LotOffered:
    lot: str


@event
class BidPlaced:
    lot: str


@event
class LotSold:
    lot: str


@event
class LotExpired:
    lot: str


bids, hall = Service("bids"), Service("hall")


@bids.reaction
def bid(offered: LotOffered) -> BidPlaced:
    return BidPlaced(lot=offered.lot)


@hall.reaction
def sell(placed: BidPlaced) -> LotSold:
    return LotSold(lot=placed.lot)


@hall.reaction(wait=timedelta(minutes=5))
def expire(offered: LotOffered) -> LotExpired:
    return LotExpired(lot=offered.lot)


planted = Choreography(
    "two_verdicts", bids, hall, flows=[Flow("lot", key="lot", starts=LotOffered, succeeds=LotSold, fails=LotExpired)]
)
