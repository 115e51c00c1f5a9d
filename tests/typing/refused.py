"""What users must not be able to write: each line is refused, by the rule that stands behind it, or the run fails."""

# pyright: reportUnknownMemberType=false

from datetime import timedelta
from typing import Protocol

from callboard import (
    Breaker,
    Choreography,
    Context,
    Flow,
    FlowTimedOut,
    Guarded,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)


@event
class OrderPlaced:
    order_id: str
    sku: str = ""


@failure
class SoldOut:
    order_id: str


@event(key="courier_id")
class CourierMoved:
    courier_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3


@port
class Bank(Protocol):
    async def charge(self, card: str) -> str | None: ...


class Stripe(Bank):
    charge = 3  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


service = Service("inventory")
order = OrderPlaced(order_id="1")

# events and state
OrderPlaced("1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
OrderPlaced()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
OrderPlaced(order_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
OrderPlaced(order_id="1", orderid="2")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CourierMoved("1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SoldOut("1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Shelf("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Shelf(sku="a", free="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
order.order_id = "2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
CourierMoved(courier_id="1").courier_id = "2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
order.quantity  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
event(keys="order_id")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
state(shape=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
state("sku")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
FlowTimedOut(order)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
late_order = FlowTimedOut(started=order)
late_order.started.courier_id  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
late_order.started = order  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
late: FlowTimedOut[SoldOut] = late_order  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# reactions
@service.reaction
def returns_another(placed: OrderPlaced) -> SoldOut:
    return placed  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@service.reaction
def emits_none(placed: OrderPlaced) -> SoldOut:  # type: ignore[empty-body]  # pyright: ignore[reportReturnType]
    pass


@service.reaction
async def forgets_to_await(placed: OrderPlaced, shelves: States[Shelf]) -> None:
    shelves.get(placed.sku)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    (await shelves.get(placed.sku)).free -= 1  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    shelves.put(placed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@service.reaction
async def charges(placed: OrderPlaced, shelf: Read[Shelf], bank: Bank, ctx: Context) -> None:
    await bank.charge(placed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    shelf.place  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    ctx.key_of("charge")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


returns_another(SoldOut(order_id="1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
returns_another(placed=order).sku  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


# options
def react(placed: OrderPlaced) -> None: ...


service.reaction(need=OrderPlaced)(react)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
service.reaction(needs="OrderPlaced")(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(unless={SoldOut})(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(wait=20)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(wait=lambda _: 20)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
service.reaction(once=True)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(compensates="react")(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(pivot="yes")(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(keeps=True)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(retry=3)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(timeout=None)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(timeout=5)(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(order="lose")(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(since="yesterday")(react)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
service.reaction(gathers=SoldOut | CourierMoved)(react)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
service.reaction(needs=SoldOut)(order)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
Retry(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Retry(max_wait=600)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(never="ValueError")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Breaker(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Guarded(keeper=Stripe(), limit=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# flows and choreographies
Flow("checkout", starts=OrderPlaced, succeeds=SoldOut)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Flow("checkout", key="order_id", succeeds=SoldOut)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Flow("x", key="k", starts=SoldOut, succeeds={SoldOut})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Flow(
    "x",
    key="order_id",
    starts=OrderPlaced,
    succeeds=SoldOut,
    timeout=30,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    home="inventory",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
)
Choreography("shop", "inventory")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Choreography("shop", service, flow=[])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Choreography("shop", service, flows=[OrderPlaced])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
Choreography("x", service, incoming=[OrderPlaced])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def opens(rides: Choreography) -> None:
    rides.open()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    rides.open("sqlite:///x.db", services=["orders"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    rides.open("sqlite:///x.db", grace=30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    rides.open("sqlite:///x.db", port=[Stripe()])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async with rides.open("sqlite:///x.db", grace=timedelta(seconds=1)) as board:
        await board.publish(event=order)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        board.publishes(order)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
