"""The choreography of the model as a user would write it. Each body is the model's, or does what the model's does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Protocol

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    event,
    failure,
    port,
    state,
)
from callboard.event import attribute

from . import shop as model
from .plan import Plan
from .shop import Call, Event, Given

SECOND = timedelta(seconds=1)
Reaction = Callable[..., Any]


@event
class OrderCreated:
    flow: str
    sku: str


@event(key="sku")
class Restocked:
    sku: str
    place: int


@event(key="sku")
class ShelfFilled:
    sku: str
    number: int = 0


@event
class ItemsReserved:
    flow: str
    sku: str
    number: int = 0


@failure
class InventoryReservationFailed:
    flow: str
    sku: str
    number: int = 0


@event
class ItemsReleased:
    flow: str
    sku: str
    number: int = 0


@event
class PaymentProcessed:
    flow: str
    sku: str
    number: int = 0


@failure
class PaymentFailed:
    flow: str
    sku: str
    number: int = 0


@event
class PaymentRefunded:
    flow: str
    sku: str
    number: int = 0


@event
class PaymentLate:
    flow: str
    sku: str
    number: int = 0


@event
class OrderShipped:
    flow: str
    sku: str
    number: int = 0


@failure
class ShippingFailed:
    flow: str
    sku: str
    number: int = 0


@event
class PointsEarned:
    flow: str
    sku: str
    number: int = 0


@event
class PointsTaken:
    flow: str
    sku: str
    number: int = 0


@event
class OrderCompleted:
    flow: str
    sku: str
    number: int = 0


@event
class OrderCancelled:
    flow: str
    sku: str
    number: int = 0


@state(key="sku")
class Shelf:
    sku: str
    free: int = 0
    filled: int = 0


@state(key="flow")
class Order:
    flow: str
    status: str = ""


@port
class Abroad:
    """The bank, the carrier and the club."""

    async def ask(self, call: Call) -> str | None:
        raise NotImplementedError


KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        ItemsReserved, InventoryReservationFailed, ItemsReleased, PaymentProcessed, PaymentFailed, PaymentRefunded,
        PaymentLate, OrderShipped, ShippingFailed, PointsEarned, PointsTaken, OrderCompleted, OrderCancelled,
    )
}  # fmt: skip


class Bodies(Protocol):
    """What every body asks first, or leaves to the model."""

    plan: Plan
    functions: dict[str, Reaction]

    def plain(self, name: str, said: Any, ctx: Context) -> None: ...
    def act(self, name: str, said: Any, ctx: Context, effect: Any = None) -> Awaitable[list[str]]: ...
    def pause(self, name: str) -> Awaitable[object]: ...


class Marks:
    """Registers the reactions of one plan: how often they are tried, and whether plain ones suspend."""

    def __init__(self, bodies: Bodies) -> None:
        plan = self.plan = bodies.plan
        self.bodies = bodies
        self.service = Service("model")
        self.retry = Retry(max_attempts=plan.max_attempts, first_wait=SECOND * 3, max_wait=SECOND * 12, jitter=0)

    def __call__(self, **options: Any) -> Callable[[Reaction], Reaction]:
        def mark(function: Reaction) -> Reaction:
            suspends = self.plan.suspends and not asyncio.iscoroutinefunction(function)
            made = self.suspended(function) if suspends else function
            self.bodies.functions[function.__name__] = made
            return self.service.reaction(retry=self.retry, **options)(made)

        return mark

    def suspended(self, function: Reaction) -> Reaction:
        """The same, but for a pause before it."""

        @wraps(function)
        async def run(**given: Any) -> Any:
            await self.bodies.pause(function.__name__)
            return function(**given)

        return run


def told(names: list[str], said: Any, number: int = 0) -> Any:
    """The events of these names, about the order that `said` is about."""
    flow, sku = attribute(said, "flow"), attribute(said, "sku")
    events = [KINDS[name](flow=flow, sku=sku, number=number) for name in names]
    return events[0] if events else None


def event_of(flow: str) -> Event:
    """What the model's bodies want to know of the event."""
    return Event(0, flow, "", flow, flow)


