"""sagaz: one saga of five steps an order, its progress in a SQLite file, so many orders at once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sagaz import Saga, SagaConfig, action, compensate, configure
from sagaz.core.storage.backends.sqlite import SQLiteSagaStorage

from benchmarks.measure import Clocks, Figures
from benchmarks.peers.rows import Rows, order

ROWS: list[Rows] = []


class Checkout(Saga):
    saga_name = "checkout"

    @action("place")
    async def place(self, ctx):
        ROWS[0].put("orders", ctx["order_id"], "open")
        return {"placed": True}

    @action("reserve", depends_on=["place"])
    async def reserve(self, ctx):
        ROWS[0].put("reservations", ctx["order_id"], ctx["sku"])
        return {"reserved": ctx["sku"]}

    @compensate("reserve")
    async def release(self, ctx):
        pass

    @action("charge", depends_on=["reserve"])
    async def charge(self, ctx):
        ROWS[0].put("payments", ctx["order_id"], ctx["total"])
        return {"charge": f"ch_{ctx['order_id']}"}

    @compensate("charge")
    async def refund(self, ctx):
        pass

    @action("ship", depends_on=["charge"])
    async def ship(self, ctx):
        ROWS[0].put("shipments", ctx["order_id"], f"1Z{ctx['order_id']}")
        return {"tracking": f"1Z{ctx['order_id']}"}

    @action("complete", depends_on=["ship"])
    async def complete(self, ctx):
        ROWS[0].put("orders", ctx["order_id"], "complete", ctx["tracking"])
        return {"done": True}


def run(folder: Path, orders: int, in_flight: int) -> Figures:
    """As many orders under way at once."""
    logging.disable(logging.WARNING)
    return asyncio.run(_run(folder, orders, in_flight))


async def _run(folder: Path, orders: int, in_flight: int) -> Figures:
    ROWS.append(Rows(folder))
    async with SQLiteSagaStorage(f"{folder}/sagas.db") as storage:
        configure(SagaConfig(storage=storage, metrics=False, tracing=False, logging=False))
        await Checkout().run(order(10**8))
        numbers = iter(range(orders))

        async def caller() -> None:
            for number in numbers:
                await Checkout().run(order(number))

        clocks = Clocks()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        figures = clocks.figures(orders)
        assert ROWS[0].completed() == orders + 1
        assert await storage.count() == orders + 1, "sagas were not written down"
    return figures
