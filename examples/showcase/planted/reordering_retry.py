"""A retry that reorders: what failed is said again later, and overtakes nothing, but is overtaken."""

from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Service, event, port
from callboard.simulation.world import World


@event(key="sku")
class PriceSet:
    sku: str
    cents: int


@event(key="sku")
class PriceDelayed:
    sku: str
    cents: int


@port
class Shopfront(Protocol):
    async def show(self, sku: str, cents: int) -> None: ...


class Window(Shopfront):
    def __init__(self) -> None:
        self.prices: dict[str, int] = {}

    async def show(self, sku: str, cents: int) -> None:
        self.prices[sku] = cents


prices = Service("prices")


@prices.reaction
async def show(price: PriceSet, front: Shopfront) -> PriceDelayed | None:
    try:
        await front.show(price.sku, price.cents)
    except ConnectionError:
        return PriceDelayed(sku=price.sku, cents=price.cents)
    return None


@prices.reaction(wait=timedelta(minutes=1))
async def show_later(delayed: PriceDelayed, front: Shopfront) -> None:
    await front.show(delayed.sku, delayed.cents)


planted = Choreography("reordering_retry", prices, incoming=PriceSet, flows=[])


@planted.workload
async def prices_fall(world: World) -> None:
    for cents in (200, 100):
        await world.publish(PriceSet(sku="lamp", cents=cents), after=5)


@planted.invariant
def the_window_shows_the_last_price(world: World) -> None:
    said = [each.cents for each in world.events(PriceSet)]
    (window,) = world.keepers
    shown = vars(window)["prices"].get("lamp")
    assert not said or shown == said[-1], f"{shown} in the window, {said[-1]} was said last"


def keepers() -> list[object]:
    return [Window()]
