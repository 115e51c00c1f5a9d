"""Dual write: the order is in a database of its own before it is said; what dies in between has a row and no event."""

from typing import Protocol

from callboard import Choreography, Flow, Service, event, port


@event
class OrderWanted:
    order_id: str


@event
class OrderPlaced:
    order_id: str


@port
class Database(Protocol):
    async def insert(self, order: str) -> bool: ...


class Table(Database):
    def __init__(self) -> None:
        self.rows: list[str] = []

    async def insert(self, order: str) -> bool:
        """Whether the row is new."""
        if order in self.rows:
            return False
        self.rows.append(order)
        return True


shop = Service("shop")


@shop.reaction(keeps="a row that is there does no harm")
async def place(wanted: OrderWanted, database: Database) -> OrderPlaced | None:
    if not await database.insert(wanted.order_id):
        return None  # it was placed before
    return OrderPlaced(order_id=wanted.order_id)


planted = Choreography(
    "dual_write", shop, flows=[Flow("order", key="order_id", starts=OrderWanted, succeeds=OrderPlaced)]
)


def keepers() -> list[object]:
    return [Table()]
