"""An ordinary user's reactions: events that are pydantic models, states of ten fields."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, Field

from benchmarks.measure import Clocks, Figures, Side, pairs, spread
from benchmarks.rows import Answer, Options, Row
from callboard import Choreography, Flow, Service, event, state


class Level(Enum):
    STANDARD = "standard"
    GOLD = "gold"


class Line(BaseModel, frozen=True):
    sku: str
    count: int = Field(ge=1)
    price: Decimal


@event
class Ordered(BaseModel, frozen=True):
    order_id: str = Field(min_length=1)
    customer: str
    level: Level
    at: datetime
    lines: tuple[Line, ...]


@event
class Reserved(BaseModel, frozen=True):
    order_id: str
    total: Decimal
    until: date


@event
class Charged(BaseModel, frozen=True):
    order_id: str
    charge: str
    amount: Decimal


@event
class Shipped(BaseModel, frozen=True):
    order_id: str
    tracking: str
    at: datetime


@state(key="order_id")
class Account:
    order_id: str
    customer: str = ""
    level: Level = Level.STANDARD
    status: str = "new"
    total: Decimal = Decimal(0)
    charge: str | None = None
    tracking: str | None = None
    placed: datetime | None = None
    ended: datetime | None = None
    skus: tuple[str, ...] = ()


desk, stock, money, parcels = Service("desk"), Service("stock"), Service("money"), Service("parcels")
_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@state(key="order_id")
class Held:
    order_id: str
    first: str = ""
    second: str = ""
    third: str = ""
    count: int = 0
    total: Decimal = Decimal(0)
    until: date | None = None
    gold: bool = False
    at: datetime | None = None
    note: str | None = None


@desk.reaction
def place(ordered: Ordered, account: Account) -> None:
    account.customer, account.level, account.status = ordered.customer, ordered.level, "open"
    account.placed, account.skus = ordered.at, tuple(line.sku for line in ordered.lines)


@stock.reaction
def hold(ordered: Ordered, held: Held) -> Reserved:
    held.first, held.count, held.gold = ordered.lines[0].sku, len(ordered.lines), ordered.level is Level.GOLD
    held.total, held.at = sum((line.price * line.count for line in ordered.lines), Decimal(0)), ordered.at
    return Reserved(order_id=ordered.order_id, total=held.total, until=ordered.at.date() + timedelta(days=7))


@state(key="order_id")
class Paid:
    order_id: str
    amount: Decimal = Decimal(0)
    charge: str = ""


@money.reaction
def charge(reserved: Reserved, paid: Paid) -> Charged:
    paid.amount, paid.charge = reserved.total, f"ch_{reserved.order_id}"
    return Charged(order_id=reserved.order_id, charge=paid.charge, amount=reserved.total)


@state(key="order_id")
class Parcel:
    order_id: str
    tracking: str = ""


@parcels.reaction
def ship(charged: Charged, parcel: Parcel) -> Shipped:
    parcel.tracking = f"1Z{charged.order_id}"
    return Shipped(order_id=charged.order_id, tracking=parcel.tracking, at=_AT)


@desk.reaction
def complete(shipped: Shipped, account: Account) -> None:
    account.status, account.tracking, account.ended = "complete", shipped.tracking, shipped.at


shop = Choreography("ordinary", desk, stock, money, parcels, flows=[
    Flow("checkout", key="order_id", starts=Ordered, succeeds=Shipped, timeout=timedelta(minutes=30))])  # fmt: skip


def run(folder: Path, orders: int) -> Figures:
    """The order of the reference, as many people would write it."""
    return asyncio.run(_run(f"sqlite:///{folder}/shop.db", orders))


async def _run(url: str, orders: int) -> Figures:
    async with shop.open(url) as board:
        numbers = iter(range(orders))

        async def caller() -> None:
            for number in numbers:
                lines = tuple(Line(sku=f"sku-{number % 101}", count=1 + n, price=Decimal("9.95")) for n in range(3))
                await board.publish(
                    Ordered(order_id=f"o-{number:09d}", customer="c-1", level=Level.GOLD, at=_AT, lines=lines)
                )

        clocks = Clocks()
        await asyncio.gather(*(caller() for _ in range(500)))
        await board.rest()
        return clocks.figures(orders)


def measure(options: Options) -> Answer:
    """Beside the reference: how many times its CPU."""
    orders = options.size(2_000)
    ours = Side("pydantic", "benchmarks.rows.ordinary:run", {"orders": orders})
    theirs = Side("reference", "benchmarks.workload:run", {"orders": orders, "in_flight": 500})
    found = pairs(ours, theirs, options.count, tell=options.tell)
    told = [spread([each["cpu"] for each in side]) for side in zip(*found, strict=True)]
    return Answer(
        [a["cpu"] / b["cpu"] for a, b in found],
        lines=[f"{told[0]:.0f} µs of CPU an order against {told[1]:.0f} µs of the reference"],
    )


ROW = Row("ordinary", "pydantic events, a state of ten fields: CPU of the reference", None, None, measure,
          at_least=False)  # fmt: skip
