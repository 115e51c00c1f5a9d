"""The shop of the targets and a small auction, whole and with one defect each: what `callboard simulate` must find."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from callboard import Choreography, Flow, ReactionFailed, Retry, Service, event, port
from shop import inventory, orders, payments, shipping, shop
from shop.events import (
    InventoryReservationFailed,
    ItemsReleased,
    ItemsReserved,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    ShippingFailed,
)

FREE = {"sku-1": 3, "sku-2": 3}  # the defect of `module_variable`


def a_shop(*services: Service) -> Choreography:
    """The shop, with these services in place of those of their names."""
    instead = {service.name: service for service in services}
    usual = (orders.service, inventory.service, payments.service, shipping.service)
    flow = Flow(
        "checkout", key="order_id", starts=OrderCreated, timeout=timedelta(minutes=30),
        succeeds=OrderCompleted, fails=OrderCancelled,
    )  # fmt: skip
    return Choreography("shop", *(instead.get(each.name, each) for each in usual), flows=[flow])


@port
class Till(Protocol):
    async def charge(self, card: str, amount: Decimal) -> str | None: ...
    async def void(self, *, key: str) -> None: ...


def no_key() -> Choreography:
    """A charge that nothing names: tried again, it is a second charge."""
    service = Service("payments")

    @service.reaction(needs=OrderCreated, retry=Retry(max_attempts=4))
    async def charge(reserved: ItemsReserved, created: OrderCreated, till: Till) -> PaymentProcessed | PaymentFailed:
        reference = await till.charge(created.card, created.total)  # no key
        if reference is None:
            return PaymentFailed(order_id=created.order_id, reason="declined")
        return PaymentProcessed(order_id=created.order_id, charge=reference)

    @service.reaction(compensates=charge)
    async def refund(
        why: ShippingFailed | ReactionFailed[ItemsReserved],
        charged: PaymentProcessed | None,
        till: Till,
    ) -> PaymentRefunded:
        order_id = why.order_id if isinstance(why, ShippingFailed) else why.event.order_id
        await till.void(key=order_id)
        return PaymentRefunded(order_id=order_id)

    return a_shop(service)


def no_compensation() -> Choreography:
    """Nobody releases what was reserved, and the order is cancelled all the same."""
    stock, counter = Service("inventory"), Service("orders")
    stock.reaction(inventory.reserve)
    counter.reaction(once="end")(orders.complete)

    @counter.reaction(once="end")
    def cancel(failed: InventoryReservationFailed | PaymentFailed | PaymentRefunded) -> OrderCancelled:
        return OrderCancelled(order_id=failed.order_id)

    return a_shop(stock, counter)


def module_variable() -> Choreography:
    """The stock is kept in a variable: it is forgotten when the worker dies."""
    stock = Service("inventory")

    @stock.reaction(keeps="the defect is another")
    def reserve(order: OrderCreated) -> ItemsReserved | InventoryReservationFailed:
        if any(FREE[line.sku] < line.quantity for line in order.lines):
            return InventoryReservationFailed(order_id=order.order_id, reason="not enough")
        for line in order.lines:
            FREE[line.sku] -= line.quantity
        return ItemsReserved(order_id=order.order_id, lines=order.lines)

    @stock.reaction
    def release(why: PaymentFailed | PaymentRefunded) -> ItemsReleased:
        return ItemsReleased(order_id=why.order_id)

    return a_shop(stock)


def wall_clock() -> Choreography:
    """A card is refused by what the clock of the machine says."""
    service = Service("payments")

    @service.reaction(needs=OrderCreated, retry=Retry(max_attempts=4))
    async def charge(
        reserved: ItemsReserved, created: OrderCreated, bank: payments.Bank
    ) -> PaymentProcessed | PaymentFailed:
        if datetime.now(UTC).hour < 8:
            return PaymentFailed(order_id=created.order_id, reason="the bank sleeps")
        reference = await bank.charge(created.card, created.total, key=created.order_id)
        return PaymentProcessed(order_id=created.order_id, charge=reference or "")

    service.reaction(compensates=charge)(payments.refund)
    return a_shop(service)


@event
class LotOffered:
    lot_id: str


@event
class BidPlaced:
    lot_id: str


@event
class LotSold:
    lot_id: str


@event
class LotExpired:
    lot_id: str


def an_auction(hall: Service) -> Choreography:
    """A lot is sold to whoever bids; after half a minute it expires."""
    flow = Flow("lot", key="lot_id", starts=LotOffered, succeeds=LotSold, fails=LotExpired)
    return Choreography("auction", hall, incoming=BidPlaced, flows=[flow])


def sell(bid: BidPlaced) -> LotSold:
    return LotSold(lot_id=bid.lot_id)


def expire(lot: LotOffered) -> LotExpired:
    return LotExpired(lot_id=lot.lot_id)


HALF_A_MINUTE = timedelta(seconds=30)


def no_unless() -> Choreography:
    """A late bid and the end of the auction both have their way."""
    hall = Service("hall")
    hall.reaction(sell)
    hall.reaction(wait=HALF_A_MINUTE)(expire)
    return an_auction(hall)


def whole_auction() -> Choreography:
    hall = Service("hall")
    hall.reaction(once="end")(sell)
    hall.reaction(wait=HALF_A_MINUTE, unless=BidPlaced, once="end")(expire)
    return an_auction(hall)


def whole_shop() -> Choreography:
    return shop


# defect -> (the oracle that finds it, seeds within which it does, what its smallest story needs at most)
DEFECTS: dict[Callable[[], Choreography], tuple[str, int, int]] = {
    no_key: ("outside-twice", 40, 3),
    no_compensation: ("leak", 20, 2),
    module_variable: ("module-state", 5, 1),
    no_unless: ("two-verdicts", 20, 2),
    wall_clock: ("wall-clock", 5, 1),
}
