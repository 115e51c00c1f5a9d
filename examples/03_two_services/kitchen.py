"""Services know events, not each other: nobody calls, nobody waits for an answer, and the flow still has one end.

The kitchen hears the order and the bar hears it too; the waiter serves when both are ready (a join), and needs to know
the table, which only the order says (`needs=`).
"""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, Service, event


@event
class OrderTaken:
    order_id: str
    table: int
    dish: str
    drink: str


@event
class DishCooked:
    order_id: str
    dish: str


@event
class DrinkMixed:
    order_id: str
    drink: str


@event
class TableServed:
    order_id: str
    text: str


kitchen, bar, waiters = Service("kitchen"), Service("bar"), Service("waiters")


@kitchen.reaction
def cook(order: OrderTaken) -> DishCooked:
    return DishCooked(order_id=order.order_id, dish=order.dish)


@bar.reaction
def mix(order: OrderTaken) -> DrinkMixed | None:  # nothing to mix: no event
    return DrinkMixed(order_id=order.order_id, drink=order.drink) if order.drink else None


# callboard: allow CB303 (shown on purpose: where no drink is mixed, `serve` waits for one)
@waiters.reaction(needs=OrderTaken)
def serve(dish: DishCooked, drink: DrinkMixed, order: OrderTaken) -> TableServed:
    return TableServed(order_id=order.order_id, text=f"table {order.table}: {dish.dish} and {drink.drink}")


restaurant = Choreography(
    "restaurant",
    kitchen,
    bar,
    waiters,
    flows=[Flow("meal", key="order_id", starts=OrderTaken, succeeds=TableServed, timeout=timedelta(hours=1))],
)


async def main() -> None:
    async with restaurant.open("sqlite:///:memory:") as board:
        meal = await board.publish(OrderTaken(order_id="m-1", table=7, dish="soup", drink="tonic"))
        served = await meal.event(TableServed, timeout=timedelta(seconds=5))
        print(served.text)
        for each in await meal.events():
            print("  ", type(each).__name__)

        dry = await board.publish(OrderTaken(order_id="m-2", table=3, dish="pie", drink=""))
        try:
            await dry.completion(timeout=timedelta(seconds=0.2))
        except TimeoutError as error:
            print(error, "(nobody mixed a drink, and `serve` waits for one)")

    print("who hears what, from the signatures alone:")
    for edge in restaurant.edges():
        line = ".." if edge.kind == "prerequisite" else "--"  # it is waited for, and starts nothing
        print(f"   {edge.source} {line}{edge.event}{line}> {edge.target}")


if __name__ == "__main__":
    asyncio.run(main())
