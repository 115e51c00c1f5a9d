"""Four orders through one of the choreographies of this folder: `python day.py textbook`."""

import asyncio
import importlib
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

ORDERS = {  # who, how many lamps, paid by
    "good": (2, "good"),
    "sold-out": (99, "good"),
    "declined": (3, "declined"),
    "island": (4, "good"),
}


def keepers(book: Any) -> list[object]:
    """A bank and a carrier of paper, for the ports of this choreography."""

    class PaperBank(book.Bank):  # type: ignore[misc]
        async def charge(self, card: str, total: Decimal, **key: str) -> bool:
            return card == "good"

        async def refund(self, *args: object, **key: str) -> None:
            print("   the bank gives the money back")

    class PaperCarrier(book.Carrier):  # type: ignore[misc]
        async def book(self, parcel: str) -> str | None:
            return None if parcel == "island" else f"parcel-{parcel}"

    return [PaperBank(), PaperCarrier()]


async def main(name: str) -> None:
    book: Any = importlib.import_module(name)
    async with book.shop.open("sqlite:///:memory:", ports=keepers(book)) as board:
        for order, (quantity, card) in ORDERS.items():
            created = book.OrderCreated(order_id=order, sku="lamp", quantity=quantity, card=card, total=Decimal(20))
            flow = await board.publish(created)
            try:
                ended = (await flow.completion(timeout=timedelta(seconds=3))).verdict
            except TimeoutError:
                ended = "no verdict"
            print(f"{order:<9} {ended}")
        stock = await board.load(book.Stock, "lamp")
        print("lamps:    10 were there, 2 were sent,", stock.free, "are left")


asyncio.run(main(sys.argv[1]))
