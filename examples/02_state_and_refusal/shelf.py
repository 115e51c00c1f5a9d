"""State that one service owns, and a refusal: an event that says that a step did not work. No exception is raised."""

import asyncio
from datetime import timedelta

from callboard import Choreography, Flow, Service, event, failure, state


@event
class OrderPlaced:
    order_id: str
    sku: str


@event
class ItemReserved:
    order_id: str


@failure
class SoldOut:
    order_id: str


inventory = Service("inventory")


@state(key="sku")  # its key is read from the event: OrderPlaced.sku
class Shelf:
    sku: str
    free: int = 3


@inventory.reaction
def reserve(order: OrderPlaced, shelf: Shelf) -> ItemReserved | SoldOut:
    if shelf.free == 0:
        return SoldOut(order_id=order.order_id)
    shelf.free -= 1  # saved together with the event that is returned, or not at all
    return ItemReserved(order_id=order.order_id)


shop = Choreography(
    "shop",
    inventory,
    flows=[Flow("checkout", key="order_id", starts=OrderPlaced, succeeds=ItemReserved, fails=SoldOut)],
)


async def main() -> None:
    async with shop.open("sqlite:///:memory:") as board:
        orders = [OrderPlaced(order_id=f"o-{number}", sku="lamp") for number in range(1, 6)]
        for flow in await board.publish(orders):  # several events are one commit
            done = await flow.completion(timeout=timedelta(seconds=5))
            print(flow.key, done.verdict, "by", *done.by)
        print(await board.load(Shelf, "lamp"))


if __name__ == "__main__":
    shelf = Shelf(sku="lamp", free=1)
    assert reserve(OrderPlaced(order_id="o", sku="lamp"), shelf) == ItemReserved(order_id="o")
    assert reserve(OrderPlaced(order_id="p", sku="lamp"), shelf) == SoldOut(order_id="p")
    asyncio.run(main())
