"""A projection holds what the log says: each event once, in order, and as often anew as somebody wants it rebuilt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callboard import (
    FOREVER,
    Choreography,
    Context,
    ContractError,
    Flow,
    LedgerBusy,
    LedgerRefusal,
    Projection,
    ReactionFailed,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    state,
)
from callboard.hops.react import react
from callboard.ledger import on_record
from callboard.ledgers.sqlite import SqliteLedger
from callboard.rebuild import drop, keep, places, rebuild, switch
from tests.support.ledger import Crash, busy, crash, disk_full, ticks
from tests.support.stage import Stage

DAY = timedelta(days=1)
BY = on_record("something", "a projection", by="ann", now=0)


@event
class Bought:
    order: str
    sku: str = "tea"
    cents: int = 100


@event(keep=FOREVER)
class Paid:
    order: str
    sku: str
    cents: int


@failure
class Refused:
    order: str


@event
class Sent:
    order: str


till, parcels = Service("till"), Service("parcels")
wrong: list[str] = []  # skus that the fold cannot take, as a mistake in it would have it


@till.reaction(retry=Retry(max_attempts=1))
def pay(bought: Bought) -> Paid | Refused:
    if bought.sku == "poison":
        raise ValueError("poison")
    return Paid(order=bought.order, sku=bought.sku, cents=bought.cents)


@parcels.reaction
def send(paid: Paid) -> Sent:
    return Sent(order=paid.order)


@state(key="sku")
class Revenue:
    sku: str
    cents: int = 0
    orders: tuple[str, ...] = ()


@state(key="order")
class Journey:
    order: str
    steps: tuple[str, ...] = ()


@state(key="order")
class Way:
    order: str
    steps: tuple[str, ...] = ()


sales, journeys = Projection("sales"), Projection("journeys", since="now", home=parcels)


@sales.fold
async def note_way(said: Bought | Paid | Sent, ways: States[Way], ctx: Context) -> None:
    way = await ways.get(said.order) or Way(order=said.order)
    way.steps += (f"{type(said).__name__} {ctx.flow_key} {ctx.now():%Y}",)
    ways.put(way)


@sales.fold
def add(paid: Paid, revenue: Revenue) -> None:
    if paid.sku in wrong:
        raise ValueError("a mistake in the fold")
    revenue.cents += paid.cents
    revenue.orders += (paid.order,)


@journeys.fold
def follow(said: Bought | Sent | ReactionFailed[Bought], journey: Journey) -> None:
    journey.steps += (type(said).__name__,)


flows = [Flow("order", key="order", starts=Bought, succeeds=Sent, fails=Refused)]
shop = Choreography("shop", till, parcels, flows=flows, projections=[sales, journeys])
plain = Choreography("shop", till, parcels, flows=flows)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    wrong.clear()
    async with Stage(shop, tmp_path / "ledger.db") as stage:
        yield stage


async def operate(stage: Stage, what: Callable[[SqliteLedger], Awaitable[Any]]) -> Any:
    """An operator, in a program of its own, does something to a projection."""
    other = SqliteLedger(f"sqlite:///{stage.file}")
    await other.open((), ())
    try:
        return await what(other)
    finally:
        await other.close()


async def cents(stage: Stage, sku: str = "tea") -> int:
    row = await stage.load(Revenue, sku)
    return 0 if row is None else row.cents


async def buy(stage: Stage, *orders: str, sku: str = "tea") -> None:
    await stage.say(*(Bought(order=order, sku=sku) for order in orders))


async def died(stage: Stage) -> None:
    """It ran until its owner died, or nothing was left to do."""
    with contextlib.suppress(Crash):
        await stage.run()


# folding


async def test_each_event_is_folded_once_in_the_order_of_the_log(stage: Stage) -> None:
    await buy(stage, "1", "2", "3")
    assert await stage.load(Revenue, "tea") == Revenue(sku="tea", cents=300, orders=("1", "2", "3"))
    assert await stage.load(Way, "2") == Way(order="2", steps=("Bought 2 2026", "Paid 2 2026", "Sent 2 2026"))


async def test_what_callboard_says_of_failures_is_folded_too(stage: Stage) -> None:
    await buy(stage, "1", sku="poison")
    assert await stage.load(Journey, "1") == Journey(order="1", steps=("Bought", "ReactionFailed"))


@pytest.mark.parametrize("trick", ["at_end", "after", "before"])
async def test_each_event_is_folded_once_wherever_its_worker_dies(stage: Stage, trick: str) -> None:
    for number in range(6):
        await stage.publish(Bought(order=str(number)))
        for _ in range(3):
            getattr(stage.ledger, trick).append(crash)
            await died(stage)
            await stage.restart()
    await stage.run()
    assert await stage.load(Revenue, "tea") == Revenue(sku="tea", cents=600, orders=("0", "1", "2", "3", "4", "5"))


@pytest.mark.parametrize("trick", [busy, disk_full])
async def test_a_commit_that_fails_is_made_again(stage: Stage, trick: Callable[[], None]) -> None:
    await buy(stage, "1")
    stage.ledger.at_end.extend([lambda: None, trick])
    try:
        await buy(stage, "2")
    except Exception:  # a full disk is told, and tried again
        await stage.run()
    await stage.run()
    assert await cents(stage) == 200


@pytest.mark.parametrize("trick", [busy, disk_full])
async def test_a_board_stops_although_its_last_fold_cannot_be_committed(
    stage: Stage, trick: Callable[[], None]
) -> None:
    await buy(stage, "1")
    said = asyncio.ensure_future(stage.board.publish(Bought(order="2")))
    await ticks()
    await react(stage.work)
    assert (await said).id
    stage.ledger.before.append(trick)
    await stage.runner.stop(timedelta(0))
    assert not stage.ledger.before
    assert await cents(stage) == (200 if trick is busy else 100)
    await stage.restart()
    await stage.run()
    assert await cents(stage) == 200


async def test_an_event_that_cannot_be_folded_stops_its_projection_and_nobody_else(stage: Stage) -> None:
    await buy(stage, "1")
    wrong.append("rug")
    await buy(stage, "2", sku="rug")
    await buy(stage, "3")
    assert (await cents(stage), await cents(stage, "rug")) == (100, 0)
    assert await stage.load(Way, "2") == Way(order="2", steps=("Bought 2 2026",)), "half of an event was folded"
    assert await stage.load(Journey, "3") == Journey(order="3", steps=("Bought", "Sent"))
    stands = (await places(stage.ledger, "sales"))["projection"]
    assert "Paid: ValueError: a mistake in the fold" in (stands.by or "")
    wrong.clear()
    await stage.advance(minutes=2)
    assert (await cents(stage), await cents(stage, "rug")) == (200, 100)
    assert (await places(stage.ledger, "sales"))["projection"].by is None


async def test_one_that_is_new_to_a_ledger_begins_at_the_beginning_or_from_now(tmp_path: Path) -> None:
    async with Stage(plain, tmp_path / "ledger.db") as before:
        await buy(before, "1", "2")
    async with Stage(shop, tmp_path / "ledger.db", seed=100) as stage:
        await buy(stage, "3")
        assert await cents(stage) == 300
        assert await stage.load(Journey, "2") is None
        assert await stage.load(Journey, "3") == Journey(order="3", steps=("Bought", "Sent"))


async def test_a_flow_that_is_over_is_seen_by_the_projection_that_is_asked_for(tmp_path: Path) -> None:
    second = timedelta(seconds=20)
    async with shop.open(f"sqlite:///{tmp_path / 'ledger.db'}") as board:
        for number in range(20):
            flow = await board.publish(Bought(order=str(number)))
            await flow.completion(second, seen_by=[sales, journeys])
            row = await board.load(Revenue, "tea")
            assert row is not None
            assert row.cents == 100 * (number + 1)
            assert await board.load(Journey, str(number)) == Journey(order=str(number), steps=("Bought", "Sent"))


# rebuilding


async def test_what_is_rebuilt_is_seen_only_when_it_is_switched(stage: Stage) -> None:
    await buy(stage, "1", "2")
    stage.ledger.rows("UPDATE state_Revenue SET data = replace(data, '200', '999')")
    await stage.restart()
    assert await cents(stage) == 999
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    await buy(stage, "3")
    assert await cents(stage) == 1099, "the live one goes on"
    await operate(stage, lambda ledger: switch(ledger, sales, BY))
    assert await cents(stage) == 300
    await buy(stage, "4")
    assert await stage.load(Revenue, "tea") == Revenue(sku="tea", cents=400, orders=("1", "2", "3", "4"))


async def test_a_switch_is_refused_while_what_is_rebuilt_is_behind(stage: Stage) -> None:
    await buy(stage, "1", "2")
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    with pytest.raises(LedgerRefusal, match="6 events behind the live one"):
        await operate(stage, lambda ledger: switch(ledger, sales, BY))
    assert await cents(stage) == 200
    await stage.run()
    await operate(stage, lambda ledger: switch(ledger, sales, BY))
    with pytest.raises(LedgerRefusal, match="nothing is rebuilt"):
        await operate(stage, lambda ledger: switch(ledger, sales, BY))


@pytest.mark.parametrize("trick", ["at_end", "after", "before"])
async def test_a_rebuild_goes_on_where_it_was_wherever_its_worker_dies(
    stage: Stage, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.hops.project.PAGE", 4)  # so that it takes many commits
    orders = [str(number) for number in range(8)]
    await buy(stage, *orders[:6])
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    for number in range(12):
        getattr(stage.ledger, trick).extend([lambda: None] * (number % 3) + [crash])
        await died(stage)
        await stage.restart()
        if number == 3:
            await stage.publish(Bought(order="6"))
    stage.forget_tricks()
    await buy(stage, "7")
    await operate(stage, lambda ledger: switch(ledger, sales, BY))
    assert await stage.load(Revenue, "tea") == Revenue(sku="tea", cents=800, orders=tuple(orders))


async def test_what_was_begun_before_a_switch_is_not_written_after_it(stage: Stage) -> None:
    await buy(stage, "1")
    stage.ledger.rows("UPDATE state_Revenue SET data = replace(data, '100', '999')")
    await stage.restart()
    await buy(stage, "2")
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    await stage.run()
    assert await cents(stage) == 1099
    stage.ledger.reading.append(lambda: operate(stage, _tried))  # between its look at the log and its commit
    await buy(stage, "3")
    assert await cents(stage) == 300


async def _tried(ledger: SqliteLedger) -> None:
    with contextlib.suppress(LedgerRefusal, LedgerBusy):
        await switch(ledger, sales, BY)


async def test_two_operators_who_rebuild_leave_one_rebuild(stage: Stage) -> None:
    await buy(stage, "1", "2")
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    await stage.run()
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    await stage.run()
    await operate(stage, lambda ledger: switch(ledger, sales, BY))
    assert await cents(stage) == 200


async def test_one_that_was_dropped_leaves_no_rows_and_begins_anew(stage: Stage) -> None:
    await buy(stage, "1", "2")
    await operate(stage, lambda ledger: drop(ledger, sales, BY))
    await stage.run()
    assert await stage.load(Revenue, "tea") is None
    await stage.restart()
    await buy(stage, "3")
    assert await cents(stage) == 300


# what was pruned


async def prune(stage: Stage) -> None:
    """Everything that is over is forgotten, but for the events that stay."""
    from callboard.hops.retention import Retention
    from callboard.hops.retention import prune as forget

    stage.clock.advance(40 * DAY)
    await stage.run()
    await forget(stage.work, Retention(shop), limit=10_000)


async def test_what_it_has_not_folded_is_not_pruned(stage: Stage) -> None:
    wrong.append("rug")
    await buy(stage, "1", sku="rug")
    await prune(stage)
    assert await stage.count(Bought) == 1, "the projection stands still before it"
    wrong.clear()
    await stage.advance(minutes=2)
    await prune(stage)
    assert (await stage.count(Bought), await stage.count(Paid)) == (0, 1)
    assert await cents(stage, "rug") == 100


async def test_a_rebuild_without_what_was_pruned_is_refused(stage: Stage) -> None:
    await buy(stage, "1", "2")
    await prune(stage)
    await buy(stage, "3")
    with pytest.raises(LedgerRefusal, match=r"4 events that it folds were pruned \(Bought, Sent, the newest #6\)"):
        await operate(stage, lambda ledger: rebuild(ledger, sales, BY))
    assert await cents(stage) == 300
    assert "rebuild" not in await places(stage.ledger, "sales")


async def test_a_projection_that_is_new_to_a_pruned_ledger_is_refused(tmp_path: Path) -> None:
    async with Stage(plain, tmp_path / "ledger.db") as before:
        await buy(before, "1")
        await prune(before)
    with pytest.raises(LedgerRefusal, match=r'2 events .* were pruned .* Projection\(since="now"\)'):
        await Stage(shop, tmp_path / "ledger.db").open()


async def test_a_rebuild_begins_with_a_snapshot_where_the_log_does_not_reach_back(stage: Stage) -> None:
    await buy(stage, "1", "2")
    await operate(stage, lambda ledger: keep(ledger, sales, BY))
    await prune(stage)
    await buy(stage, "3")
    await operate(stage, lambda ledger: rebuild(ledger, sales, BY, from_snapshot=True))
    await buy(stage, "4")
    await operate(stage, lambda ledger: switch(ledger, sales, BY))
    assert await stage.load(Revenue, "tea") == Revenue(sku="tea", cents=400, orders=("1", "2", "3", "4"))


async def test_a_snapshot_that_is_older_than_what_was_pruned_is_refused(stage: Stage) -> None:
    await buy(stage, "1")
    await operate(stage, lambda ledger: keep(ledger, sales, BY))
    await buy(stage, "2")
    await prune(stage)
    with pytest.raises(LedgerRefusal, match=r"[24] events that it folds"):
        await operate(stage, lambda ledger: rebuild(ledger, sales, BY, from_snapshot=True))


async def test_rows_that_somebody_else_has_written_are_not_taken_for_its_own(tmp_path: Path) -> None:
    till_too = Service("till")

    @till_too.reaction
    def count(bought: Bought, revenue: Revenue) -> None:
        revenue.cents += 1

    other = Choreography(
        "shop", till_too, flows=[Flow("order", key="order", starts=Bought, succeeds=Sent)], incoming=Sent
    )
    async with Stage(other, tmp_path / "ledger.db") as before:
        await buy(before, "1")
    with pytest.raises(LedgerRefusal, match="Revenue has rows already, which sales did not make"):
        await Stage(shop, tmp_path / "ledger.db").open()


# what is refused where it is written


def test_a_fold_takes_one_event_and_rows_and_emits_nothing() -> None:
    for fold, fix in ((_says, "emits nothing"), (_joins, "takes one event"), (_leaves_nothing, "nothing but rows")):
        projection = Projection("wrong")
        projection.fold(fold)
        with pytest.raises(ContractError, match=fix):
            Choreography("wrong", till, parcels, flows=flows, projections=[projection])


def _says(paid: Paid, revenue: Revenue) -> Sent:
    return Sent(order=paid.order)


def _joins(paid: Paid, bought: Bought, revenue: Revenue) -> None: ...
def _leaves_nothing(paid: Paid) -> None: ...


def test_the_rows_of_a_projection_belong_to_nobody_else() -> None:
    service, one, other = Service("counter"), Projection("one"), Projection("other")

    @service.reaction
    def look(paid: Paid, revenue: Read[Revenue]) -> None: ...

    one.fold(add)
    other.fold(add)
    with pytest.raises(ContractError, match="the rows of a projection are its own"):
        Choreography("wrong", service, projections=[one])
    with pytest.raises(ContractError, match="the rows of a projection are its own"):
        Choreography("wrong", till, parcels, projections=[one, other])
