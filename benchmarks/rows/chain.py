"""A chain of many services against one of four: what a reaction costs where there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import Clocks, Figures, Side, pairs, spread
from benchmarks.rows import Answer, Options, Row
from callboard import Choreography, Flow, Service, event, state


def kind(name: str, **fields: Any) -> Any:
    """An event of this name."""
    return event(type(name, (), {"__annotations__": {"order_id": str, **fields}, "__module__": __name__}))


def row(name: str) -> Any:
    """A state of this name."""
    fields = {"order_id": str, "seen": str}
    made = type(name, (), {"__annotations__": fields, "seen": "", "__module__": __name__})
    return state(key="order_id")(made)


def step(name: str, hears: Any, keeps: Any, emits: Any) -> Callable[..., Any]:
    """A reaction that changes one row and emits one event, or none."""

    def react(heard: Any, kept: Any) -> Any:
        kept.seen = "yes"
        return None if emits is None else emits(order_id=heard.order_id)

    react.__name__ = react.__qualname__ = name
    react.__annotations__ = {"heard": hears, "kept": keeps, "return": emits}
    return react


def chain(length: int) -> Choreography:
    """Each service hears what the one before it emits; the last emits what ends the flow."""
    kinds = [kind(f"Came{number}") for number in range(length + 1)]
    services: list[Service] = []
    for number in range(length):
        service = Service(f"service{number}")
        service.reaction(step(f"step{number}", kinds[number], row(f"Row{number}"), kinds[number + 1]))
        services.append(service)
    flow = Flow("chain", key="order_id", starts=kinds[0], succeeds=kinds[-1], timeout=timedelta(minutes=30))
    return Choreography("chain", *services, flows=[flow])


def run(folder: Path, services: int, orders: int, in_flight: int = 500) -> Figures:
    """Microseconds of CPU for each reaction, and reactions a second."""
    return asyncio.run(through(chain(services), f"{folder}/chain.db", orders, services * orders, in_flight))


async def through(shop: Choreography, path: str, orders: int, reactions: int, in_flight: int = 500) -> Figures:
    """So many orders through a choreography with one flow: the figures of a reaction."""
    (flow,) = shop.flows.values()
    async with shop.open(f"sqlite:///{path}") as board:
        numbers = iter(range(orders))

        async def caller() -> None:
            for number in numbers:
                await board.publish(flow.start.cls(order_id=f"o-{number:09d}"))

        clocks = Clocks()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        await board.rest()
        figures = clocks.figures(reactions)
        done = await board.work.ledger.list_flows(
            name=flow.name, status="succeeded", before=None, limit=orders + 1, now=0
        )
        assert len(done) == orders, f"{len(done)} of {orders} flows have succeeded"
    return figures


def measure(options: Options) -> Answer:
    """As many reactions in both."""
    many, few = options.size(120, 20), options.size(3_000, 500)
    ours = Side("100 services", "benchmarks.rows.chain:run", {"services": 100, "orders": many})
    theirs = Side("4 services", "benchmarks.rows.chain:run", {"services": 4, "orders": few})
    found = pairs(ours, theirs, options.count, tell=options.tell)
    lines = [
        f"{side.name}: {spread([each['cpu'] for each in figures]):.1f} µs of CPU a reaction, "
        f"{spread([each['rate'] for each in figures]):,.0f} reactions/s"
        for side, figures in zip((ours, theirs), zip(*found, strict=True), strict=True)
    ]
    return Answer([a["cpu"] / b["cpu"] for a, b in found], lines=lines)


ROW = Row("chain", "100 services in a chain against 4, CPU a reaction", 1.5, 1.2, measure, at_least=False)
