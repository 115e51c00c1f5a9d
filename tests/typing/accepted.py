"""What users write, and what both type checkers must infer from it, in strict mode and without a plugin."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, NamedTuple, Protocol, assert_never, assert_type

import attrs
import msgspec
import pydantic

from callboard import (
    Breaker,
    Choreography,
    Context,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    Guarded,
    JsonCodec,
    ManualClock,
    ReactionFailed,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)

# events


class Place(NamedTuple):
    lat: float
    lon: float


@event
class OrderPlaced:
    order_id: str
    sku: str = ""
    total: Decimal = Decimal(0)
    at: Place | None = None
    tags: tuple[str, ...] = field(default=())

    @property
    def region(self) -> str:
        return self.order_id[:2]


@event(key="courier_id", type="taxi.CourierMoved", version=2)
class CourierMoved:
    courier_id: str


@failure
class SoldOut:
    order_id: str


@failure(type="shop.Declined")
class Declined:
    order_id: str


@event
class Reserved(OrderPlaced):
    shelf: str


@event
@dataclass(frozen=True, kw_only=True)
class ByDataclass:
    order_id: str


@event
@attrs.frozen(kw_only=True)
class ByAttrs:
    order_id: str


@event
class ByStruct(msgspec.Struct, frozen=True, kw_only=True):
    order_id: str


@event
class ByPydantic(pydantic.BaseModel, frozen=True):
    order_id: str


def events_are_built_by_keyword() -> None:
    order = OrderPlaced(order_id="1")
    assert_type(order, OrderPlaced)
    assert_type(order.order_id, str)
    assert_type(order.total, Decimal)
    assert_type(order.at, Place | None)
    assert_type(order.region, str)
    assert_type(CourierMoved(courier_id="1").courier_id, str)
    assert_type(Declined(order_id="1"), Declined)
    assert_type(Reserved(order_id="1", shelf="a").order_id, str)
    assert_type(ByDataclass(order_id="1").order_id, str)
    assert_type(ByAttrs(order_id="1").order_id, str)
    assert_type(ByStruct(order_id="1").order_id, str)
    assert_type(ByPydantic(order_id="1").order_id, str)


def unions_are_exhausted(it: OrderPlaced | SoldOut | ByStruct | ByPydantic) -> str:
    match it:
        case OrderPlaced(order_id=order_id) | SoldOut(order_id=order_id):
            return order_id
        case ByStruct():
            return assert_type(it, ByStruct).order_id
        case ByPydantic():
            return it.order_id
        case _:
            assert_never(it)


# the built-in events


def built_in_events_know_what_they_speak_of(order: OrderPlaced) -> None:
    late = FlowTimedOut(started=order)
    assert_type(late, FlowTimedOut[OrderPlaced])
    assert_type(late.started.order_id, str)
    assert_type(late.deadline, datetime)
    assert_type(FlowCancelled(started=order, reason="x").started, OrderPlaced)
    failed = ReactionFailed(event=FlowTimedOut(started=order), attempts=3)
    assert_type(failed.event.started, OrderPlaced)
    assert_type((failed.reaction, failed.error, failed.attempts), tuple[str, str, int])
    anything: FlowTimedOut[object] = late
    anything.started.__hash__()


# state and ports


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3
    held: dict[str, int] = field(default_factory=dict[str, int])


@state(key="sku", shape=2, upcast=lambda old: {**old, "row": 1}, name="labels")
@dataclass(kw_only=True)
class Label:
    sku: str
    row: int


@port
class Bank(Protocol):
    async def charge(self, amount: Decimal, *, key: str) -> str | None: ...


@port
@dataclass(frozen=True)
class Limits:
    highest: Decimal


class Stripe(Bank):
    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def charge(self, amount: Decimal, *, key: str) -> str | None:
        return f"{self._secret}{key}{amount}"


async def rows_have_their_class() -> None:
    shelf = Shelf(sku="a")
    shelf.free -= 1
    assert_type(shelf.free, int)
    shelves = States(shelf, Shelf(sku="b"))
    assert_type(shelves, States[Shelf])
    assert_type(await shelves.get("a"), Shelf | None)
    shelves.put(Shelf(sku="c", free=0))
    shelves.delete("a")
    empty = States[Label]()
    assert_type(await empty.get("a"), Label | None)


# reactions

inventory, payments = Service("inventory"), Service("payments")


@inventory.reaction
def reserve(order: OrderPlaced, shelf: Shelf, label: Label | None) -> Reserved | SoldOut:
    if shelf.free == 0 or label is None:
        return SoldOut(order_id=order.order_id)
    return Reserved(order_id=order.order_id, shelf=shelf.sku)


@inventory.reaction(compensates=reserve, per="order_id", keeps="it is a statistic")
async def release(
    why: Declined | FlowTimedOut[OrderPlaced], shelf: Read[Shelf], reserved: Reserved, shelves: States[Shelf]
) -> None:
    assert_type(shelf, Shelf)
    if isinstance(why, FlowTimedOut):
        assert_type(why.started, OrderPlaced)


def day_before(order: OrderPlaced) -> timedelta:
    return timedelta(days=len(order.order_id))


@payments.reaction(
    needs=tuple[OrderPlaced, CourierMoved],
    wait=day_before,
    unless=SoldOut | FlowTimedOut[OrderPlaced],
    per="order_id",
    once="end",
    pivot=True,
    within=timedelta(hours=1),
    retry=Retry(max_attempts=3, never=(ValueError,), only=OSError),
    timeout=timedelta(seconds=5),
    order="loose",
    concurrency=4,
    was="pay",
    since="beginning",
)
async def charge(
    reserved: Reserved, order: OrderPlaced, bank: Bank, limits: Limits, ctx: Context
) -> Annotated[Declined | ByDataclass, "said"]:
    ctx.log.info("attempt %s of %s", ctx.attempt, ctx.flow_key)
    assert_type(ctx.now(), datetime)
    assert_type(ctx.key_of(charge, "fee"), str)
    if await bank.charge(min(order.total, limits.highest), key=ctx.idempotency_key()) is None:
        return Declined(order_id=order.order_id)
    return ByDataclass(order_id=order.order_id)


@payments.reaction(wait=lambda order: timedelta(minutes=1), needs=SoldOut | Declined, keeps="a letter")
def remind(order: OrderPlaced) -> list[ByAttrs] | tuple[ByStruct, Sequence[ByPydantic]] | None:
    return [ByAttrs(order_id=order.order_id)] if order.total else None


@payments.reaction(gathers=OrderPlaced, blocking=True)
def together(parts: list[Reserved | SoldOut]) -> ByStruct:
    return ByStruct(order_id=parts[0].order_id)


@payments.reaction(unless=ReactionFailed[OrderPlaced], needs=FlowCancelled[OrderPlaced])
def never(both: SoldOut) -> tuple[ByAttrs, ByStruct]:
    return ByAttrs(order_id=both.order_id), ByStruct(order_id=both.order_id)


async def a_reaction_is_called_as_the_function_that_it_is(order: OrderPlaced) -> None:
    assert_type(reserve(order, Shelf(sku="a"), None), Reserved | SoldOut)
    late = FlowTimedOut(started=order)
    assert_type(await release(late, Shelf(sku="a"), Reserved(order_id="1", shelf="a"), States(Shelf(sku="a"))), None)
    assert_type(never(SoldOut(order_id="1")), tuple[ByAttrs, ByStruct])


# choreographies

shop = Choreography(
    "shop",
    inventory,
    payments,
    incoming=CourierMoved | SoldOut,
    outgoing=ReactionFailed[OrderPlaced],
    flows=[
        Flow("one", key="order_id", starts=OrderPlaced, succeeds=ByStruct, timeout=timedelta(minutes=1)),
        Flow(
            "two",
            key="order_id",
            starts=OrderPlaced,
            succeeds=tuple[ByStruct, ByAttrs | ByDataclass],
            fails=tuple[Declined | SoldOut, ByPydantic],
            home=payments,
        ),
    ],
)


async def a_choreography_is_opened() -> None:
    keepers = [Guarded(Stripe("key"), concurrency=8, breaker=Breaker(failures=3)), Limits(Decimal(9))]
    async with shop.open(
        "sqlite:///shop.db", ports=keepers, services=[payments], clock=ManualClock(), codec=JsonCodec(verify=False)
    ) as board:
        flow = await board.publish(OrderPlaced(order_id="1"), idempotency_key="r-1")
        done = await flow.completion(timeout=timedelta(seconds=2))
        assert_type(done.succeeded, bool)
        assert_type(await board.load(Shelf, "a"), Shelf | None)
