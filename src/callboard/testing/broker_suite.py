"""What every broker must do, as tests over one fixture: run them on an adapter of your own.

    pytest --pyargs callboard.testing.broker_suite --callboard-broker=my_package:open_broker

`open_broker(place)` makes a broker that is not open yet; two of one place carry for each other. In a test module of
your own, import everything from here and define the fixture `open_broker`. What `features` does not claim is skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from callboard.broker import Broker, Delivery
from callboard.envelope import Envelope
from callboard.testing.adapters import in_loop, new_place

OpenBroker = Callable[[str], Broker]
_LOOKS = 200  # at a broker that hands over a little at a time


class Place:
    """One place for brokers, for one test: each `connect` is a connection of its own to what was sent there."""

    def __init__(self, make: OpenBroker) -> None:
        self._make = make
        self._name = new_place()
        self.features = make(self._name).features

    @asynccontextmanager
    async def connect(self, *heard: str) -> AsyncIterator[Broker]:
        """An open broker, closed afterwards; `inventory` subscribes to the types that are `heard`."""
        broker = self._make(self._name)
        await broker.open(_nothing)
        try:
            if heard:
                await broker.declare("inventory", heard)
            yield broker
        finally:
            await broker.close(_nothing)


def _nothing() -> None: ...


@pytest.fixture
def place(open_broker: OpenBroker) -> Place:
    """Where a test's brokers meet."""
    return Place(open_broker)


def an_envelope(number: int, *, type: str = "OrderPlaced", flow: str = "flow-1") -> Envelope:
    """An envelope that no other number has."""
    return Envelope(
        id=f"{flow}.{number:04}",
        source="orders",
        type=type,
        data=b'{"number":%d}' % number,
        time=number,
        correlation_id=flow,
    )


async def take(broker: Broker, subscription: str, count: int) -> list[Delivery]:
    """`count` deliveries with envelopes that differ, acknowledged; or fewer if no more come."""
    found: dict[str, Delivery] = {}
    for _ in range(_LOOKS):
        if len(found) >= count:
            break
        deliveries = await broker.receive(subscription, limit=count)
        await broker.ack(subscription, deliveries)
        for each in deliveries:
            found.setdefault(each.envelope.id if each.envelope else "", each)
    return list(found.values())


async def peek(broker: Broker, subscription: str) -> Sequence[Delivery]:
    """What is handed over first, not acknowledged."""
    for _ in range(_LOOKS):
        if deliveries := await broker.receive(subscription, limit=10):
            return deliveries
    return []


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """The ids of what was handed over."""
    return [each.envelope.id for each in deliveries if each.envelope is not None]


@in_loop
async def test_what_was_sent_arrives_as_it_was(place: Place) -> None:
    sent = Envelope(
        id="f.1", source="orders", type="OrderPlaced", data='{"name": "Ü"}'.encode(), time=1_700_000_000_123_456,
        correlation_id="f", causation_id="f.0", key="k", version=3, scatters=(("Line", "f.0#1", 2, 5),),
        reaction="orders.place", ledger="ledger-1",
    )  # fmt: skip
    async with place.connect("OrderPlaced") as broker:
        assert not await broker.send([sent])
        arrived = await take(broker, "inventory", 1)
    assert [each.envelope for each in arrived] == [sent]


@in_loop
async def test_bytes_that_are_no_text_arrive_as_they_were(place: Place) -> None:
    sent = Envelope(
        id="f.1", source="orders", type="Scan", data=bytes(range(256)), content_type="application/octet-stream"
    )
    async with place.connect("Scan") as broker:
        await broker.send([sent])
        (arrived,) = await take(broker, "inventory", 1)
    assert arrived.envelope == sent


