"""Late compensation: stock is given back by a reaction that does not say compensates=, so it may come too early."""

from datetime import timedelta

from callboard import Choreography, Flow, Service, States, event, state
from callboard.simulation.world import World


@event
class OrderCreated:
    order_id: str
    sku: str


@event
class ItemsReserved:
    order_id: str


@event
class OrderConfirmed:
    order_id: str


@event
class OrderCancelled:
    order_id: str


@event
class StockReturned:
    order_id: str


@state(key="sku")
class Stock:
    sku: str
    free: int = 10


@state(key="order_id")
class Reservation:
    order_id: str
    sku: str = ""


orders, inventory = Service("orders"), Service("inventory")


@orders.reaction(once="end")
def confirm(reserved: ItemsReserved) -> OrderConfirmed:
    return OrderConfirmed(order_id=reserved.order_id)


@orders.reaction(wait=timedelta(minutes=10), unless=ItemsReserved, once="end")
def expire(created: OrderCreated) -> OrderCancelled:
    return OrderCancelled(order_id=created.order_id)


@inventory.reaction(keeps="give_back returns it")
def reserve(created: OrderCreated, stock: Stock, reservation: Reservation) -> ItemsReserved:
    stock.free -= 1
    reservation.sku = created.sku
    return ItemsReserved(order_id=created.order_id)


@inventory.reaction(keeps="it returns what reserve took")
async def give_back(cancelled: OrderCancelled, reservation: Reservation, stocks: States[Stock]) -> StockReturned:
    stock = await stocks.get(reservation.sku) if reservation.sku else None
    if stock is not None:
        stock.free += 1
    return StockReturned(order_id=cancelled.order_id)


planted = Choreography(
    "late_compensation",
    orders,
    inventory,
    flows=[
        Flow("order", key="order_id", starts=OrderCreated, succeeds=OrderConfirmed, fails=StockReturned),
    ],
)


@planted.workload
async def four_orders(world: World) -> None:
    await world.put(Stock(sku="lamp"))
    for number in range(1, 5):
        await world.publish(OrderCreated(order_id=f"o-{number}", sku="lamp"), after=number)


@planted.invariant
async def every_lamp_is_somewhere(world: World) -> None:
    (stock,) = await world.rows(Stock)
    sold = len(world.events(OrderConfirmed))
    assert stock.free + sold == 10, f"{stock.free} on the shelf and {sold} sold, of 10"
