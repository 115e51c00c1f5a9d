"""How the cost of a reaction grows with flows in flight, services, subscribers, and the size of an event."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import Clocks, Figures, Side, spread
from benchmarks.rows import Answer, Options, Row
from benchmarks.rows.chain import kind, row, step, through
from callboard import Choreography, Flow, Service

# What grows: the side that is run, its argument, the values of it, and how many orders are run at the first of them.
_GROWING: dict[str, tuple[str, str, tuple[int, ...], int]] = {
    "services in a chain": ("benchmarks.rows.chain:run", "services", (1, 4, 10, 30, 100), 6_000),
    "subscribers of one event": ("benchmarks.rows.growth:fan", "subscribers", (1, 4, 10, 30, 100), 10_000),
    "bytes of an event": ("benchmarks.rows.growth:heavy", "size", (100, 1_000, 10_000, 100_000), 2_000),
    "flows in flight": ("benchmarks.workload:run", "in_flight", (10, 100, 1_000, 10_000, 50_000), 0),
}


def fan(folder: Path, subscribers: int, orders: int) -> Figures:
    """One event is heard by so many services: the figures of a reaction."""
    came, done = kind("Came"), kind("Done")
    services: list[Service] = []
    for number in range(subscribers):
        service = Service(f"service{number}")
        emits = None if number else done
        service.reaction(step(f"step{number}", came, row(f"Row{number}"), emits))
        services.append(service)
    flow = Flow("fan", key="order_id", starts=came, succeeds=done, timeout=timedelta(minutes=30))
    shop = Choreography("fan", *services, flows=[flow])
    return asyncio.run(through(shop, f"{folder}/fan.db", orders, subscribers * orders))


def heavy(folder: Path, size: int, orders: int) -> Figures:
    """An event of so many bytes goes through a service, and another comes of it."""
    came, done = kind("Came", body=str), kind("Done", body=str)
    service = Service("service")

    def carry(heard: Any) -> Any:
        return done(order_id=heard.order_id, body=heard.body)

    carry.__annotations__ = {"heard": came, "return": done}
    service.reaction(carry)
    flow = Flow("heavy", key="order_id", starts=came, succeeds=done, timeout=timedelta(minutes=30))
    shop = Choreography("heavy", service, flows=[flow])
    return asyncio.run(_heavy(shop, f"{folder}/heavy.db", size, orders))


async def _heavy(shop: Choreography, path: str, size: int, orders: int) -> Figures:
    (flow,) = shop.flows.values()
    async with shop.open(f"sqlite:///{path}") as board:
        numbers = iter(range(orders))

        async def caller() -> None:
            for number in numbers:
                await board.publish(flow.start.cls(order_id=f"o-{number:09d}", body="x" * size))

        clocks = Clocks()
        await asyncio.gather(*(caller() for _ in range(100)))
        await board.rest()
        return clocks.figures(orders)


def _orders(argument: str, value: int, first: int, options: Options) -> int:
    if argument == "in_flight":
        return options.size(max(10_000, value), 200)
    if argument == "size":
        return options.size(first if value <= 10_000 else first // 8, 20)
    return options.size(max(200, first // value), 20)


def measure(options: Options) -> Answer:
    """Three runs of each point; the median of the CPU time."""
    lines: list[str] = []
    drawn: dict[str, list[tuple[int, float]]] = {}
    for name, (function, argument, values, first) in _GROWING.items():
        points: list[tuple[int, float]] = []
        for value in values[:3] if options.short else values:
            options.tell(f"{name}: {value:,}")
            given: dict[str, Any] = {argument: value, "orders": _orders(argument, value, first, options)}
            if argument == "in_flight":
                given["until"] = "completed"
            found = [Side(name, function, given).run()["cpu"] for _ in range(min(3, options.count))]
            points.append((value, spread(found).median))
        unit = "an order" if argument in ("in_flight", "size") else "a reaction"
        told = ", ".join(f"{value:,}: {cost:.1f}" for value, cost in points)
        lines.append(f"{name}, µs of CPU {unit}: {told}")
        drawn[name] = points
    return Answer([], lines=lines, drawn={"growth": drawn})


ROW = Row("growth", "how the cost of a reaction grows", None, None, measure)
