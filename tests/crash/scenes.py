"""What is played in a crash test: a choreography, who owns what of it, what is published, which stock is edited."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from callboard import Choreography, Flow, Service
from shop import inventory, orders, payments, shipping
from shop.events import Line, OrderCancelled, OrderCompleted, OrderCreated

from . import depot
from .lines import Reading, lines
from .outside import CrashBank, CrashCarrier, CrashGauge, CrashMail, CrashOffice, CrashTill, World

SKUS = ("anvil", "bell", "crate")
BAYS = ("north", "south")


@dataclass(frozen=True)
class Scene:
    """One choreography under test."""

    choreography: Choreography
    flow: str
    split: tuple[tuple[Service, ...], tuple[Service, ...]]  # what the first and the second owner begin with
    keepers: Callable[[World], list[object]]
    begin: Callable[[str], object]  # the starting event with this key: always the same
    differing: Callable[[str], object]  # another one with this key
    stock: type[Any]  # a state with a key and `free`, changed by reactions and from outside
    stocks: tuple[str, ...]
    first_stock: int
    stock_owner: Service

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them: what a standby stands by for."""
        return (*self.split[0], *self.split[1])

    def row(self, key: str, free: int) -> Any:
        """A row of the stock."""
        return self.stock(**{self.stock_key: key, "free": free})

    @property
    def stock_key(self) -> str:
        return str(self.stock.__callboard__.key)


def _order(key: str, *, total: int = 9) -> OrderCreated:
    chance = Random(key)
    cards = ("gold",) * 8 + ("declined", "cursed" if chance.random() < 0.4 else "gold")
    lines = tuple(Line(sku, chance.randint(1, 2)) for sku in chance.sample(SKUS, chance.randint(1, 2)))
    return OrderCreated(order_id=key, card=chance.choice(cards), total=Decimal(total), lines=lines)


def _shop(build: int) -> Scene:
    meter, mirror = lines(build)
    late = timedelta(seconds=10)
    choreography = Choreography(
        "shop",
        orders.service,
        inventory.service,
        payments.service,
        shipping.service,
        meter,
        mirror,
        flows=[
            Flow(
                "checkout",
                key="order_id",
                starts=OrderCreated,
                timeout=late,
                succeeds=OrderCompleted,
                fails=OrderCancelled,
            )
        ],
        incoming=Reading,
    )
    return Scene(
        choreography,
        "checkout",
        ((orders.service, inventory.service, meter), (payments.service, shipping.service, mirror)),
        lambda world: [CrashBank(world), CrashCarrier(world), CrashGauge(world)],
        _order,
        lambda key: _order(key, total=10),
        inventory.Shelf,
        SKUS,
        60,
        inventory.service,
    )


def _consignment(key: str, *, more: int = 0) -> depot.ConsignmentPlaced:
    chance = Random(key)
    return depot.ConsignmentPlaced(
        consignment_id=key,
        bay=chance.choice(BAYS),
        parcels=chance.randint(1, 5) + more,
        hurried=chance.random() < 0.7,
    )


def _depot(build: int) -> Scene:
    meter, mirror = lines(build)
    return Scene(
        depot.depot(meter, mirror),
        "consignment",
        ((depot.desk, depot.yard, meter), (depot.customs, depot.fees, depot.post, mirror)),
        lambda world: [CrashTill(world), CrashOffice(world), CrashMail(world), CrashGauge(world)],
        _consignment,
        lambda key: _consignment(key, more=1),
        depot.Bay,
        BAYS,
        120,
        depot.yard,
    )


SCENES: dict[str, Callable[[int], Scene]] = {"shop": _shop, "depot": _depot}
