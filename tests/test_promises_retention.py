"""What is over and old enough is forgotten, a whole flow at a time; what is not finished anywhere stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from callboard import (
    FOREVER,
    Choreography,
    ContractError,
    Flow,
    FlowHasEnded,
    FlowIsOpen,
    NoSuchFlow,
    Retry,
    Service,
    event,
    failure,
    run,
    state,
)
from callboard.clock import ManualClock
from callboard.hops.retention import Found, Hold, Retention, prune
from callboard.ledger import Parked, Position
from tests.support.ledger import Crash, busy, crash, disk_full, ticks
from tests.support.stage import START, Stage
from tests.support.tables import ask
from tests.support.workers import Asked, a_worker
from tests.support.workers import shop as counter

DAY = timedelta(days=1)


@event
class Ordered:
    order_id: str
    what: str = "tea"


@event(keep=FOREVER)
class Paid:
    order_id: str
    cents: int = 100


@failure
class Refused:
    order_id: str


@event
class Packed:
    order_id: str


@event
class Stamped:
    order_id: str


@event(key="line")
class Beat:
    line: str


@event
class Scribbled:
    note_id: str


@state(key="what")
class Sold:
    what: str
    orders: list[str] = field(default_factory=list[str])


till, pack, office = Service("till"), Service("pack"), Service("office")


@till.reaction(retry=Retry(max_attempts=1))
def pay(order: Ordered, sold: Sold) -> Paid | Refused:
    if order.what == "poison":
        raise ValueError("poison")
    if order.what == "nothing":
        return Refused(order_id=order.order_id)
    sold.orders.append(order.order_id)
    return Paid(order_id=order.order_id)


@pack.reaction
def wrap(paid: Paid) -> Packed:
    return Packed(order_id=paid.order_id)


@office.reaction
def stamp(packed: Packed) -> Stamped:
    return Stamped(order_id=packed.order_id)


@office.reaction
def listen(beat: Beat) -> None:
    """Nothing comes of a beat."""


@office.reaction
def read(scribbled: Scribbled) -> None:
    """Nothing comes of it."""


shop = Choreography(
    "shop",
    till,
    pack,
    office,
    flows=[
        Flow("sale", key="order_id", starts=Ordered, succeeds=Stamped, fails=Refused, timeout=timedelta(hours=1)),
        Flow("note", key="note_id", starts=Scribbled, succeeds=Scribbled, timeout=None, keep=10 * DAY),
    ],
)
RETENTION = Retention(shop, DAY)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(shop, tmp_path / "shop.db") as stage:
        yield stage


async def pruned(stage: Stage, retention: Retention = RETENTION) -> Found:
    """One pass over the whole log; what held something back, in all."""
    total = await prune(stage.work, retention)
    found = total
    while found.more:
        found = await prune(stage.work, retention, after=found.looked)
        total.held.update(found.held)
        total.going.update(found.going)
    return total


def left(stage: Stage) -> dict[str, int]:
    """How many rows each table of the past has; what the ledger remembers of itself left out."""
    tables = ("log", "flow", "memory", "note", "parked")
    of_flows = {"memory": "flow", "note": "flow"}
    query = "SELECT count(*) FROM {} WHERE {} > 0"
    return {name: ask(stage.file, query.format(name, of_flows.get(name, "1")))[0][0] for name in tables}


def order(number: int, what: str = "tea") -> Ordered:
    return Ordered(order_id=f"o-{number}", what=what)


# whole flows


async def test_a_flow_that_is_over_and_old_enough_goes_with_all_that_is_remembered_of_it(stage: Stage) -> None:
    await stage.say(order(1), order(2, "nothing"))
    await pruned(stage)
    assert left(stage)["flow"] == 2
    stage.clock.advance(DAY - timedelta(minutes=1))
    await stage.say(order(3))
    await pruned(stage)
    assert left(stage)["flow"] == 3
    stage.clock.advance(timedelta(minutes=1))
    assert len((await pruned(stage)).going) == 2
    assert await stage.log() == ["Paid", "Ordered", "Paid", "Packed", "Stamped"]  # Paid is kept for ever
    assert left(stage) == {"log": 5, "flow": 1, "memory": 0, "note": 0, "parked": 0}
    assert await stage.ledger.verify() == []
    stage.clock.advance(2 * DAY)
    await pruned(stage)
    assert await stage.log() == ["Paid", "Paid"]
    assert len((await pruned(stage)).going) == 0


async def test_a_flow_says_how_long_it_is_kept(stage: Stage) -> None:
    await stage.say(order(1), Scribbled(note_id="n"))
    stage.clock.advance(9 * DAY)
    await pruned(stage)
    assert (await stage.log()).count("Scribbled") == 1
    with pytest.raises(NoSuchFlow, match="pruned"):
        await stage.flow("sale", "o-1")
    stage.clock.advance(DAY)
    await pruned(stage)
    assert (await stage.log()).count("Scribbled") == 0


async def test_what_belongs_to_no_flow_goes_by_its_age(stage: Stage) -> None:
    await stage.say(Beat(line="a"))
    stage.clock.advance(DAY / 2)
    await stage.say(Beat(line="a"))
    stage.clock.advance(DAY / 2)
    await pruned(stage)
    assert await stage.log() == ["Beat"]


async def test_what_is_kept_for_ever_is_never_looked_at_again_as_a_flow(stage: Stage) -> None:
    await stage.say(*[order(number) for number in range(4)])
    forever = Retention(shop, FOREVER)
    stage.clock.advance(1000 * DAY)
    assert (await pruned(stage, forever)).going == {}
    await pruned(stage)
    prunes = ask(stage.file, "SELECT prunes FROM ledger")
    await pruned(stage)
    assert ask(stage.file, "SELECT prunes FROM ledger") == prunes


async def test_the_batches_are_small_and_all_of_it_is_found(stage: Stage) -> None:
    await stage.say(*[order(number) for number in range(40)])
    stage.clock.advance(2 * DAY)
    after, steps = 0, 0
    while left(stage)["flow"]:
        before = left(stage)["flow"]
        found = await prune(stage.work, RETENTION, after=after, limit=20)
        assert before - left(stage)["flow"] <= 20
        after, steps = (found.looked if found.more else 0), steps + 1
    assert steps >= 8
    assert set(await stage.log()) == {"Paid"}


# what holds it back


async def test_a_flow_without_a_verdict_or_with_something_parked_stays_and_what_holds_it_is_told(stage: Stage) -> None:
    await stage.say(order(1, "poison"), order(2))
    row = Parked("office.stamp", (await stage.flow("sale", "o-2")).number, 0, (await stage.flow("sale", "o-2")).number,
                 "x", "timer", due=10**18)  # fmt: skip
    async with stage.ledger.transaction(stage.work.tokens) as tx:
        await tx.park([row])
    stage.clock.advance(30 * DAY)
    held = (await pruned(stage)).held
    assert held == {
        Hold("", "sale is stuck"): 1, Hold("till.pay", "a dead letter"): 1, Hold("office.stamp", "parked, timer"): 1,
    }  # fmt: skip
    assert left(stage)["flow"] == 2
    async with stage.ledger.transaction(stage.work.tokens) as tx:
        await tx.unpark([("office.stamp", row.pos, 0)])
    await pruned(stage)
    assert [key for (key,) in ask(stage.file, "SELECT key FROM flow")] == ["o-1"]


async def test_what_a_reaction_elsewhere_has_not_come_to_stays(tmp_path: Path) -> None:
    clock = ManualClock(START)
    file = tmp_path / "shop.db"
    async with Stage(shop, file, services=[till, office], clock=clock) as here:
        await here.say(order(1, "nothing"), order(2))
        clock.advance(2 * DAY)
        async with Stage(shop, file, services=[pack], clock=clock):
            pass  # its places are in the ledger now
        assert (await pruned(here)).held == {Hold("", "sale is stuck"): 1, Hold("pack.wrap", "has not come so far"): 1}
        assert [key for (key,) in ask(file, "SELECT key FROM flow")] == ["o-2"]
        async with Stage(shop, file, services=[pack], clock=clock) as there:
            await there.run()
        await here.run()
        clock.advance(2 * DAY)
        assert (await pruned(here)).held == {}
        assert ask(file, "SELECT key FROM flow") == []


async def test_a_reaction_that_is_left_open_holds_back_only_what_it_has_not_finished(stage: Stage) -> None:
    await stage.say(order(1), order(2))
    paid = [entry.pos for entry in await stage.ledger.read(0, limit=99) if entry.type == "Paid"]
    async with stage.ledger.transaction(stage.work.tokens) as tx:
        await tx.advance([Position("pack.wrap", 0, 0, (paid[0],))])
    stage.clock.advance(2 * DAY)
    assert (await pruned(stage)).held == {Hold("pack.wrap", "has not come so far"): 1}
    assert [key for (key,) in ask(stage.file, "SELECT key FROM flow")] == ["o-1"]


async def test_reactions_at_rest_hold_nothing_back(stage: Stage) -> None:
    """Beats are heard by one reaction: the others move along, or the flows of that time would stay."""
    await stage.say(*[Beat(line="a") for _ in range(20)])
    await stage.advance(seconds=1)
    head = await stage.ledger.head()
    assert {position.pos for position in await stage.ledger.positions()} == {head}


# afterwards


async def test_numbers_are_never_given_twice_though_nothing_is_left(stage: Stage) -> None:
    await stage.say(Beat(line="a"), Beat(line="a"))
    head = await stage.ledger.head()
    stage.clock.advance(2 * DAY)
    await pruned(stage)
    assert await stage.log() == []
    await stage.restart()
    flow = await stage.publish(order(1))
    assert (await flow.row()).number == head + 1
    await stage.run()
    assert await stage.verdict("sale", "o-1") == "succeeded"


async def test_a_key_names_one_flow_until_it_is_pruned(stage: Stage) -> None:
    first = (await stage.say(order(1)))[0]
    stage.clock.advance(DAY - timedelta(minutes=1))
    assert not (await stage.publish(order(1))).is_new
    with pytest.raises(FlowHasEnded):
        await stage.publish(order(1, "coffee"))
    stage.clock.advance(timedelta(minutes=1))
    await pruned(stage)
    with pytest.raises(NoSuchFlow, match="pruned"):
        await first.row()
    again = (await stage.say(order(1, "coffee")))[0]
    assert again.is_new
    assert again.id != first.id
    assert await stage.verdict("sale", "o-1") == "succeeded"


async def test_an_idempotency_key_is_known_as_long_again_as_its_flow_was_kept(stage: Stage) -> None:
    await stage.publish(order(1), idempotency_key="k")
    await stage.run()
    stage.clock.advance(DAY)
    await pruned(stage)
    with pytest.raises(FlowHasEnded, match="pruned"):
        await stage.publish(order(1), idempotency_key="k")
    await stage.say(Beat(line="a"))
    stage.clock.advance(DAY + timedelta(minutes=1))
    await pruned(stage)
    assert ask(stage.file, "SELECT * FROM supplied") == []
    assert await stage.count(Paid) == 1


async def test_a_late_word_to_a_pruned_flow_is_refused_and_begins_none(stage: Stage) -> None:
    handle = (await stage.say(order(1)))[0]
    stage.clock.advance(2 * DAY)
    task = asyncio.ensure_future(handle.cancel())
    await ticks()
    await pruned(stage)
    with pytest.raises(NoSuchFlow):
        await stage.drive(task)
    assert await stage.log() == ["Paid"]


async def test_what_joins_while_another_worker_prunes_is_refused(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with (
        Stage(shop, tmp_path / "shop.db", clock=clock) as stage,
        Stage(shop, tmp_path / "shop.db", services=[], clock=clock) as other,
    ):
        handle = (await stage.say(order(1)))[0]
        clock.advance(2 * DAY)

        async def elsewhere() -> None:
            await prune(other.work, RETENTION)

        stage.ledger.before.append(elsewhere)
        with pytest.raises(NoSuchFlow):
            await stage.drive(handle.cancel())
        assert await stage.log() == ["Paid"]
        await stage.say(order(1))
        assert await stage.verdict("sale", "o-1") == "succeeded"


# when things go wrong


@pytest.mark.parametrize("moment", ["before", "at_end", "after"])
async def test_a_crash_leaves_whole_flows(stage: Stage, moment: str) -> None:
    await stage.say(*[order(number) for number in range(5)])
    stage.clock.advance(2 * DAY)
    getattr(stage.ledger, moment).append(crash)
    with pytest.raises(Crash):
        await prune(stage.work, RETENTION)
    assert left(stage)["flow"] == (0 if moment == "after" else 5)
    await stage.restart()
    assert await stage.ledger.verify() == []
    await pruned(stage)
    assert set(await stage.log()) == {"Paid"}
    assert await stage.ledger.verify() == []


@pytest.mark.parametrize("seed", range(6))
async def test_pruning_between_any_two_groups_changes_nothing_that_happens(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    plan = [(chance.choice(["tea", "tea", "nothing"]), chance.randrange(4), chance.random() < 0.1) for _ in range(30)]
    at_once = Retention(shop, timedelta(microseconds=1))
    async with Stage(shop, tmp_path / "shop.db", seed=seed) as stage:
        for number, (what, groups, dies) in enumerate(plan):
            stage.work.fuse = bool(seed % 2)
            await stage.publish(order(number, what))
            for _ in range(groups):
                await stage.group()
                stage.clock.advance(timedelta(seconds=1))
                await pruned(stage, at_once)
            if dies:
                await stage.restart()
        await stage.run()
        stage.clock.advance(timedelta(seconds=1))
        assert (await pruned(stage, at_once)).held == {}
        sold = await stage.board.load(Sold, "tea")
        assert sold is not None
        assert sorted(sold.orders) == sorted(f"o-{number}" for number, (what, *_) in enumerate(plan) if what == "tea")
        assert await stage.log() == ["Paid"] * len(sold.orders)
        assert await stage.dead() == []


async def test_a_board_prunes_by_itself_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PRUNE_REST", 0.01)
    file = tmp_path / "shop.db"
    async with shop.open(f"sqlite:///{file}", keep=timedelta(microseconds=1)) as board:
        for each in range(20):
            flow = await board.publish(order(each))
            number = flow._number
            async with asyncio.timeout(10):
                while ask(file, "SELECT 1 FROM flow WHERE number = ?", number):  # noqa: ASYNC110  # nobody tells of it
                    await asyncio.sleep(0)
        sold = await board.load(Sold, "tea")
        assert sold is not None
        assert len(sold.orders) == 20


async def test_a_disk_that_is_full_stops_the_pruning_and_not_the_board(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.say(order(1))
    stage.clock.advance(40 * DAY)
    stage.ledger.before.append(busy)
    await stage.runner._prune()
    stage.ledger.at_end.append(disk_full)
    await stage.runner._prune()
    assert "nothing can be pruned" in caplog.text
    assert left(stage)["flow"] == 1
    await stage.runner._prune()  # it rests first
    assert left(stage)["flow"] == 1
    stage.runner._next_prune = 0
    await stage.runner._prune()
    assert left(stage)["flow"] == 0


async def test_no_time_at_all_is_no_time_to_keep_something() -> None:
    with pytest.raises(ContractError, match="keep= takes a timedelta longer than zero"):
        await shop.open("sqlite:///:memory:", keep=timedelta(0)).__aenter__()
    with pytest.raises(ContractError, match="keep=FOREVER"):
        event(keep=DAY)(type("Odd", (), {}))


async def test_a_start_that_comes_while_its_old_flow_is_running_is_no_new_one(stage: Stage) -> None:
    await stage.say(order(1, "poison"))
    stage.clock.advance(30 * DAY)
    await pruned(stage)
    with pytest.raises(FlowIsOpen):
        await stage.publish(order(1))


async def test_a_worker_that_is_killed_while_it_prunes_under_load_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Each name is published once, so its calls have one key: a second one would be a second flow."""
    file = tmp_path / "counter.db"
    keys: dict[str, set[str]] = {}
    publishing = 8
    async with counter.open(f"sqlite:///{file}", services=[]) as publisher:
        for turn in range(2):  # a third death would be too many for whoever ran each time
            names = [f"{turn}-{number}" for number in range(publishing)]
            async with a_worker("prune", file) as worker:
                assert await worker.says() == "owns counter"
                tasks = [asyncio.ensure_future(publisher.publish(Asked(name=name))) for name in names]
                for _ in range(publishing // 2):  # the others may be anywhere when it is killed
                    _, name, key = (await worker.says()).split()
                    keys.setdefault(name, set()).add(key)
                await worker.kill()
                await asyncio.gather(*tasks)
        async with a_worker("prune", file) as worker:
            assert await worker.says() == "owns counter"
            async with asyncio.timeout(20):
                while ask(file, "SELECT 1 FROM log"):  # noqa: ASYNC110  # nobody tells of it
                    await asyncio.sleep(0)
            await publisher.publish(Asked(name="last"))
            said = ""
            while "last" not in said:
                said = await worker.says()
                _, name, key = said.split()
                keys.setdefault(name, set()).add(key)
        head = await publisher.work.ledger.head()
        assert await publisher.work.ledger.verify() == []
    assert {name: len(found) for name, found in keys.items() if len(found) > 1} == {}
    assert 2 * 2 * publishing + 1 <= head <= 2 * 2 * publishing + 2  # asked and answered, each once
