"""An order, by four services that react to each other's events."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from callboard import Choreography, Flow, Retry, Service, States, event, failure, port, state

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


@orders.reaction
def complete(shipped: OrderShipped, order: Order) -> None:
    order.status, order.tracking = "COMPLETED", shipped.tracking
    order.ended = datetime.now(UTC)


@orders.reaction
def cancel(failed: InventoryReservationFailed | ItemsReleased, order: Order) -> OrderCancelled:
    order.status = "FAILED"
    return OrderCancelled(order_id=order.order_id)


# Inventory.

inventory = Service("inventory")
reservations: dict[str, str] = {}


@state(key="sku")
class Stock:
    sku: str
    free: int = 10


@inventory.reaction
def reserve(created: OrderCreated, stock: Stock) -> ItemsReserved | InventoryReservationFailed:
    if stock.free < created.quantity:
        return InventoryReservationFailed(order_id=created.order_id)
    stock.free -= created.quantity
    return ItemsReserved(order_id=created.order_id, sku=created.sku)


@inventory.reaction
async def release(why: PaymentFailed | PaymentRefunded, stocks: States[Stock]) -> ItemsReleased:
    if sku := reservations.pop(why.order_id, None):
        stock = await stocks.get(sku)
        assert stock is not None
        stock.free += 1
    return ItemsReleased(order_id=why.order_id)


# Payments.

payments = Service("payments")
charged: set[str] = set()  # so that no order is charged twice


@port
class Bank(Protocol):
    async def charge(self, card: str, total: Decimal) -> bool: ...
    async def refund(self, card: str, total: Decimal) -> None: ...


@payments.reaction(needs=OrderCreated, retry=Retry(max_attempts=3))
async def charge(reserved: ItemsReserved, created: OrderCreated, bank: Bank) -> PaymentProcessed | PaymentFailed:
    if reserved.order_id not in charged and not await bank.charge(created.card, created.total):
        return PaymentFailed(order_id=reserved.order_id)
    charged.add(reserved.order_id)
    return PaymentProcessed(order_id=reserved.order_id)


@payments.reaction(needs=OrderCreated)
async def refund(failed: ShippingFailed, created: OrderCreated, bank: Bank) -> PaymentRefunded:
    await bank.refund(created.card, created.total)
    return PaymentRefunded(order_id=failed.order_id)


# Shipping.

shipping = Service("shipping")


@port
class Carrier(Protocol):
    async def book(self, parcel: str) -> str | None: ...


@shipping.reaction
async def ship(paid: PaymentProcessed, carrier: Carrier) -> OrderShipped | ShippingFailed:
    tracking = await carrier.book(paid.order_id)
    if tracking is None:
        return ShippingFailed(order_id=paid.order_id)
    return OrderShipped(order_id=paid.order_id, tracking=tracking)


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
            succeeds=OrderShipped,
            fails=OrderCancelled,
        )
    ],
)
