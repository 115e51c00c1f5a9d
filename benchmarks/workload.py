"""The reference workload: four services, four events, five reactions, five state writes an order."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import NamedTuple

from callboard import Choreography, Flow, Service, event, state


@event
class OrderCreated:
    order_id: str
    customer: str
    sku: str
    total: int


@event
class ItemsReserved:
    order_id: str
    sku: str
    total: int


@event
class PaymentProcessed:
    order_id: str
    charge: str


@event
class OrderShipped:
    order_id: str
    tracking: str


orders, inventory, payments, shipping = (
    Service("orders"),
    Service("inventory"),
    Service("payments"),
    Service("shipping"),
)


@state(key="order_id")
class Order:
    order_id: str
    status: str = "new"
    tracking: str | None = None


@state(key="order_id")
class Reservation:
    order_id: str
    sku: str = ""


@state(key="order_id")
class Payment:
    order_id: str
    amount: int = 0


@state(key="order_id")
class Shipment:
    order_id: str
    tracking: str = ""


@orders.reaction
def place(created: OrderCreated, order: Order) -> None:
    order.status = "open"


@inventory.reaction
def reserve(created: OrderCreated, reservation: Reservation) -> ItemsReserved:
    reservation.sku = created.sku
    return ItemsReserved(order_id=created.order_id, sku=created.sku, total=created.total)


@payments.reaction
def charge(reserved: ItemsReserved, payment: Payment) -> PaymentProcessed:
    payment.amount = reserved.total
    return PaymentProcessed(order_id=reserved.order_id, charge=f"ch_{reserved.order_id}")


@shipping.reaction
def ship(paid: PaymentProcessed, shipment: Shipment) -> OrderShipped:
    shipment.tracking = f"1Z{paid.order_id}"
    return OrderShipped(order_id=paid.order_id, tracking=shipment.tracking)


@orders.reaction
def complete(shipped: OrderShipped, order: Order) -> None:
    order.status, order.tracking = "complete", shipped.tracking


shop = Choreography(
    "shop", orders, inventory, payments, shipping,
    flows=[Flow("checkout", key="order_id", starts=OrderCreated, succeeds=OrderShipped, timeout=timedelta(minutes=30))],
)  # fmt: skip


class Figure(NamedTuple):
    """What one run took."""

    rate: float  # orders a second
    cpu: float  # microseconds of this process for one order


def order(number: int) -> OrderCreated:
    """The order with this number, the same in every run."""
    return OrderCreated(
        order_id=f"o-{number:09d}", customer=f"c-{number % 997}", sku=f"sku-{number % 101}", total=number % 500
    )


async def run(url: str, count: int, in_flight: int) -> Figure:
    """`count` orders from publish to their verdict, `in_flight` at a time."""
    async with shop.open(url) as board:
        numbers = iter(range(count))

        async def publisher() -> None:
            for number in numbers:
                await board.publish(order(number))

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(publisher() for _ in range(in_flight)))
        last = board.flow("checkout", order(count - 1).order_id)
        await last.completion(timeout=timedelta(minutes=5))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        done = await board.work.ledger.list_flows(
            name="checkout", status="succeeded", before=None, limit=count + 1, now=0
        )
        assert len(done) == count, f"{len(done)} of {count} orders have succeeded"
    return Figure(count / took, used / count * 1e6)
