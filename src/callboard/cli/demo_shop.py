"""The shop of `callboard demo`: four services, and a bank and a carrier that misbehave on purpose."""

import asyncio
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Protocol

from callboard.choreography import Choreography
from callboard.event import ReactionFailed, event, failure, port, state
from callboard.flow import Flow
from callboard.reaction import Context
from callboard.retry import Retry
from callboard.service import Service

QUICK = Retry(max_attempts=4, first_wait=timedelta(milliseconds=20))


@event
class OrderPlaced:
    order_id: str
    sku: str
    card: str


@event
class ItemReserved:
    order_id: str
    sku: str


@failure
class SoldOut:
    order_id: str


@event
class PaymentTaken:
    order_id: str


@failure
class PaymentRefused:
    order_id: str


@event
class OrderShipped:
    order_id: str


@failure
class ShippingRefused:
    order_id: str


@event
class PaymentReturned:
    order_id: str


@event
class ItemReturned:
    order_id: str


@event
class OrderCancelled:
    order_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 0


@port
class Bank(Protocol):
    async def charge(self, order_id: str, card: str, *, key: str) -> bool: ...
    async def void(self, order_id: str, *, key: str) -> None: ...


@port
class Carrier(Protocol):
    async def book(self, order_id: str) -> bool: ...


orders, stock, payments, shipping = Service("orders"), Service("stock"), Service("payments"), Service("shipping")


@orders.reaction
def cancel(why: SoldOut | ItemReturned) -> OrderCancelled:
    return OrderCancelled(order_id=why.order_id)


@stock.reaction
def reserve(order: OrderPlaced, shelf: Shelf) -> ItemReserved | SoldOut:
    if shelf.free == 0:
        return SoldOut(order_id=order.order_id)
    shelf.free -= 1
    return ItemReserved(order_id=order.order_id, sku=order.sku)


@stock.reaction(compensates=reserve)
def put_back(_: PaymentRefused | PaymentReturned, reserved: ItemReserved, shelf: Shelf) -> ItemReturned:
    shelf.free += 1
    return ItemReturned(order_id=reserved.order_id)


@payments.reaction(needs=OrderPlaced, retry=QUICK)
async def charge(_: ItemReserved, order: OrderPlaced, bank: Bank, ctx: Context) -> PaymentTaken | PaymentRefused:
    if await bank.charge(order.order_id, order.card, key=ctx.idempotency_key()):
        return PaymentTaken(order_id=order.order_id)
    return PaymentRefused(order_id=order.order_id)


@payments.reaction(compensates=charge, retry=QUICK)
async def give_back(
    why: ShippingRefused | ReactionFailed[ItemReserved], _: PaymentTaken | None, bank: Bank, ctx: Context
) -> PaymentReturned:
    order_id = why.order_id if isinstance(why, ShippingRefused) else why.event.order_id
    await bank.void(order_id, key=ctx.key_of(charge))  # also when nobody knows whether it was charged
    return PaymentReturned(order_id=order_id)


@shipping.reaction(pivot=True, retry=QUICK)
async def ship(paid: PaymentTaken, carrier: Carrier) -> OrderShipped | ShippingRefused:
    booked = await carrier.book(paid.order_id)
    return OrderShipped(order_id=paid.order_id) if booked else ShippingRefused(order_id=paid.order_id)


shop = Choreography(
    "demo",
    orders,
    stock,
    payments,
    shipping,
    flows=[Flow("checkout", key="order_id", starts=OrderPlaced, succeeds=OrderShipped, fails=OrderCancelled)],
)


class ForgetfulBank(Bank):
    """Takes money, and sometimes loses its answer after it has."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.taken: dict[str, set[str]] = {}  # order -> the keys under which money was taken and not given back
        self.voided: set[str] = set()
        self.lost_answers = 0

    async def charge(self, order_id: str, card: str, *, key: str) -> bool:
        """Takes the money once for each key; ConnectionError when the answer is lost."""
        await asyncio.sleep(self._chance.uniform(0, 0.02))
        if card == "declined" or key in self.voided:
            return False
        self.taken.setdefault(order_id, set()).add(key)
        if self._chance.random() < 0.1:
            self.lost_answers += 1
            raise ConnectionError("the bank did not answer")
        return True

    async def void(self, order_id: str, *, key: str) -> None:
        """What was taken under the key is given back, and nothing is taken under it from now on."""
        await asyncio.sleep(0)
        self.voided.add(key)
        self.taken.get(order_id, set()).discard(key)


class BusyCarrier(Carrier):
    """Refuses some parcels."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.booked: dict[str, bool] = {}

    async def book(self, order_id: str) -> bool:
        """Books a parcel, or refuses it; asked again the answer is the same."""
        await asyncio.sleep(self._chance.uniform(0, 0.01))
        return self.booked.setdefault(order_id, self._chance.random() > 0.07)


def keepers(seed: int | None = None) -> list[object]:
    """A bank and a carrier."""
    chance = Random(seed)  # noqa: S311
    return [ForgetfulBank(chance), BusyCarrier(chance)]


def wrongs(verdicts: dict[str, str | None], bank: ForgetfulBank, sold: int, missing: int) -> Counter[str]:
    """What must not happen, counted: orders charged twice, orders lost, and what was not given back."""
    found = Counter({"charged twice": 0, "lost orders": 0, "stock or money not given back": 0})
    for order, verdict in verdicts.items():
        keys = bank.taken.get(order, set())
        found["charged twice"] += len(keys) > 1
        found["lost orders"] += verdict is None or (verdict == "succeeded" and not keys)
        found["stock or money not given back"] += verdict == "failed" and bool(keys)
    found["stock or money not given back"] += abs(missing - sold)
    return found