@in_loop
async def test_every_subscription_to_a_type_gets_its_own_copy(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.declare("payments", ["OrderPlaced", "OrderCancelled"])
        await broker.send([an_envelope(1), an_envelope(2, type="OrderCancelled")])
        assert len(await take(broker, "inventory", 1)) == 1
        assert sorted(ids(await take(broker, "payments", 2))) == ["flow-1.0001", "flow-1.0002"]
        assert not await peek(broker, "inventory")


@in_loop
async def test_what_nobody_subscribes_to_is_taken_and_forgotten(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        assert not await broker.send([an_envelope(1, type="Unheard")])
        assert not await peek(broker, "inventory")


@in_loop
async def test_nothing_waits_where_nothing_was_sent(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        assert not await broker.receive("inventory", limit=10)


@in_loop
async def test_what_is_not_acknowledged_is_handed_over_again(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(1)])
        assert ids(await peek(broker, "inventory")) == ["flow-1.0001"]
    async with place.connect() as broker:
        assert ids(await take(broker, "inventory", 1)) == ["flow-1.0001"]


@in_loop
async def test_what_is_acknowledged_is_not_handed_over_again(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(1)])
        await take(broker, "inventory", 1)
    async with place.connect() as broker:
        assert not await peek(broker, "inventory")


@in_loop
async def test_an_acknowledgement_leaves_the_others_and_other_subscriptions_alone(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.declare("payments", ["OrderPlaced"])
        await broker.send([an_envelope(1), an_envelope(2)])
        first = (await peek(broker, "inventory"))[:1]
        await broker.ack("inventory", first)
        left = {"flow-1.0001", "flow-1.0002"} - set(ids(first))
    async with place.connect() as broker:
        assert set(ids(await take(broker, "inventory", 1))) == left
        assert len(await take(broker, "payments", 2)) == 2


@in_loop
async def test_acknowledging_twice_does_no_harm(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(1)])
        deliveries = await peek(broker, "inventory")
        await broker.ack("inventory", deliveries)
        await broker.ack("inventory", deliveries)
        await broker.send([an_envelope(2)])
        assert ids(await take(broker, "inventory", 1)) == ["flow-1.0002"]


@in_loop
async def test_one_sent_twice_may_come_twice_and_is_the_same(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(1)])
        await broker.send([an_envelope(1)])
        assert set(ids(await take(broker, "inventory", 2))) == {"flow-1.0001"}


@in_loop
async def test_a_receiver_elsewhere_gets_what_is_sent_here(place: Place) -> None:
    async with place.connect() as here, place.connect() as there:
        await there.declare("inventory", ["OrderPlaced"])
        await here.send([an_envelope(1)])
        assert ids(await take(there, "inventory", 1)) == ["flow-1.0001"]


@in_loop
async def test_a_sender_may_declare_for_a_receiver_that_is_not_there_yet(place: Place) -> None:
    async with place.connect("OrderPlaced") as here:
        await here.send([an_envelope(1)])
    async with place.connect("OrderPlaced") as there:
        assert ids(await take(there, "inventory", 1)) == ["flow-1.0001"]


@in_loop
async def test_declaring_again_adds_types_and_loses_nothing(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(1)])
        await broker.declare("inventory", ["OrderCancelled"])
        await broker.send([an_envelope(2, type="OrderCancelled"), an_envelope(3)])
        arrived = ids(await take(broker, "inventory", 3))
    assert sorted(arrived) == ["flow-1.0001", "flow-1.0002", "flow-1.0003"]


@in_loop
async def test_at_most_as_many_are_handed_over_as_were_asked_for(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        await broker.send([an_envelope(number) for number in range(25)])
        assert len(await broker.receive("inventory", limit=10)) <= 10
        assert len(await take(broker, "inventory", 25)) == 25


@in_loop
async def test_many_arrive_all(place: Place) -> None:
    async with place.connect("OrderPlaced") as broker:
        for start in range(0, 1_000, 100):
            await broker.send([an_envelope(number) for number in range(start, start + 100)])
        assert len(await take(broker, "inventory", 1_000)) == 1_000


@in_loop
async def test_order_is_kept_where_claimed(place: Place) -> None:
    if not place.features.keeps_order:
        pytest.skip("not claimed by this broker")
    async with place.connect("OrderPlaced") as broker:
        for number in range(0, 60, 3):
            await broker.send([an_envelope(number + each, flow=f"flow-{each}") for each in range(3)])
        arrived = ids(await take(broker, "inventory", 60))
    for flow in ("flow-0", "flow-1", "flow-2"):
        of_flow = [each for each in arrived if each.startswith(flow)]
        assert of_flow == sorted(of_flow)
        assert len(of_flow) == 20


@in_loop
async def test_one_that_is_too_large_is_named_and_the_others_are_sent(place: Place) -> None:
    large = Envelope(id="large", source="orders", type="OrderPlaced", data=b'"' + b"x" * 64 * 1024 * 1024 + b'"')
    async with place.connect("OrderPlaced") as broker:
        refused = await broker.send([an_envelope(1), large, an_envelope(2)])
        assert [each.envelope.id for each in refused] == ["large"]
        assert refused[0].why
        assert sorted(ids(await take(broker, "inventory", 2))) == ["flow-1.0001", "flow-1.0002"]


@in_loop
async def test_sending_nothing_is_fine(place: Place) -> None:
    async with place.connect() as broker:
        assert not await broker.send([])


@in_loop
async def test_subscriptions_and_types_may_have_any_printable_name(place: Place) -> None:
    kind, subscription = "callboard.FlowTimedOut[OrderPlaced]", "shop.inventory (new)"
    async with place.connect() as broker:
        await broker.declare(subscription, [kind])
        await broker.send([an_envelope(1, type=kind)])
        assert ids(await take(broker, subscription, 1)) == ["flow-1.0001"]
