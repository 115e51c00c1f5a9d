"""An order, by four services that react to each other's events."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from callboard import Choreography, Context, Flow, FlowTimedOut, Retry, Service, States, event, failure, port, state

# What the services say to each other.


@event
class OrderCreated:
    order_id: str
    sku: str
    quantity: int
    card: str
    total: Decimal


@event
class ItemsReserved:
    order_id: str
    sku: str
    quantity: int


@failure
class InventoryReservationFailed:
    order_id: str


@event
class PaymentProcessed:
    order_id: str


@failure
class PaymentFailed:
    order_id: str


@event
class OrderShipped:
    order_id: str
    tracking: str


@failure
class ShippingFailed:
    order_id: str


@event
class PaymentRefunded:
    order_id: str


@event
class ItemsReleased:
    order_id: str


@event
class OrderCompleted:
    order_id: str


@event
class OrderCancelled:
    order_id: str


# Orders.

orders = Service("orders")


@state(key="order_id")
class Order:
    order_id: str
    status: str = "CREATED"
    tracking: str = ""
    ended: datetime | None = None


@orders.reaction(once="end")
def complete(shipped: OrderShipped, order: Order, ctx: Context) -> OrderCompleted:
    order.status, order.tracking = "COMPLETED", shipped.tracking
    order.ended = ctx.now()
    return OrderCompleted(order_id=order.order_id)


@orders.reaction(once="end")
def cancel(failed: InventoryReservationFailed | ItemsReleased, order: Order) -> OrderCancelled:
    order.status = "FAILED"
    return OrderCancelled(order_id=order.order_id)


# Inventory.

inventory = Service("inventory")


@state(key="sku")
class Stock:
    sku: str
    free: int = 10


@inventory.reaction
def reserve(created: OrderCreated, stock: Stock) -> ItemsReserved | InventoryReservationFailed:
    if stock.free < created.quantity:
        return InventoryReservationFailed(order_id=created.order_id)
    stock.free -= created.quantity
    return ItemsReserved(order_id=created.order_id, sku=created.sku, quantity=created.quantity)


@inventory.reaction(compensates=reserve)
async def release(
    why: PaymentFailed | PaymentRefunded, reserved: ItemsReserved | None, stocks: States[Stock]
) -> ItemsReleased:
    if reserved is not None:
        stock = await stocks.get(reserved.sku)
        assert stock is not None
        stock.free += reserved.quantity
    return ItemsReleased(order_id=why.order_id)


# Payments.

payments = Service("payments")


@port
class Bank(Protocol):
    async def charge(self, card: str, total: Decimal, *, key: str) -> bool: ...
    async def refund(self, *, key: str) -> None: ...


@payments.reaction(needs=OrderCreated, retry=Retry(max_attempts=3))
async def charge(
    reserved: ItemsReserved, created: OrderCreated, bank: Bank, ctx: Context
) -> PaymentProcessed | PaymentFailed:
    if not await bank.charge(created.card, created.total, key=ctx.idempotency_key()):
        return PaymentFailed(order_id=reserved.order_id)
    return PaymentProcessed(order_id=reserved.order_id)


@payments.reaction(compensates=charge)
async def refund(failed: ShippingFailed, paid: PaymentProcessed | None, bank: Bank, ctx: Context) -> PaymentRefunded:
    await bank.refund(key=ctx.key_of(charge))  # also where nobody knows whether the charge went through
    return PaymentRefunded(order_id=failed.order_id)


# Shipping.

shipping = Service("shipping")


@port
class Carrier(Protocol):
    async def book(self, parcel: str) -> str | None: ...
    async def stop(self, parcel: str) -> None: ...  # it is not sent any more, or comes back


@shipping.reaction(pivot=True)
async def ship(paid: PaymentProcessed, carrier: Carrier) -> OrderShipped | ShippingFailed:
    tracking = await carrier.book(paid.order_id)
    if tracking is None:
        return ShippingFailed(order_id=paid.order_id)
    return OrderShipped(order_id=paid.order_id, tracking=tracking)


@shipping.reaction(compensates=ship)
async def call_off(
    late: FlowTimedOut[OrderCreated], shipped: OrderShipped | None, carrier: Carrier
) -> ShippingFailed | None:
    if shipped is not None:
        return None  # it is on the road: the order completes, late
    await carrier.stop(late.started.order_id)
    return ShippingFailed(order_id=late.started.order_id)


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
            succeeds=OrderCompleted,
            fails=OrderCancelled,
            timeout=timedelta(minutes=30),
        )
    ],
)
