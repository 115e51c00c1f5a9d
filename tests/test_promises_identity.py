"""Promise 4: an id and an idempotency key are derived from what caused them: run again, they are the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import Choreography, Context, Flow, Retry, Service, event, failure, port, state
from tests.support.ledger import Crash, crash
from tests.support.outside import Next, Outside
from tests.support.stage import Stage

FAIL: tuple[Next, ...] = ("fail",)


@event
class TripAsked:
    trip_id: str
    legs: int = 3


@event
class LegPlanned:
    trip_id: str
    leg: int


@event
class LegBooked:
    trip_id: str
    leg: int


@event
class BagBooked:
    trip_id: str


@event
class MealBooked:
    trip_id: str


@event
class TripReady:
    trip_id: str
    by: str = ""


@event
class LegFreed:
    trip_id: str
    leg: int


@event
class SeatTaken:
    trip_id: str


@event
class SeatFreed:
    trip_id: str


@failure
class TripOff:
    trip_id: str


@state(key="trip_id")
class Plan:
    trip_id: str
    booked: int = 0


@port
class Airline(Protocol):
    async def book(self, *, key: str) -> bool: ...
    async def pay(self, *, key: str) -> bool: ...
    async def free(self, *, key: str) -> None: ...


class TheAirline(Airline):
    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def book(self, *, key: str) -> bool:
        return await self.outside.take("book", key)

    async def pay(self, *, key: str) -> bool:
        return await self.outside.take("pay", key)

    async def free(self, *, key: str) -> None:
        await self.outside.void("free", key)


agency = Service("agency")


@agency.reaction
def plan(asked: TripAsked) -> list[LegPlanned]:
    return [LegPlanned(trip_id=asked.trip_id, leg=number) for number in range(asked.legs)]


@agency.reaction(per="leg")
async def book(leg: LegPlanned, plan: Plan) -> LegBooked:
    plan.booked += 1
    return LegBooked(trip_id=leg.trip_id, leg=leg.leg)


@agency.reaction(compensates=book)
def free(off: TripOff, booked: LegBooked) -> LegFreed:
    return LegFreed(trip_id=off.trip_id, leg=booked.leg)


@agency.reaction
def extras(asked: TripAsked) -> tuple[BagBooked, MealBooked]:
    return BagBooked(trip_id=asked.trip_id), MealBooked(trip_id=asked.trip_id)


@agency.reaction
def ready(bag: BagBooked, meal: MealBooked) -> TripReady:
    return TripReady(trip_id=bag.trip_id, by="join")


@agency.reaction
def ready_too(bag: BagBooked, meal: MealBooked) -> TripReady:
    return TripReady(trip_id=bag.trip_id, by="another join")


trips = Choreography(
    "trips",
    agency,
    flows=[
        Flow("trip", key="trip_id", starts=TripAsked, succeeds=tuple[TripReady, LegBooked], fails=TripOff, timeout=None)
    ],
    incoming=TripOff,
)

seats = Service("seats")


@seats.reaction(retry=Retry(max_attempts=3, first_wait=timedelta(seconds=1)))
async def take(asked: TripAsked, airline: Airline, ctx: Context) -> SeatTaken:
    await airline.book(key=ctx.idempotency_key())
    await airline.pay(key=ctx.idempotency_key("pay"))
    return SeatTaken(trip_id=asked.trip_id)


@seats.reaction(compensates=take)
async def give_back(off: TripOff, taken: SeatTaken | None, airline: Airline, ctx: Context) -> SeatFreed:
    await airline.free(key=ctx.key_of(take, "pay"))
    await airline.free(key=ctx.key_of(take))
    return SeatFreed(trip_id=off.trip_id)


flights = Choreography(
    "flights",
    seats,
    flows=[Flow("flight", key="trip_id", starts=TripAsked, succeeds=SeatTaken, fails=TripOff, timeout=None)],
    incoming=TripOff,
)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(trips, tmp_path / "trips.db") as stage:
        yield stage


@pytest.fixture
async def flight(tmp_path: Path, outside: Outside) -> AsyncIterator[Stage]:
    async with Stage(flights, tmp_path / "flights.db", ports=[TheAirline(outside)]) as stage:
        yield stage


def ids(stage: Stage) -> dict[str, tuple[str, bytes]]:
    """What stands in the log by id; in the middle of a commit also what it has written."""
    query = "SELECT log.id, name.name, log.data FROM log JOIN name ON name.number = log.type"
    return {row[0]: (row[1], row[2]) for row in stage.ledger.rows(query)}


# ids


@pytest.mark.parametrize("crashes", range(4))
async def test_what_was_written_and_lost_in_a_crash_is_written_again_under_the_same_ids(
    stage: Stage, crashes: int
) -> None:
    stage.work.fuse = False
    await stage.publish(TripAsked(trip_id="t"))
    for _ in range(crashes):
        await stage.group()
    lost: dict[str, tuple[str, bytes]] = {}

    def look_and_die() -> None:
        lost.update(ids(stage))
        crash()

    stage.ledger.at_end.append(look_and_die)
    with pytest.raises(Crash):
        await stage.run()
    await stage.restart()
    before = ids(stage)
    assert len(before) < len(lost)
    await stage.run()
    assert lost.items() <= ids(stage).items()
    assert await stage.count(LegBooked) == 3


async def test_two_owners_that_begin_at_one_place_give_the_same_ids(tmp_path: Path) -> None:
    logs: list[dict[str, Any]] = []
    first = tmp_path / "first.db"
    async with Stage(trips, first, services=[]) as publisher:
        await publisher.publish(TripAsked(trip_id="t"))
    for name, fuse in (("one.db", True), ("two.db", False)):
        (tmp_path / name).write_bytes(first.read_bytes())
        async with Stage(trips, tmp_path / name, seed=7) as stage:
            stage.work.fuse = fuse
            await stage.run()
            await stage.say(TripOff(trip_id="t"))
            logs.append({key: kind for key, (kind, _) in ids(stage).items() if kind != "TripOff"})
    assert logs[0] == logs[1]


async def test_all_outputs_of_one_run_two_joins_of_one_pair_and_all_undone_effects_have_their_own_ids(
    stage: Stage,
) -> None:
    await stage.say(TripAsked(trip_id="t"), TripOff(trip_id="t"))
    log = await stage.log()
    assert {kind: log.count(kind) for kind in log} == {
        "TripAsked": 1, "LegPlanned": 3, "LegBooked": 3, "BagBooked": 1, "MealBooked": 1, "TripReady": 2,
        "TripOff": 1, "LegFreed": 3,
    }  # fmt: skip
    assert len(ids(stage)) == len(log)
    assert stage.ledger.doubled() == []


async def test_an_id_begins_with_its_flow_and_sorts_by_the_time_the_flow_began(stage: Stage) -> None:
    for name in ("first", "second", "third"):
        await stage.say(TripAsked(trip_id=name))
        await stage.advance(seconds=1)
    flows: list[str] = []
    for name in ("first", "second", "third"):
        row = await stage.flow("trip", name)
        entries = await stage.ledger.flow_entries([row.number])
        assert {entry.id[:26] for entry in entries} == {row.id}
        flows.append(row.id)
    assert flows == sorted(flows)


async def test_a_dead_letter_that_fails_again_tells_it_under_an_id_of_its_own(flight: Stage, outside: Outside) -> None:
    outside.next("book", *FAIL * 4)
    await flight.say(TripAsked(trip_id="t"))
    await flight.advance(minutes=1)
    await flight.advance(minutes=1)
    [letter] = await flight.dead()
    assert await flight.ask(letter, "replay")
    await flight.run()
    assert (await flight.log()).count("callboard.ReactionFailed[TripAsked]") == 2
    assert flight.ledger.doubled() == []


async def test_ids_stay_short_and_distinct_however_long_their_path_is(tmp_path: Path) -> None:
    service = Service("relay")

    @service.reaction
    def pass_on(leg: LegPlanned) -> LegPlanned | TripReady:
        if leg.leg == 40:
            return TripReady(trip_id=leg.trip_id)
        return LegPlanned(trip_id=leg.trip_id, leg=leg.leg + 1)

    flow = Flow("relay", key="trip_id", starts=LegPlanned, succeeds=TripReady, timeout=None)
    async with Stage(Choreography("relay", service, flows=[flow]), tmp_path / "relay.db") as stage:
        await stage.say(LegPlanned(trip_id="t", leg=0))
        assert await stage.count(TripReady) == 1
        assert max(map(len, ids(stage))) <= 96
        assert len(ids(stage)) == 42


# keys


async def test_a_key_is_the_same_in_every_attempt_after_a_crash_and_in_a_replay(
    flight: Stage, outside: Outside
) -> None:
    outside.next("book", "fail", "lose", "wait", "fail")
    await flight.say(TripAsked(trip_id="t"))
    await flight.advance(minutes=1)  # the second attempt
    await flight.advance(minutes=1)  # the third, cut by a crash
    await flight.restart()
    await flight.run()
    [letter] = await flight.dead()
    assert await flight.ask(letter, "replay")
    await flight.run()
    [letter] = await flight.dead()
    assert await flight.ask(letter, "replay")
    await flight.run()
    made = outside.made("book")
    assert len(made) == 5
    assert len(set(made)) == 1
    assert await flight.verdict("flight", "t") == "succeeded"


async def test_calls_of_one_run_have_keys_of_their_own_and_so_have_other_flows(flight: Stage, outside: Outside) -> None:
    await flight.say(TripAsked(trip_id="one"), TripAsked(trip_id="two"))
    keys = outside.made("book") + outside.made("pay")
    assert len(keys) == len(set(keys)) == 4


async def test_a_label_that_is_used_twice_in_one_run_is_an_error() -> None:
    ctx = Context()
    assert ctx.idempotency_key("a") != ctx.idempotency_key("b")
    with pytest.raises(ValueError, match="a label of its own"):
        ctx.idempotency_key("a")


async def test_a_compensation_names_the_key_of_the_effect_that_it_undoes(flight: Stage, outside: Outside) -> None:
    await flight.say(TripAsked(trip_id="t"), TripOff(trip_id="t"))
    assert outside.made("free") == outside.made("pay") + outside.made("book")
    assert outside.held == set()


async def test_a_compensation_names_the_key_of_a_call_whose_answer_was_lost(flight: Stage, outside: Outside) -> None:
    outside.next("book", "lose")
    await flight.say(TripAsked(trip_id="t"))
    assert outside.held
    await flight.say(TripOff(trip_id="t"))
    assert outside.made("free")[1:] == outside.made("book")
    assert outside.held == set()
    await flight.advance(minutes=5)
    assert len(outside.made("book")) == 1  # what is closed is not tried again


async def test_a_compensation_names_the_key_of_a_call_that_a_crash_has_cut(flight: Stage, outside: Outside) -> None:
    outside.next("book", "wait")
    await flight.say(TripAsked(trip_id="t"))
    await flight.restart()
    await flight.publish(TripOff(trip_id="t"))
    outside.next("book", "lose")
    await flight.run()
    await flight.advance(minutes=5)
    assert outside.made("free")[-1] == outside.made("book")[0]
    assert outside.held == set()


@pytest.mark.parametrize("legs", [2])
async def test_each_effect_that_is_undone_names_the_key_of_its_own_call(tmp_path: Path, legs: int) -> None:
    service, outside = Service("legs"), Outside()

    @service.reaction
    def split(asked: TripAsked) -> list[LegPlanned]:
        return [LegPlanned(trip_id=asked.trip_id, leg=number) for number in range(legs)]

    @service.reaction
    async def fly(leg: LegPlanned, airline: Airline, ctx: Context) -> LegBooked:
        await airline.book(key=ctx.idempotency_key())
        return LegBooked(trip_id=leg.trip_id, leg=leg.leg)

    @service.reaction(compensates=fly)
    async def unfly(off: TripOff, booked: LegBooked, airline: Airline, ctx: Context) -> LegFreed:
        await asyncio.sleep(0)
        await airline.free(key=ctx.key_of(fly))
        return LegFreed(trip_id=off.trip_id, leg=booked.leg)

    flow = Flow("trip", key="trip_id", starts=TripAsked, succeeds=LegBooked, fails=TripOff, timeout=None)
    choreography = Choreography("legs", service, flows=[flow], incoming=TripOff)
    async with Stage(choreography, tmp_path / "legs.db", ports=[TheAirline(outside)]) as stage:
        await stage.say(TripAsked(trip_id="t"), TripOff(trip_id="t"))
        assert len(set(outside.made("book"))) == legs
        assert outside.made("free") == outside.made("book")
        assert outside.held == set()
