"""Missing idempotency key: nothing tells the second call from a new one."""

from typing import Protocol

from callboard import Choreography, Flow, Service, event, port


@event
class GiftBought:
    gift: str
    card: str
    cents: int


@event
class GiftPaid:
    gift: str


@port
class Till(Protocol):
    async def charge(self, card: str, cents: int) -> None: ...


payments = Service("payments")


@payments.reaction(pivot=True)
async def charge(bought: GiftBought, till: Till) -> GiftPaid:
    await till.charge(bought.card, bought.cents)
    return GiftPaid(gift=bought.gift)


planted = Choreography("missing_key", payments, flows=[Flow("gift", key="gift", starts=GiftBought, succeeds=GiftPaid)])
