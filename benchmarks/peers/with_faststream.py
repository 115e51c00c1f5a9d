"""FastStream: five subscribers of a broker on loopback, acknowledged after the reaction; no outbox, no memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from fast_depends.msgspec import MsgSpecSerializer

from benchmarks.measure import Clocks, Figures
from benchmarks.peers.rows import Rows, order


class OrderCreated(msgspec.Struct):
    order_id: str
    customer: str
    sku: str
    total: int


class ItemsReserved(msgspec.Struct):
    order_id: str
    sku: str
    total: int


class PaymentProcessed(msgspec.Struct):
    order_id: str
    charge: str


class OrderShipped(msgspec.Struct):
    order_id: str
    tracking: str


def choreograph(on: Callable[[str, str], Any], send: Callable[[Any, str], Any], rows: Rows, done: Any) -> None:
    """The five reactions; `on(subject, name)` subscribes, `send(event, subject)` publishes."""

    @on("created", "place")
    async def place(created: OrderCreated) -> None:
        rows.put("orders", created.order_id, "open")

    @on("created", "reserve")
    async def reserve(created: OrderCreated) -> None:
        rows.put("reservations", created.order_id, created.sku)
        await send(ItemsReserved(created.order_id, created.sku, created.total), "reserved")

    @on("reserved", "charge")
    async def charge(reserved: ItemsReserved) -> None:
        rows.put("payments", reserved.order_id, reserved.total)
        await send(PaymentProcessed(reserved.order_id, f"ch_{reserved.order_id}"), "paid")

    @on("paid", "ship")
    async def ship(paid: PaymentProcessed) -> None:
        rows.put("shipments", paid.order_id, f"1Z{paid.order_id}")
        await send(OrderShipped(paid.order_id, f"1Z{paid.order_id}"), "shipped")

    @on("shipped", "complete")
    async def complete(shipped: OrderShipped) -> None:
        rows.put("orders", shipped.order_id, "complete", shipped.tracking)
        done()


def on_nats(folder: Path, orders: int, in_flight: int, port: int, pid: int) -> Figures:
    """A stream in a file, pull consumers; the server syncs the file every two minutes, as it does by default."""
    from faststream.nats import JStream, NatsBroker, PullSub

    broker = NatsBroker(f"nats://127.0.0.1:{port}", serializer=MsgSpecSerializer(), logger=None)
    stream = JStream("orders", subjects=["created", "reserved", "paid", "shipped"])

    def on(subject: str, name: str) -> Any:
        return broker.subscriber(subject, stream=stream, durable=name, pull_sub=PullSub(batch_size=100))

    def send(event: Any, subject: str) -> Any:
        return broker.publish(event, subject, stream="orders", timeout=30)

    return asyncio.run(_run(broker, on, send, Rows(folder), orders=orders, in_flight=in_flight, pid=pid))


def on_redis(folder: Path, orders: int, in_flight: int, port: int, pid: int) -> Figures:
    """A stream for each event, a group for each reaction; the server syncs its file every second."""
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(f"redis://127.0.0.1:{port}", serializer=MsgSpecSerializer(), logger=None, max_connections=600)

    def on(subject: str, name: str) -> Any:
        where = StreamSub(subject, group=name, consumer=name, max_records=100, polling_interval=10)
        return broker.subscriber(stream=where)

    def send(event: Any, subject: str) -> Any:
        return broker.publish(event, stream=subject)

    return asyncio.run(_run(broker, on, send, Rows(folder), orders=orders, in_flight=in_flight, pid=pid))


async def _run(broker: Any, on: Any, send: Any, rows: Rows, *, orders: int, in_flight: int, pid: int) -> Figures:
    logging.disable(logging.WARNING)
    free, finished, count = asyncio.Semaphore(in_flight), asyncio.Event(), 0

    def done() -> None:
        nonlocal count
        count += 1
        free.release()
        if count in (1, orders + 1):
            finished.set()

    choreograph(on, send, rows, done)
    await broker.start()
    await free.acquire()
    await send(OrderCreated(**order(10**8)), "created")
    await asyncio.wait_for(finished.wait(), 20)
    finished.clear()

    async def publish(number: int) -> None:
        await send(OrderCreated(**order(number)), "created")

    clocks = Clocks(pid)
    async with asyncio.TaskGroup() as group:
        for number in range(orders):
            await free.acquire()
            group.create_task(publish(number))
    await asyncio.wait_for(finished.wait(), 120)
    figures = clocks.figures(orders)
    assert rows.completed() == orders + 1
    await broker.stop()
    return figures