def _goods(mark: Marks, bodies: Bodies) -> None:
    """What moves stock."""

    @mark()
    def reserve(order: OrderCreated, shelf: Shelf, ctx: Context) -> ItemsReserved | InventoryReservationFailed:
        bodies.plain("reserve", order, ctx)
        quantity = mark.plan.orders[order.flow].quantity
        copy = model.Shelf(shelf.free)
        [name] = model.reserve(Given(event_of(order.flow), quantity, "", None, copy, False))
        moved, shelf.free = copy.free - shelf.free, copy.free
        return told([name], order, moved)  # type: ignore[no-any-return]

    @mark(compensates=reserve)
    def release(
        why: PaymentFailed | PaymentRefunded, taken: ItemsReserved | None, shelf: Shelf, ctx: Context
    ) -> ItemsReleased:
        bodies.plain("release", why, ctx)
        moved = mark.plan.orders[why.flow].quantity if taken else 0
        shelf.free += moved
        return told(["ItemsReleased"], why, moved)  # type: ignore[no-any-return]

    @mark(keeps="what is on the shelf stays there")
    def restock(restocked: Restocked, shelf: Shelf, ctx: Context) -> ShelfFilled:
        bodies.plain("restock", restocked, ctx)
        shelf.free, shelf.filled = shelf.free + 1, restocked.place
        return ShelfFilled(sku=restocked.sku, number=1)


def _money(mark: Marks, bodies: Bodies) -> None:
    """What moves money, and what says that it takes too long."""

    @mark()
    async def charge(reserved: ItemsReserved, abroad: Abroad, ctx: Context) -> PaymentProcessed | PaymentFailed:
        return told(await bodies.act("charge", reserved, ctx), reserved)  # type: ignore[no-any-return]

    @mark(compensates=charge)
    async def refund(
        why: ShippingFailed | ReactionFailed[ItemsReserved], paid: PaymentProcessed | None, abroad: Abroad, ctx: Context
    ) -> PaymentRefunded:
        return told(await bodies.act("refund", why, ctx, paid), why)  # type: ignore[no-any-return]

    @mark(wait=SECOND * mark.plan.expiry, unless=PaymentProcessed | PaymentFailed)
    def expire(reserved: ItemsReserved, ctx: Context) -> PaymentLate:
        bodies.plain("expire", reserved, ctx)
        return told(["PaymentLate"], reserved)  # type: ignore[no-any-return]


def _road(mark: Marks, bodies: Bodies) -> None:
    """What moves the parcel and the points."""

    @mark(pivot=True)
    async def ship(paid: PaymentProcessed, abroad: Abroad, ctx: Context) -> OrderShipped | ShippingFailed:
        return told(await bodies.act("ship", paid, ctx), paid)  # type: ignore[no-any-return]

    @mark(compensates=ship)
    async def call_off(
        why: FlowTimedOut[OrderCreated] | FlowCancelled[OrderCreated] | PaymentLate,
        booked: OrderShipped | None,
        abroad: Abroad,
        ctx: Context,
    ) -> OrderShipped | ShippingFailed | None:
        return told(await bodies.act("call_off", why, ctx, booked), why)  # type: ignore[no-any-return]

    @mark()
    async def earn(paid: PaymentProcessed, abroad: Abroad, ctx: Context) -> PointsEarned:
        return told(await bodies.act("earn", paid, ctx), paid)  # type: ignore[no-any-return]

    @mark(compensates=earn)
    async def unearn(
        why: PaymentRefunded | FlowCancelled[OrderCreated], earned: PointsEarned, abroad: Abroad, ctx: Context
    ) -> PointsTaken:
        return told(await bodies.act("unearn", why, ctx, earned), why)  # type: ignore[no-any-return]


def _ends(mark: Marks, bodies: Bodies) -> None:
    """What ends an order: the first of them does."""

    @mark(once="end")
    def complete(shipped: OrderShipped, order: Order, ctx: Context) -> OrderCompleted:
        bodies.plain("complete", shipped, ctx)
        order.status = "OrderCompleted"
        return told([order.status], shipped)  # type: ignore[no-any-return]

    @mark(once="end")
    def complete_by_hand(failed: ReactionFailed[OrderShipped], order: Order, ctx: Context) -> OrderCompleted:
        bodies.plain("complete_by_hand", failed, ctx)
        order.status = "OrderCompleted"
        return told([order.status], failed)  # type: ignore[no-any-return]

    @mark(once="end")
    def cancel(why: InventoryReservationFailed | ItemsReleased, order: Order, ctx: Context) -> OrderCancelled:
        bodies.plain("cancel", why, ctx)
        order.status = "OrderCancelled"
        return told([order.status], why)  # type: ignore[no-any-return]


def build(bodies: Bodies) -> tuple[Choreography, Service]:
    """The choreography of a plan, and its one service."""
    mark = Marks(bodies)
    for add in (_goods, _money, _road, _ends):
        add(mark, bodies)
    order = Flow(
        "order", key="flow", starts=OrderCreated, succeeds=OrderCompleted, fails=OrderCancelled,
        timeout=SECOND * mark.plan.timeout,
    )  # fmt: skip
    return Choreography("model", mark.service, incoming=Restocked, flows=[order]), mark.service
