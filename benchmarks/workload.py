"""The reference workload: four services, four events, five reactions, five state writes an order.

Every figure of callboard that is compared with somebody else's is one of this workload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec

from benchmarks.measure import Clocks, Figures
from callboard import Board, Choreography, Flow, Service, event, state


@event
class OrderCreated(msgspec.Struct, frozen=True, kw_only=True):
    order_id: str
    customer: str
    sku: str
    total: int


@event
class ItemsReserved(msgspec.Struct, frozen=True, kw_only=True):
    order_id: str
    sku: str
    total: int


@event
class PaymentProcessed(msgspec.Struct, frozen=True, kw_only=True):
    order_id: str
    charge: str


@event
class OrderShipped(msgspec.Struct, frozen=True, kw_only=True):
    order_id: str
    tracking: str


orders, inventory, payments, shipping = (
    Service("orders"),
    Service("inventory"),
    Service("payments"),
    Service("shipping"),
)


@state(key="order_id")
class Order(msgspec.Struct, kw_only=True):
    order_id: str
    status: str = "new"
    tracking: str | None = None


@state(key="order_id")
class Reservation(msgspec.Struct, kw_only=True):
    order_id: str
    sku: str = ""


@state(key="order_id")
class Payment(msgspec.Struct, kw_only=True):
    order_id: str
    amount: int = 0


@state(key="order_id")
class Shipment(msgspec.Struct, kw_only=True):
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


def order(number: int) -> OrderCreated:
    """The order with this number, the same in every run."""
    return OrderCreated(
        order_id=f"o-{number:09d}", customer=f"c-{number % 997}", sku=f"sku-{number % 101}", total=number % 500
    )


def run(folder: Path, orders: int, in_flight: int, *, until: str = "published") -> Figures:
    """`orders` orders from publish to their verdict.

    So many callers at once: each goes on to its next order when this one is "published" (durable) or "completed".
    """
    return asyncio.run(_run(f"sqlite:///{folder}/shop.db", orders, in_flight, wait=until == "completed"))


async def _run(url: str, orders: int, in_flight: int, *, wait: bool) -> Figures:
    async with shop.open(url) as board:
        clocks = Clocks()
        await publish(board, range(orders), in_flight, wait=wait)
        await all_done(board, orders)
        figures = clocks.figures(orders)
        done = await board.work.ledger.list_flows(
            name="checkout", status="succeeded", before=None, limit=orders + 1, now=0
        )
        assert len(done) == orders, f"{len(done)} of {orders} orders have succeeded"
    return figures


async def publish(board: Board, numbers: Iterable[int], in_flight: int, *, wait: bool = False) -> None:
    """These orders are published by so many callers."""
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            flow = await board.publish(order(number))
            if wait:
                await flow.completion()

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def all_done(board: Board, orders: int) -> None:
    """The order that was published last has its verdict, and with it all before it."""
    last = board.flow("checkout", order(orders - 1).order_id)
    await last.completion(timeout=timedelta(minutes=5))
