"""The order choreography: four services that react to each other's events, and nobody who directs them.

    success          OrderCreated > ItemsReserved > PaymentProcessed > OrderShipped > OrderCompleted
    no stock         InventoryReservationFailed > OrderCancelled
    payment fails    PaymentFailed > ItemsReleased > OrderCancelled
    shipping fails   ShippingFailed > PaymentRefunded > ItemsReleased > OrderCancelled
    the deadline     FlowTimedOut enters the same chain at its far end: shipping calls off, or it is on the road already

Each step is undone by the service that made it, and the next one hears of that: so `OrderCancelled` is the last word,
said when nothing is left to give back.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal, Protocol

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)

# What the services say to each other.


@dataclass(frozen=True)
class Line:  # a value inside an event is an ordinary dataclass
    sku: str
    quantity: int


@event
class OrderCreated:
    order_id: str
    card: str
    total: Decimal
    address: str
    lines: tuple[Line, ...]


@event
class ItemsReserved:
    order_id: str
    lines: tuple[Line, ...]


@failure
class InventoryReservationFailed:
    order_id: str
    reason: str


@event
class PaymentProcessed:
    order_id: str
    reference: str


@failure
class PaymentFailed:
    order_id: str
    reason: str


@event
class OrderShipped:
    order_id: str
    tracking: str


@failure
class ShippingFailed:
    order_id: str
    reason: str


@event
class PaymentRefunded:
    order_id: str


@event
class ItemsReleased:
    order_id: str


@event
class OrderCompleted:
    order_id: str
    tracking: str


@event
class OrderCancelled:
    order_id: str


orders, inventory = Service("orders"), Service("inventory")
payments, shipping = Service("payments"), Service("shipping")

# Orders: keeps what the customer may ask about.


@state(key="order_id")  # the flow's own key: private to the flow, so there is nothing to compensate
class Order:
    order_id: str
    status: Literal["open", "complete", "cancelled"] = "open"
    tracking: str | None = None


@orders.reaction(once="end")  # `complete` or `cancel`, whichever commits first
def complete(shipped: OrderShipped, order: Order) -> OrderCompleted:
    order.status, order.tracking = "complete", shipped.tracking
    return OrderCompleted(order_id=order.order_id, tracking=shipped.tracking)


@orders.reaction(once="end")
def cancel(failed: InventoryReservationFailed | ItemsReleased, order: Order) -> OrderCancelled:
    order.status = "cancelled"
    return OrderCancelled(order_id=order.order_id)


# Inventory: takes from the shelves, all lines of an order or none.


@state(key="sku")
class Shelf:
    sku: str
    free: int = 0


@inventory.reaction
async def reserve(order: OrderCreated, shelves: States[Shelf]) -> ItemsReserved | InventoryReservationFailed:
    for line in order.lines:
        shelf = await shelves.get(line.sku)
        if (
            shelf is None or shelf.free < line.quantity
        ):  # what other lines took is not saved: only a failure is returned
            return InventoryReservationFailed(order_id=order.order_id, reason=f"not enough {line.sku}")
        shelf.free -= line.quantity
    return ItemsReserved(order_id=order.order_id, lines=order.lines)


@inventory.reaction(compensates=reserve)
async def release(
    why: PaymentFailed | PaymentRefunded, reserved: ItemsReserved | None, shelves: States[Shelf]
) -> ItemsReleased:
    for line in reserved.lines if reserved else ():
        shelf = await shelves.get(line.sku)
        assert shelf is not None
        shelf.free += line.quantity
    return ItemsReleased(order_id=why.order_id)


# Payments: the bank may decline, and it may take the money and lose the answer.


@port
class Bank(Protocol):
    async def charge(self, card: str, amount: Decimal, *, key: str) -> str | None:
        """Its reference, or None for a card that is declined. Two calls with one key are one charge."""
        ...

    async def void(self, *, key: str) -> None:
        """What was charged under this key is given back, and nothing will be charged under it any more."""
        ...


@payments.reaction(needs=OrderCreated, retry=Retry(max_attempts=4))
async def charge(
    reserved: ItemsReserved, created: OrderCreated, bank: Bank, ctx: Context
) -> PaymentProcessed | PaymentFailed:
    reference = await bank.charge(created.card, created.total, key=ctx.idempotency_key())
    if reference is None:
        return PaymentFailed(order_id=reserved.order_id, reason="declined")
    return PaymentProcessed(order_id=reserved.order_id, reference=reference)


@payments.reaction(compensates=charge, retry=Retry(max_attempts=12, max_wait=timedelta(minutes=2)))
async def refund(
    why: ShippingFailed | ReactionFailed[ItemsReserved], charged: PaymentProcessed | None, bank: Bank, ctx: Context
) -> PaymentRefunded:
    await bank.void(key=ctx.key_of(charge))  # also where we never learnt whether the charge went through
    order_id = why.order_id if isinstance(why, ShippingFailed) else why.event.order_id
    return PaymentRefunded(order_id=order_id)


# Shipping: what is on the road cannot be called back, so nothing after it may fail.


@port
class Carrier(Protocol):
    async def book(self, address: str, *, key: str) -> str | None:
        """A tracking number, or None where it does not deliver. Two calls with one key are one parcel."""
        ...

    async def close(self, *, key: str) -> str | None:
        """The tracking number if there is a parcel; else None, and a booking with this key is refused from now on."""
        ...


@shipping.reaction(pivot=True, needs=OrderCreated)
async def ship(paid: PaymentProcessed, created: OrderCreated, carrier: Carrier) -> OrderShipped | ShippingFailed:
    tracking = await carrier.book(created.address, key=f"order-{paid.order_id}")
    if tracking is None:
        return ShippingFailed(order_id=paid.order_id, reason="no carrier goes there")
    return OrderShipped(order_id=paid.order_id, tracking=tracking)


@shipping.reaction(compensates=ship, retry=Retry(max_attempts=12, max_wait=timedelta(minutes=2)))
async def call_off(
    late: FlowTimedOut[OrderCreated], shipped: OrderShipped | None, carrier: Carrier
) -> OrderShipped | ShippingFailed | None:
    order_id = late.started.order_id
    if shipped is not None:
        return None  # it is on the road: the order completes, late
    if tracking := await carrier.close(key=f"order-{order_id}"):
        return OrderShipped(order_id=order_id, tracking=tracking)  # booked after all: the answer was lost
    return ShippingFailed(order_id=order_id, reason="too late")  # and a `ship` that comes now is skipped


shop = Choreography(
    "shop",
    orders,
    inventory,
    payments,
    shipping,
    flows=[
        Flow(
            "checkout",
            key="order_id",
            starts=OrderCreated,
            timeout=timedelta(minutes=30),
            succeeds=OrderCompleted,
            fails=OrderCancelled,
        )
    ],
)
