"""Intake: what the broker hands over is in the log once, in its flow, and what has no place there is kept and told."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from callboard import FlowHasEnded, FlowIsOpen, KeyReused, NoSuchFlow
from callboard.board import FlowHandle
from callboard.brokers.memory import MemoryBroker
from callboard.envelope import Envelope
from callboard.errors import LedgerLost
from callboard.hops.retention import Retention, prune
from callboard.ledger import Note, Wish
from tests.apart import Crash, Site, Town, crash_at
from tests.errands import (
    BikeMoved,
    ErrandAsked,
    ErrandDone,
    ErrandRevoked,
    Praise,
    Whereabouts,
    build,
)

MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def a_town(
    folder: Path, *, newer: bool = False, gateway: bool = False, second_flow: bool = False
) -> AsyncIterator[Town]:
    """The desk, the bikes and the road, a ledger each; and a gateway that only publishes."""
    errands = build(newer=newer, second_flow=second_flow)
    town = Town(errands.choreography, folder, broker=MemoryBroker())
    try:
        for name in ("desk", "bikes", "road"):
            await town.settle(name, getattr(errands, name))
        if gateway:
            await town.settle("gateway")
        yield town
    finally:
        await town.close()


async def types(site: Site) -> list[str]:
    return [entry.type for entry in await site.work.ledger.read(0, limit=1000)]


async def notes(site: Site, what: str) -> int:
    rows = site.file._db.execute("SELECT count(*) FROM note WHERE what = ?", (what,))
    return int(rows.fetchone()[0])


MOVED = Envelope(id="1", source="//city", type="BikeMoved", data=b'{"bike_id":"b-1","to":"N"}')
REVOKED = Envelope(id="2", source="//city", type="ErrandRevoked", data=b'{"errand_id":"e-1"}')
"""CloudEvents of somebody who knows nothing of callboard."""


# once


async def test_what_comes_twice_is_in_the_log_once_and_counted(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.sites["desk"].relay()
        bikes = town.sites["bikes"]
        town.faults.lost_ack = 1.0
        for _ in range(3):
            assert await bikes.intake() == 1
        town.faults.stop()
        await bikes.intake()
        assert await types(bikes) == ["ErrandAsked"]
        assert await notes(bikes, "duplicate") == 3
        assert await bikes.intake() == 0


async def test_twice_in_one_hand_is_in_the_log_once(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        town.faults.doubled = 1.0
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.sites["desk"].relay()
        await town.sites["bikes"].intake()
        assert await types(town.sites["bikes"]) == ["ErrandAsked"]


@pytest.mark.parametrize("place", ["before commit", "after commit", "before ack", "after ack"])
async def test_a_crash_around_the_acknowledgement_loses_and_doubles_nothing(tmp_path: Path, place: str) -> None:
    async with a_town(tmp_path) as town:
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.sites["desk"].relay()
        bikes = town.sites["bikes"]
        town.faults.at = crash_at(place)
        with pytest.raises(Crash):
            await bikes.intake()
        bikes.die()
        town.faults.stop()
        await town.rest(upto=MINUTE)
        assert (await types(bikes)).count("ErrandAsked") == 1
        done = await town.sites["desk"].board.flow("errand", "e-1").completion(timedelta(0))
        assert done.succeeded


async def test_who_is_no_owner_any_more_writes_and_acknowledges_nothing(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.sites["desk"].relay()
        bikes = town.sites["bikes"]
        with closing(sqlite3.connect(bikes.file._path)) as other:
            other.execute("UPDATE owner SET token = token + 1")
            other.commit()
        with pytest.raises(LedgerLost):
            await bikes.intake()
        assert await types(bikes) == []
        assert len(await town.broker.receive("errands.bikes", limit=10)) == 1


async def test_services_that_share_a_ledger_do_not_take_in_what_they_have(tmp_path: Path) -> None:
    """Two processes, one ledger: each sends what the other hears, and drops what comes back."""
    errands = build()
    town = Town(errands.choreography, tmp_path)
    desk = await town.settle("desk", errands.desk, ledger="shared")
    await town.settle("bikes", errands.bikes, ledger="shared")
    await town.settle("road", errands.road)
    flow = await desk.publish(ErrandAsked(errand_id="e-1"))
    await town.rest(upto=MINUTE)
    assert (await flow.completion(timedelta(0))).succeeded
    assert [each.type for each in town.broker.sent] == ["ErrandAsked", "ErrandTaken", "ErrandDone"]
    assert await types(desk) == ["ErrandAsked", "ErrandTaken", "ErrandDone"]
    assert await notes(desk, "duplicate") == 0
    await town.close()


# its flow


async def test_events_of_a_flow_find_each_other_whatever_comes_first(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        town.faults.late = town.faults.shuffled = 0.5
        for number in range(10):
            await town.sites["desk"].publish(ErrandAsked(errand_id=f"e-{number}"))
        for _ in range(300):
            await town.step()
        town.faults.stop()
        await town.rest(upto=MINUTE)
        for site in town.sites.values():
            for entry in await site.work.ledger.read(0, limit=1000):
                numbers = await site.work.ledger.flow_numbers([entry.id[:26]])
                assert numbers == {entry.id[:26]: entry.flow}


async def test_a_flow_that_is_kept_elsewhere_than_it_was_begun_has_its_verdict(tmp_path: Path) -> None:
    async with a_town(tmp_path, second_flow=True) as town:
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        done = await town.sites["road"].board.flow("ride", "e-1").completion(timedelta(0))
        assert (done.succeeded, done.by) == (True, ("ErrandTaken",))


async def test_a_beginning_that_comes_after_the_end_still_has_its_verdict(tmp_path: Path) -> None:
    async with a_town(tmp_path, second_flow=True) as town:
        desk, bikes, road = (town.sites[name] for name in ("desk", "bikes", "road"))
        await desk.publish(ErrandAsked(errand_id="e-1"))
        await desk.relay()
        await bikes.intake()
        await bikes.react()
        await bikes.relay()
        (asked, taken) = await town.broker.receive("errands.road", limit=10)
        await town.broker.ack("errands.road", [asked])
        await road.intake()
        await road.react()
        assert await types(road) == ["ErrandTaken", "ErrandDone"]
        assert asked.envelope is not None
        await town.broker.send([asked.envelope])
        await town.rest(upto=MINUTE)
        assert (await road.board.flow("ride", "e-1").completion(timedelta(0))).succeeded
        assert taken


async def test_what_belongs_to_no_flow_keeps_its_line_and_its_correlation(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        for to in "NESW":
            await town.sites["road"].publish(BikeMoved(bike_id="b-1", to=to))
        await town.rest(upto=MINUTE)
        where = await town.sites["desk"].board.load(Whereabouts, "b-1")
        assert where is not None
        assert where.seen == "NESW"
        entries = await town.sites["desk"].work.ledger.read(0, limit=10)
        assert [entry.key for entry in entries] == ["b-1"] * 4


# what cannot be read


async def test_bytes_that_are_no_envelope_are_kept_as_they_came(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        inner = town.broker._inner
        assert isinstance(inner, MemoryBroker)
        inner._waiting["errands.bikes"][0] = b"\xffnonsense"
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        ledger = town.sites["bikes"].work.ledger
        (dead,) = await ledger.parked()
        assert (dead.reaction, dead.why) == ("bikes.(intake)", "dead")
        (kept,) = await ledger.entries([dead.pos])
        assert kept.data == b"\xffnonsense"
        assert (await town.sites["desk"].board.flow("errand", "e-1").completion(timedelta(0))).succeeded
        dead.asked = Wish("discard")
        assert await ledger.ask([dead], [Note(dead.pos, dead.reaction, dead.flow, "asked", "discard", 0)]) == [True]
        await town.rest(upto=MINUTE)
        assert not await ledger.parked()
        assert await ledger.verify() == []


async def test_an_unknown_type_waits_for_a_build_that_knows_it(tmp_path: Path) -> None:
    old, new = build(), build(newer=True)
    town = Town(new.choreography, tmp_path)
    for name in ("bikes", "road"):
        await town.settle(name, getattr(new, name))
    await town.settle("desk", new.desk)
    desk = town.sites["desk"]
    desk.die()
    town.choreography = old.choreography
    desk.services = [old.desk]
    await desk.start()
    town.choreography = new.choreography
    flow = await desk.publish(ErrandAsked(errand_id="e-1"))
    await town.rest(upto=MINUTE)
    (waiting,) = await desk.work.ledger.parked()
    assert (waiting.reaction, waiting.why, waiting.missing) == ("desk.(intake)", "waiting", "ErrandPraised")
    assert (await flow.completion(timedelta(0))).succeeded
    desk.die()
    desk.services = [new.desk]
    await desk.start()
    await town.rest(upto=MINUTE)
    praise = await desk.board.load(Praise, "e-1")
    assert praise is not None
    assert praise.times == 1
    assert not await desk.work.ledger.parked()
    await town.close()


async def test_an_unknown_type_that_nobody_ever_knows_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        bikes = town.sites["bikes"]
        await town.broker.declare("errands.bikes", ["Unheard"])
        await town.broker.send([Envelope(id="3", source="road", type="Unheard", data=b"{}", choreography="errands")])
        await town.rest(upto=MINUTE)
        assert [row.why for row in await bikes.work.ledger.parked()] == ["waiting"]
        town.clock.advance(timedelta(hours=2))
        await town.rest(upto=MINUTE)
        (dead,) = await bikes.work.ledger.parked()
        assert (dead.why, dead.error) == ("dead", "never came: Unheard")


async def test_an_event_that_its_type_cannot_read_is_a_dead_letter_of_who_hears_it(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        flow = "0" * 26
        broken = Envelope(
            id=flow,
            source="desk",
            type="ErrandAsked",
            data=b'{"errand_id": 7}',
            correlation_id=flow,
            choreography="errands",
        )
        await town.broker.send([broken])
        await town.rest(upto=timedelta(hours=1))
        (dead,) = await town.sites["bikes"].work.ledger.parked(why=["dead"])
        assert (dead.reaction, dead.pos) == ("bikes.take", 1)
        for site in town.sites.values():
            entries = await site.work.ledger.read(0, limit=10)
            assert {entry.flow for entry in entries} == set((await site.work.ledger.flow_numbers([flow])).values())


# the world outside


async def test_an_event_of_the_world_outside_is_published_once_however_many_hear_it(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        for _ in range(2):
            await town.broker.send([MOVED])
        await town.rest(upto=MINUTE)
        where = await town.sites["desk"].board.load(Whereabouts, "b-1")
        assert where is not None
        assert where.seen == "N"


async def test_an_event_of_the_world_outside_joins_the_flow_whose_key_it_carries(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        town.sites["bikes"].die()
        bikes = town.sites.pop("bikes")
        flow = await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.broker.send([REVOKED])
        await town.rest(upto=MINUTE)
        assert (await types(town.sites["desk"])).count("ErrandRevoked") == 1
        town.sites["bikes"] = bikes
        await town.rest(upto=MINUTE)
        for site in town.sites.values():
            assert (await types(site)).count("ErrandRevoked") == 1
        assert (await flow.completion(timedelta(0))).verdict == "failed"


async def test_one_that_comes_before_its_flow_waits_for_it(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        await town.broker.send([REVOKED])
        await town.rest(upto=MINUTE)
        desk = town.sites["desk"]
        assert [row.why for row in await desk.work.ledger.parked()] == ["waiting"]
        await desk.publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        assert not await desk.work.ledger.parked()
        assert (await types(desk)).count("ErrandRevoked") == 1


async def test_one_whose_flow_never_comes_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        await town.broker.send([REVOKED])
        await town.rest(upto=MINUTE)
        town.clock.advance(timedelta(hours=2))
        await town.rest(upto=MINUTE)
        (dead,) = await town.sites["desk"].work.ledger.parked()
        assert dead.why == "dead"
        assert "e-1" in (dead.error or "")


# published in another ledger than the flow's


async def finish(town: Town, flow: FlowHandle) -> str | None:
    await town.rest(upto=MINUTE)
    return (await flow.completion(timedelta(0))).verdict


async def test_a_flow_is_begun_from_a_ledger_that_does_not_keep_it(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        flow = await town.sites["gateway"].publish(ErrandAsked(errand_id="e-1"))
        with pytest.raises(TimeoutError):
            await flow.completion(timedelta(0))
        await town.rest(upto=MINUTE)
        done = await flow.completion(timedelta(0))
        assert (done.verdict, done.by) == ("succeeded", ("ErrandDone",))
        assert done.event(ErrandDone) == ErrandDone(errand_id="e-1")
        assert flow.id == (await town.sites["desk"].board.flow("errand", "e-1").row()).id


async def test_what_was_published_elsewhere_is_nobodys_before_it_is_let_in(tmp_path: Path) -> None:
    """The bikes would take an errand that the desk refuses."""
    async with a_town(tmp_path) as town:
        bikes = town.sites["bikes"]
        await bikes.publish(ErrandAsked(errand_id="e-1"))
        await bikes.react()
        assert await types(bikes) == ["callboard.Published[errands.desk]"]
        await town.rest(upto=MINUTE)
        assert (await types(bikes)).count("ErrandTaken") == 1


async def test_what_is_published_elsewhere_survives_a_crash_of_its_ledger(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        gateway = town.sites["gateway"]
        town.faults.away = 1.0
        await gateway.publish(ErrandAsked(errand_id="e-1"), idempotency_key="k")
        gateway.die()
        town.faults.stop()
        await gateway.start()
        flow = await gateway.publish(ErrandAsked(errand_id="e-1"), idempotency_key="k")
        assert not flow.is_new
        assert (flow.name, flow.key) == ("errand", "e-1")
        assert await finish(town, flow) == "succeeded"
        assert (await types(town.sites["desk"])).count("ErrandAsked") == 1


async def test_another_beginning_with_the_same_key_is_refused_through_its_handle(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        town.sites.pop("bikes").die()
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        flow = await town.sites["gateway"].publish(ErrandAsked(errand_id="e-1", what="wine"))
        await town.rest(upto=MINUTE)
        with pytest.raises(FlowIsOpen) as refused:
            await flow.completion(timedelta(0))
        meant = refused.value.flow
        assert isinstance(meant, FlowHandle)
        assert (meant.name, meant.key) == ("errand", "e-1")
        with pytest.raises(FlowIsOpen):
            await flow.row()


async def test_after_the_end_another_beginning_is_refused_and_the_same_one_is_told_the_end(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        gateway = town.sites["gateway"]
        first = await gateway.publish(ErrandAsked(errand_id="e-1"))
        assert await finish(town, first) == "succeeded"
        again = await gateway.publish(ErrandAsked(errand_id="e-1"))
        assert await finish(town, again) == "succeeded"
        assert again.id == first.id
        other = await gateway.publish(ErrandAsked(errand_id="e-1", what="wine"))
        await town.rest(upto=MINUTE)
        with pytest.raises(FlowHasEnded):
            await other.completion(timedelta(0))


async def test_the_same_beginning_from_two_ledgers_is_one_flow_and_both_are_told(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        flows = [await town.sites[name].publish(ErrandAsked(errand_id="e-1")) for name in ("gateway", "bikes", "road")]
        await town.rest(upto=MINUTE)
        assert [(await flow.completion(timedelta(0))).verdict for flow in flows] == ["succeeded"] * 3
        assert len({flow.id for flow in flows}) == 1
        assert (await types(town.sites["desk"])).count("ErrandAsked") == 1


async def test_an_event_joins_from_another_ledger_by_its_key(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        road = town.sites.pop("road")
        road.die()
        flow = await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        joined = await town.sites["gateway"].publish(ErrandRevoked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        assert (await flow.completion(timedelta(0))).verdict == "failed"
        assert (await joined.completion(timedelta(0))).verdict == "failed"


async def test_an_event_of_no_flow_is_refused_through_its_handle(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        flow = await town.sites["gateway"].publish(ErrandRevoked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        with pytest.raises(NoSuchFlow):
            await flow.completion(timedelta(0))


async def test_a_flow_named_by_its_handle_is_joined_and_cancelled_from_elsewhere(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        gateway = town.sites["gateway"]
        flow = await gateway.publish(ErrandAsked(errand_id="e-1"))
        await gateway.publish(ErrandRevoked(errand_id="e-1"), flow=flow)
        await gateway.until(asyncio.ensure_future(flow.cancel("enough")))
        await town.rest(upto=MINUTE)
        log = await types(town.sites["desk"])
        assert log.count("callboard.FlowCancelled[ErrandAsked]") == 1
        assert log.count("ErrandRevoked") == 1


async def test_anybody_can_ask_after_a_flow_that_is_kept_elsewhere(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        gateway = town.sites["gateway"]
        await town.sites["desk"].publish(ErrandAsked(errand_id="e-1"))
        with pytest.raises(NoSuchFlow, match="the ledger of desk keeps it"):
            await gateway.board.flow("errand", "e-1").row()
        known, unknown = gateway.board.flow("errand", "e-1"), gateway.board.flow("errand", "e-2")
        for flow in (known, unknown):
            with pytest.raises(TimeoutError):
                await gateway.until(asyncio.ensure_future(flow.completion(timedelta(0))))
        await town.rest(upto=MINUTE)
        assert (await known.completion(timedelta(0))).succeeded
        with pytest.raises(NoSuchFlow):
            await unknown.completion(timedelta(0))


async def test_an_idempotency_key_counts_where_the_flow_is_kept(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        first = await town.sites["gateway"].publish(ErrandAsked(errand_id="e-1"), idempotency_key="k")
        other = await town.sites["bikes"].publish(ErrandAsked(errand_id="e-2"), idempotency_key="k")
        await town.rest(upto=MINUTE)
        results = [await outcome(flow) for flow in (first, other)]
        assert sorted(results) == ["KeyReused", "succeeded"]
        with pytest.raises(KeyReused):
            await town.sites["gateway"].publish(ErrandAsked(errand_id="e-3"), idempotency_key="k")


async def outcome(flow: FlowHandle) -> str:
    try:
        return str((await flow.completion(timedelta(0))).verdict)
    except KeyReused:
        return "KeyReused"


async def test_a_request_that_comes_twice_is_let_in_once(tmp_path: Path) -> None:
    async with a_town(tmp_path, gateway=True) as town:
        town.faults.doubled = town.faults.redelivered = 1.0
        gateway = town.sites["gateway"]
        flow = await gateway.publish(ErrandAsked(errand_id="e-1"))
        await gateway.publish(ErrandRevoked(errand_id="e-1"))
        for _ in range(200):
            await town.step()
        town.faults.stop()
        assert await finish(town, flow) in ("succeeded", "failed")
        assert (await types(town.sites["desk"])).count("ErrandRevoked") == 1


async def test_the_ledger_that_keeps_the_flow_need_not_have_been_opened_by_its_service_yet(tmp_path: Path) -> None:
    """A process that only publishes opens the ledger first, and cannot know whose it will be."""
    errands = build()
    town = Town(errands.choreography, tmp_path)
    site = await town.settle("desk")
    flow = await site.publish(ErrandAsked(errand_id="e-1"))
    await site.relay()
    site.die()
    site.services = [errands.desk]
    await site.start()
    for name in ("bikes", "road"):
        await town.settle(name, getattr(errands, name))
    await town.rest(upto=MINUTE)
    assert (await site.board.flow("errand", "e-1").completion(timedelta(0))).succeeded
    town.clock.advance(timedelta(hours=2))
    await town.rest(upto=MINUTE)
    assert flow.key == "e-1"
    await town.close()


# what was forgotten


async def test_what_comes_again_after_its_flow_was_pruned_is_a_dead_letter_and_has_no_second_effect(
    tmp_path: Path,
) -> None:
    async with a_town(tmp_path) as town:
        desk, bikes = town.sites["desk"], town.sites["bikes"]
        await desk.publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        assert (await types(bikes)).count("ErrandTaken") == 1
        retention = Retention(town.choreography, timedelta(days=1), separate=True)
        town.clock.advance(timedelta(days=3))
        await town.rest()
        for site in (desk, bikes):
            await prune(site.work, retention)
        assert await types(bikes) == await types(desk) == []
        town.faults.redelivered = 1.0
        for site in (desk, bikes):
            await site.intake()
        town.faults.stop()
        await desk.publish(ErrandAsked(errand_id="e-2"))
        await town.rest(upto=MINUTE)
        assert (await types(bikes)).count("ErrandTaken") == 1  # of the new one
        (letter,) = await bikes.work.ledger.parked(why=["dead"])
        assert (letter.error or "").startswith("too old to tell")
        told = await desk.work.ledger.parked(why=["dead"])
        assert len(told) == 2  # ErrandTaken and ErrandDone; what the desk sent itself is no riddle
        letter.asked = Wish("replay")
        note = Note(letter.pos, letter.reaction, letter.flow, "asked", "replay", 0)
        assert await bikes.work.ledger.ask([letter], [note]) == [True]
        await bikes.intake()
        await town.rest(upto=MINUTE)
        assert (await types(bikes)).count("ErrandTaken") == 2
        assert await bikes.work.ledger.verify() == []


async def test_what_comes_late_to_a_flow_that_is_still_here_is_taken_in(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        desk, bikes, road = (town.sites[name] for name in ("desk", "bikes", "road"))
        await desk.publish(ErrandAsked(errand_id="old"))
        await desk.relay()
        await bikes.intake()
        await bikes.react()
        town.clock.advance(timedelta(minutes=1))
        await desk.publish(ErrandAsked(errand_id="new"))
        await town.rest(upto=timedelta(0))
        done = await desk.board.flow("errand", "old").completion(timedelta(0))
        assert done.succeeded
        assert await road.work.ledger.parked() == []


async def test_a_place_of_a_flow_that_others_watch_stays_for_the_longest_timeout_too(tmp_path: Path) -> None:
    async with a_town(tmp_path) as town:
        desk, bikes = town.sites["desk"], town.sites["bikes"]
        await desk.publish(ErrandAsked(errand_id="e-1"))
        await town.rest(upto=MINUTE)
        retention = Retention(town.choreography, timedelta(minutes=1), separate=True)
        longest = max(flow.timeout for flow in town.choreography.flows.values() if flow.timeout is not None)
        town.clock.advance(longest)
        await town.rest()
        await prune(desk.work, retention)
        await prune(bikes.work, retention)
        assert await types(desk) == []
        assert await types(bikes) != []
        town.clock.advance(timedelta(minutes=2))
        await prune(bikes.work, retention)
        assert await types(bikes) == []
