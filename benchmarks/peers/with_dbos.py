"""DBOS: one durable workflow of five steps an order, in a SQLite file, so many orders at once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS

from benchmarks.measure import Clocks, Figures
from benchmarks.peers.rows import Rows, order

ROWS: list[Rows] = []


@DBOS.step()
def place(order_id: str) -> None:
    ROWS[0].put("orders", order_id, "open")


@DBOS.step()
def reserve(order_id: str, sku: str) -> str:
    ROWS[0].put("reservations", order_id, sku)
    return sku


@DBOS.step()
def charge(order_id: str, total: int) -> str:
    ROWS[0].put("payments", order_id, total)
    return f"ch_{order_id}"


@DBOS.step()
def ship(order_id: str) -> str:
    ROWS[0].put("shipments", order_id, f"1Z{order_id}")
    return f"1Z{order_id}"


@DBOS.step()
def complete(order_id: str, tracking: str) -> None:
    ROWS[0].put("orders", order_id, "complete", tracking)


@DBOS.workflow()
def checkout(order_id: str, customer: str, sku: str, total: int) -> str:
    place(order_id)
    reserve(order_id, sku)
    charge(order_id, total)
    tracking = ship(order_id)
    complete(order_id, tracking)
    return tracking


def run(folder: Path, orders: int, in_flight: int) -> Figures:
    """As many threads, each of which runs one workflow after the other."""
    ROWS.append(Rows(folder))
    DBOS(config={
        "name": "checkout",
        "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
        "run_admin_server": False,
        "log_level": "ERROR",
    })  # fmt: skip
    logging.disable(logging.ERROR)
    DBOS.launch()
    checkout(**order(10**8))
    with ThreadPoolExecutor(in_flight) as pool:
        clocks = Clocks()
        for done in [pool.submit(checkout, **order(number)) for number in range(orders)]:
            done.result()
        figures = clocks.figures(orders)
    assert ROWS[0].completed() == orders + 1
    DBOS.destroy()
    return figures
