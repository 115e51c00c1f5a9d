"""eventsourcing: four applications of one system, a SQLite file each, tracking and new events in one transaction."""

from __future__ import annotations

import threading
from functools import singledispatchmethod
from pathlib import Path
from uuid import UUID

from eventsourcing.domain import Aggregate, event
from eventsourcing.system import (
    MultiThreadedRunner,
    NewMultiThreadedRunner,
    NewSingleThreadedRunner,
    ProcessApplication,
    SingleThreadedRunner,
    System,
)

from benchmarks.measure import Clocks, Figures
from benchmarks.peers.rows import order

RUNNERS = {
    each.__name__: each
    for each in (SingleThreadedRunner, NewSingleThreadedRunner, MultiThreadedRunner, NewMultiThreadedRunner)
}


class Order(Aggregate):
    @event("Created")
    def __init__(self, order_id: str, customer: str, sku: str, total: int) -> None:
        self.order_id, self.customer, self.sku, self.total = order_id, customer, sku, total
        self.status, self.tracking = "open", ""

    @event("Completed")
    def complete(self, tracking: str) -> None:
        self.status, self.tracking = "complete", tracking


class Reservation(Aggregate):
    @event("Created")
    def __init__(self, order: UUID, order_id: str, sku: str, total: int) -> None:
        self.order, self.order_id, self.sku, self.total = order, order_id, sku, total


class Payment(Aggregate):
    @event("Created")
    def __init__(self, order: UUID, order_id: str, amount: int, charge: str) -> None:
        self.order, self.order_id, self.amount, self.charge = order, order_id, amount, charge


class Shipment(Aggregate):
    @event("Created")
    def __init__(self, order: UUID, order_id: str, tracking: str) -> None:
        self.order, self.order_id, self.tracking = order, order_id, tracking


class Orders(ProcessApplication):
    completed = wanted = 0
    reached = threading.Event()

    def create(self, **given) -> None:
        self.save(Order(**given))

    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

    @policy.register
    def _(self, domain_event: Shipment.Created, processing_event):
        found = self.repository.get(domain_event.order)
        found.complete(domain_event.tracking)
        processing_event.collect_events(found)
        Orders.completed += 1
        if Orders.completed == Orders.wanted:
            Orders.reached.set()


class Inventory(ProcessApplication):
    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

    @policy.register
    def _(self, domain_event: Order.Created, processing_event):
        made = Reservation(domain_event.originator_id, domain_event.order_id, domain_event.sku, domain_event.total)
        processing_event.collect_events(made)


class Payments(ProcessApplication):
    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

    @policy.register
    def _(self, domain_event: Reservation.Created, processing_event):
        order_id = domain_event.order_id
        processing_event.collect_events(Payment(domain_event.order, order_id, domain_event.total, f"ch_{order_id}"))


class Shipping(ProcessApplication):
    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

    @policy.register
    def _(self, domain_event: Payment.Created, processing_event):
        order_id = domain_event.order_id
        processing_event.collect_events(Shipment(domain_event.order, order_id, f"1Z{order_id}"))


def run(folder: Path, orders: int, runner: str) -> Figures:
    """One caller that submits, as their examples do; the others' events are pulled by the runner."""
    places = {
        f"{name}_SQLITE_DBNAME": f"{folder}/{name}.db" for name in ("ORDERS", "INVENTORY", "PAYMENTS", "SHIPPING")
    }
    system = System(pipes=[[Orders, Inventory, Payments, Shipping, Orders]])
    works = RUNNERS[runner](system, env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", **places})
    works.start()
    shop = works.get(Orders)
    _complete(shop, range(10**8, 10**8 + 1))
    clocks = Clocks()
    _complete(shop, range(orders))
    figures = clocks.figures(orders)
    works.stop()
    return figures


def _complete(shop: Orders, numbers: range) -> None:
    Orders.wanted = Orders.completed + len(numbers)
    Orders.reached.clear()
    for number in numbers:
        shop.create(**order(number))
    assert Orders.reached.wait(120), f"{Orders.completed} of {Orders.wanted} orders are complete"
