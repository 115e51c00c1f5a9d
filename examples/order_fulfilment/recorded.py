"""The choreography of the recorded orders: a marketplace that hears what happened, in whatever order it is told.

    purchase > approval > hand-over > delivery                     OrderCompleted
    revoked, not handed over                                       called off, refunded > OrderCancelled
    revoked, but handed over                                       it is on the road: delivery, or the deadline
    90 days without an end, and 60 days of inquiry without a sign  called off or lost, refunded > OrderCancelled

What happens is said from outside (`incoming`); the services hold back what comes too early (`needs=`).
"""

from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Context, Flow, FlowTimedOut, Service, event, failure, port

# Said by the record.


@event
class OrderPurchased:
    order_id: str
    customer_id: str


@event
class PaymentApproved:
    order_id: str


@event
class ParcelHandedOver:
    order_id: str


@event
class ParcelDelivered:
    order_id: str


@event
class OrderRevoked:
    order_id: str
    status: str


# Said by the services.


@event
class PaymentCollected:
    order_id: str


@event
class ParcelDispatched:
    order_id: str


@event
class OrderOverdue:
    order_id: str


@event
class ParcelOnTheRoad:
    order_id: str


@failure
class ShippingCalledOff:
    order_id: str


@failure
class ParcelLost:
    order_id: str


@event
class PaymentRefunded:
    order_id: str


@event
class OrderCompleted:
    order_id: str


@event
class OrderCancelled:
    order_id: str


orders, payments, shipping = Service("orders"), Service("payments"), Service("shipping")


@port
class Till(Protocol):
    async def collect(self, order_id: str, *, key: str) -> None: ...
    async def give_back(self, *, key: str) -> None: ...


@payments.reaction
async def collect(approved: PaymentApproved, till: Till, ctx: Context) -> PaymentCollected:
    await till.collect(approved.order_id, key=ctx.idempotency_key())
    return PaymentCollected(order_id=approved.order_id)


@payments.reaction(compensates=collect)
async def refund(
    why: ShippingCalledOff | ParcelLost, collected: PaymentCollected | None, till: Till, ctx: Context
) -> PaymentRefunded:
    if collected is not None:
        await till.give_back(key=ctx.key_of(collect))
    return PaymentRefunded(order_id=why.order_id)


@shipping.reaction(needs=PaymentCollected, pivot=True)  # a hand-over that is recorded before the approval waits for it
def dispatch(handed: ParcelHandedOver) -> ParcelDispatched:
    return ParcelDispatched(order_id=handed.order_id)


@shipping.reaction(compensates=dispatch)
def call_off(
    why: OrderRevoked | OrderOverdue, dispatched: ParcelDispatched | None
) -> ShippingCalledOff | ParcelOnTheRoad:
    if dispatched is not None:
        return ParcelOnTheRoad(order_id=why.order_id)
    return ShippingCalledOff(order_id=why.order_id)  # and a hand-over that is told later is not dispatched


@shipping.reaction(within=timedelta(days=150))
def write_off(road: ParcelOnTheRoad, overdue: OrderOverdue) -> ParcelLost:  # once, when both were said
    return ParcelLost(order_id=overdue.order_id)


@orders.reaction(wait=timedelta(days=60), unless=ParcelDelivered)
def inquire(late: FlowTimedOut[OrderPurchased]) -> OrderOverdue:
    """The deadline alone ends nothing: some parcels arrive after it. 60 days later the order is given up."""
    return OrderOverdue(order_id=late.started.order_id)


@orders.reaction(once="end", needs=ParcelDispatched)
def complete(delivered: ParcelDelivered) -> OrderCompleted:
    return OrderCompleted(order_id=delivered.order_id)


@orders.reaction(once="end")
def cancel(refunded: PaymentRefunded) -> OrderCancelled:
    return OrderCancelled(order_id=refunded.order_id)


marketplace = Choreography(
    "marketplace",
    orders,
    payments,
    shipping,
    incoming=PaymentApproved | ParcelHandedOver | ParcelDelivered | OrderRevoked,
    flows=[
        Flow(
            "order",
            key="order_id",
            starts=OrderPurchased,
            timeout=timedelta(days=90),
            succeeds=OrderCompleted,
            fails=OrderCancelled,
        )
    ],
)
