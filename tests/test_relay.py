"""Relay: what others hear goes to the broker in the order of the log, at least once, and nothing starves behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from callboard.brokers.memory import MemoryBroker
from callboard.errors import BrokerUnavailable, LedgerBusy
from callboard.hops.abroad import RELAY
from callboard.ledger import Note, Wish
from callboard.ledgers.sqlite import SqliteLedger
from tests.apart import Crash, Site, Town, crash_at
from tests.errands import ErrandAsked, build


@asynccontextmanager
async def a_desk(folder: Path, *, largest: int = 8_388_608) -> AsyncIterator[Site]:
    """The desk alone: the others have their place at the broker, and are not there yet."""
    errands = build()
    town = Town(errands.choreography, folder, broker=MemoryBroker(largest=largest))
    try:
        yield await town.settle("desk", errands.desk)
    finally:
        await town.close()


async def until_idle(site: Site) -> None:
    while await site.relay():
        pass
    site.town.clock.advance(timedelta(seconds=1))  # nobody takes its place along
    await site.relay()


def sent(site: Site) -> list[tuple[str, str]]:
    return [(each.type, each.id) for each in site.town.broker.sent]


async def test_it_sends_in_log_order_what_others_hear(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        for number in range(5):
            await desk.publish(ErrandAsked(errand_id=f"e-{number}"))
        log = [(entry.type, entry.id) for entry in await desk.work.ledger.read(0, limit=100)]
        await until_idle(desk)
        assert sent(desk) == log


async def test_an_envelope_names_its_flow_its_ledger_and_its_time(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        flow = await desk.publish(ErrandAsked(errand_id="e-1"))
        await desk.relay()
        (envelope,) = desk.town.broker.sent
        assert envelope.correlation_id == envelope.id == flow.id
        assert envelope.source == envelope.ledger == desk.abroad.address
        assert envelope.choreography == "errands"
        assert envelope.time == int(desk.town.clock.now().timestamp() * 1_000_000)
        assert (envelope.causation_id, envelope.reaction) == (None, None)


async def test_what_a_broker_brought_is_not_sent_on(tmp_path: Path) -> None:
    errands = build()
    town = Town(errands.choreography, tmp_path)
    desk = await town.settle("desk", errands.desk)
    bikes = await town.settle("bikes", errands.bikes)
    await desk.publish(ErrandAsked(errand_id="e-1"))
    await desk.relay()
    await bikes.intake()
    await bikes.react()
    await bikes.relay()
    assert [each.type for each in town.broker.sent] == ["ErrandAsked", "ErrandTaken"]
    asked, taken = town.broker.sent
    assert (taken.causation_id, taken.reaction, taken.source) == (asked.id, "bikes.take", "bikes")
    await town.close()


async def test_what_nobody_outside_hears_is_not_sent_but_passed(tmp_path: Path) -> None:
    errands = build()
    town = Town(errands.choreography, tmp_path)
    alone = await town.settle("all", errands.desk, errands.bikes, errands.road)
    await alone.publish(ErrandAsked(errand_id="e-1"))
    await town.rest()
    assert not town.broker.sent
    assert alone.abroad.sent == await alone.work.ledger.head()
    await town.close()


@pytest.mark.parametrize("place", ["after send", "before commit"])
async def test_a_crash_between_sending_and_saving_sends_the_same_again(tmp_path: Path, place: str) -> None:
    async with a_desk(tmp_path) as desk:
        await desk.publish(ErrandAsked(errand_id="e-1"))
        desk.town.faults.at = crash_at(place)
        with pytest.raises(Crash):
            await until_idle(desk)
        desk.die()
        desk.town.faults.stop()
        await desk.start()
        await desk.relay()
        first, again = desk.town.broker.sent
        assert first == again


async def test_a_crash_after_saving_sends_nothing_again(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await desk.publish(ErrandAsked(errand_id="e-1"))
        desk.town.faults.at = crash_at("after commit")
        with pytest.raises(Crash):
            await until_idle(desk)
        desk.die()
        desk.town.faults.stop()
        await desk.start()
        assert await desk.relay() == 0
        assert len(desk.town.broker.sent) == 1


async def test_while_the_broker_is_away_nothing_moves_and_nothing_is_lost(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        desk.town.faults.away = 1.0
        for number in range(3):
            await desk.publish(ErrandAsked(errand_id=f"e-{number}"))
            with pytest.raises(BrokerUnavailable):
                await desk.relay()
        assert desk.abroad.sent == 0
        desk.town.faults.stop()
        await desk.relay()
        assert [each.type for each in desk.town.broker.sent] == ["ErrandAsked"] * 3


async def test_one_that_cannot_be_sent_is_a_dead_letter_and_starves_nobody(tmp_path: Path) -> None:
    async with a_desk(tmp_path, largest=2_000) as desk:
        for what in ("bread", "x" * 5_000, "milk"):
            await desk.publish(ErrandAsked(errand_id=what[:5], what=what))
        await until_idle(desk)
        (dead,) = await desk.work.ledger.parked(reactions=[RELAY])
        assert (dead.pos, dead.why) == (2, "dead")
        assert "bytes" in (dead.error or "")
        assert desk.abroad.sent == 3
        assert len(await desk.town.broker.receive("errands.bikes", limit=10)) == 2


@pytest.mark.parametrize(("wish", "arrived"), [("replay", 3), ("discard", 2)])
async def test_a_dead_letter_of_the_relay_can_be_sent_again_or_discarded(
    tmp_path: Path, wish: Literal["replay", "discard"], arrived: int
) -> None:
    errands = build()
    broker = MemoryBroker(largest=2_000)
    town = Town(errands.choreography, tmp_path, broker=broker)
    desk = await town.settle("desk", errands.desk)
    for what in ("bread", "x" * 5_000, "milk"):
        await desk.publish(ErrandAsked(errand_id=what[:5], what=what))
    await until_idle(desk)
    broker._largest = 10_000
    (letter,) = await desk.work.ledger.parked(reactions=[RELAY])
    letter.asked = Wish(wish, by="ann")
    note = Note(letter.pos, RELAY, letter.flow, "asked", wish, 0)
    assert await desk.work.ledger.ask([letter], [note]) == [True]
    desk.work.wishes = True
    await desk.react()
    assert await desk.relay() == 1
    assert await desk.relay() == 0
    assert not await desk.work.ledger.parked()
    assert len(await broker.receive("errands.bikes", limit=10)) == arrived
    await town.close()


async def test_a_ledger_that_is_busy_delays_the_saving_and_repeats_no_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(tmp_path) as desk:
        await desk.publish(ErrandAsked(errand_id="e-1"))

        def busy(*_: object) -> None:
            raise LedgerBusy("somebody else is committing")

        with monkeypatch.context() as patch:
            patch.setattr(desk.work.ledger, "transaction", busy)
            assert await desk.relay() == 1
            desk.town.clock.advance(timedelta(seconds=1))
            with pytest.raises(LedgerBusy):
                await desk.relay()
        await desk.relay()
        assert len(desk.town.broker.sent) == 1
        assert {p.reaction: p.pos for p in await desk.work.ledger.positions()}[RELAY] == 1


async def test_one_relay_at_a_time_serves_a_ledger(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        other = SqliteLedger(desk.work.ledger.url)
        await other.open([], [])
        assert await other.own(RELAY) is None
        desk.die()
        assert await other.own(RELAY) is not None
        await other.close()


async def test_a_ledger_that_others_shared_before_is_relayed_from_now_on(tmp_path: Path) -> None:
    """They have read here what was logged while they shared it: to send it would do it twice."""
    errands = build()
    async with errands.choreography.open(f"sqlite:///{tmp_path}/desk.db") as board:
        flow = await board.publish(ErrandAsked(errand_id="e-1"))
        await flow.completion()
    town = Town(errands.choreography, tmp_path)
    desk = await town.settle("desk", errands.desk)
    await desk.relay()
    assert not town.broker.sent
    await desk.publish(ErrandAsked(errand_id="e-2"))
    await desk.relay()
    assert [each.type for each in town.broker.sent] == ["ErrandAsked"]
    await town.close()


async def test_what_was_published_before_there_was_a_broker_is_sent(tmp_path: Path) -> None:
    errands = build()
    async with errands.choreography.open(f"sqlite:///{tmp_path}/desk.db", services=[]) as board:
        await board.publish(ErrandAsked(errand_id="e-1"))
    town = Town(errands.choreography, tmp_path)
    desk = await town.settle("desk", errands.desk)
    await desk.relay()
    assert [each.type for each in town.broker.sent] == ["ErrandAsked"]
    await town.close()


async def test_order_on_the_road_is_order_in_the_log_whatever_the_pace(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        chance = Random(7)
        for number in range(40):
            await desk.publish(ErrandAsked(errand_id=f"e-{number}"))
            if chance.random() < 0.3:
                await desk.relay()
        await until_idle(desk)
        assert [each.id for each in desk.town.broker.sent] == [e.id for e in await desk.work.ledger.read(0, limit=100)]
