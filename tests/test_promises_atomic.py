"""Promise 2: a run is kept whole or not at all, rows never overlap, nothing uncommitted reaches the world outside."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import (
    Choreography,
    Context,
    Flow,
    LedgerError,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)
from callboard.errors import LedgerBusy
from tests.support.ledger import Crash, busy, crash, disk_full, ticks
from tests.support.outside import Outside
from tests.support.stage import Stage
from tests.support.tables import ask, contents

ONCE = Retry(max_attempts=1)


@event
class Ordered:
    order_id: str
    sku: str = "a"


@event
class Counted:
    order_id: str
    sku: str = "a"


@event
class Noted:
    order_id: str


@failure
class Refused:
    order_id: str


@event
class Stray:
    order_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 10


@state(key="order_id")
class Card:
    order_id: str
    seen: int = 0


@port
class Clerk(Protocol):
    async def ask(self, *, key: str) -> bool: ...


class TheClerk(Clerk):
    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def ask(self, *, key: str) -> bool:
        return await self.outside.take("ask", key)


def flow(ends: Any = Counted, **options: Any) -> Flow:
    return Flow("order", key="order_id", starts=Ordered, succeeds=ends, timeout=None, **options)


def stage_of(service: Service, file: Path, *, outside: Outside | None = None, ends: Any = Counted) -> Stage:
    ports = [TheClerk(outside)] if outside is not None else []
    return Stage(Choreography("shop", service, flows=[flow(ends)]), file, ports=ports)


def shop(file: Path, outside: Outside) -> Stage:
    """A shelf that is held while somebody outside is asked."""
    service = Service("depot")

    @service.reaction
    async def take(ordered: Ordered, shelf: Shelf, clerk: Clerk) -> Counted | Refused:
        shelf.free -= 1
        if not await clerk.ask(key=ordered.order_id):
            return Refused(order_id=ordered.order_id)
        return Counted(order_id=ordered.order_id, sku=ordered.sku)

    return stage_of(service, file, outside=outside)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def depot(tmp_path: Path, outside: Outside) -> AsyncIterator[Stage]:
    async with shop(tmp_path / "depot.db", outside) as stage:
        yield stage


# together


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Stage]:
    """A reaction whose run writes an event, a row and a memory."""
    service = Service("depot")

    @service.reaction(once="end")
    async def take(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Counted(order_id=ordered.order_id)

    async with stage_of(service, tmp_path / "whole.db") as stage:
        yield stage


@pytest.mark.parametrize("trick", [disk_full, crash])
async def test_events_rows_memories_and_the_position_are_committed_together_or_not_at_all(
    whole: Stage, trick: Any
) -> None:
    await whole.publish(Ordered(order_id="o"))
    before = contents(whole.file)
    whole.ledger.at_end.append(trick)
    with pytest.raises((LedgerError, Crash)):
        await whole.run()
    assert contents(whole.file) == before
    await whole.restart()
    await whole.run()
    after = contents(whole.file)
    assert await whole.log() == ["Ordered", "Counted"]
    assert [row[2] for row in after["memory"]] == ["depot:end"]
    assert await whole.load(Shelf, "a") == Shelf(sku="a", free=9)
    assert {row[0]: row[2] for row in after["reaction"]}["depot.take"] >= 1


async def test_what_was_committed_is_not_run_again_though_its_owner_died_before_it_knew(whole: Stage) -> None:
    await whole.publish(Ordered(order_id="o"))
    whole.ledger.after.append(crash)
    with pytest.raises(Crash):
        await whole.run()
    await whole.restart()
    await whole.run()
    assert await whole.log() == ["Ordered", "Counted"]
    assert await whole.load(Shelf, "a") == Shelf(sku="a", free=9)


async def test_a_run_that_failed_leaves_nothing_in_a_group_whose_other_runs_are_kept(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction(retry=ONCE)
    def take(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        if ordered.order_id == "bad":
            raise RuntimeError("no")
        return Counted(order_id=ordered.order_id)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        tasks = [asyncio.ensure_future(stage.board.publish(Ordered(order_id=each))) for each in ("a", "bad", "b")]
        await stage.run()
        await asyncio.gather(*tasks)
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=8)
        assert await stage.count(Counted) == 2
        assert [row.pos for row in await stage.dead()] == [2]


# rows


@pytest.mark.parametrize("fuse", [True, False])
async def test_two_runs_on_one_row_lose_no_update_though_the_first_suspends(
    depot: Stage, outside: Outside, fuse: bool
) -> None:
    depot.work.fuse = fuse
    outside.next("ask", "wait", "wait")
    await depot.say(Ordered(order_id="one"), Ordered(order_id="two"))
    assert outside.waiting() == ["one"]
    outside.let_go()
    await depot.run()
    assert outside.waiting() == ["two"]
    outside.let_go()
    await depot.run()
    assert await depot.load(Shelf, "a") == Shelf(sku="a", free=8)
    assert outside.made("ask") == ["one", "two"]


async def test_who_waits_for_one_row_holds_up_no_other(depot: Stage, outside: Outside) -> None:
    outside.next("ask", "wait")
    await depot.say(Ordered(order_id="one"), Ordered(order_id="two"), Ordered(order_id="three", sku="b"))
    assert await depot.verdict("order", "three") == "succeeded"
    assert await depot.verdict("order", "two") is None


async def test_a_run_that_failed_shows_its_half_done_row_to_nobody(depot: Stage, outside: Outside) -> None:
    outside.next("ask", "wait")
    await depot.say(Ordered(order_id="one"), Ordered(order_id="two"))
    assert await depot.load(Shelf, "a") is None
    outside.let_go(what="fail")
    await depot.run()
    assert await depot.load(Shelf, "a") == Shelf(sku="a", free=9)
    await depot.advance(minutes=1)
    assert await depot.load(Shelf, "a") == Shelf(sku="a", free=8)


async def test_a_row_changed_from_outside_under_a_run_that_suspends_is_read_again(
    depot: Stage, outside: Outside
) -> None:
    outside.next("ask", "wait")
    await depot.say(Ordered(order_id="one"))
    await depot.put(depot.choreography.services["depot"], Shelf(sku="a", free=50))
    outside.let_go()
    await depot.run()
    assert await depot.load(Shelf, "a") == Shelf(sku="a", free=49)
    assert outside.made("ask") == ["one", "one"]
    assert await depot.count(Counted) == 1


async def test_runs_of_all_reactions_on_one_row_go_one_at_a_time(tmp_path: Path) -> None:
    service = Service("depot")
    inside: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def work(shelf: Shelf) -> None:
        inside[shelf.sku] += 1
        most[shelf.sku] = max(most[shelf.sku], inside[shelf.sku])
        most["all"] = max(most["all"], sum(inside.values()))
        for _ in range(3):
            await asyncio.sleep(0)
        shelf.free -= 1
        inside[shelf.sku] -= 1

    @service.reaction
    async def take(ordered: Ordered, shelf: Shelf) -> Counted:
        await work(shelf)
        return Counted(order_id=ordered.order_id, sku=ordered.sku)

    @service.reaction
    async def audit(ordered: Ordered, shelf: Shelf | None) -> None:
        if shelf is not None:
            await work(shelf)

    @service.reaction
    def plain(counted: Counted, shelf: Shelf) -> Noted:
        assert not inside[shelf.sku]
        shelf.free -= 1
        return Noted(order_id=counted.order_id)

    async with stage_of(service, tmp_path / "depot.db", ends=Noted) as stage:
        await stage.put(service, Shelf(sku="a", free=100), Shelf(sku="b", free=100))
        events = [Ordered(order_id=f"o{number}", sku="ab"[number % 2]) for number in range(10)]
        tasks = [asyncio.ensure_future(stage.board.publish(each)) for each in events]
        await stage.until(lambda: not stage.work.running and all(task.done() for task in tasks))
        await stage.run()
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=85)
        assert await stage.load(Shelf, "b") == Shelf(sku="b", free=85)
        assert most == {"a": 1, "b": 1, "all": 2}
        assert await stage.dead() == []


# States


class Desk:
    """A reaction that looks into any row, and that a test holds while it has looked."""

    def __init__(self) -> None:
        self.service = Service("depot")
        self.attempts: list[tuple[str, int, int]] = []  # who looked, in which attempt, at how many
        self.gates: list[asyncio.Future[None]] = []
        desk = self

        @self.service.reaction
        async def take(ordered: Ordered, shelves: States[Shelf], ctx: Context) -> Counted:
            shelf = await shelves.get(ordered.sku)
            assert shelf is not None
            desk.attempts.append((ordered.order_id, ctx.attempt, shelf.free))
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            desk.gates.append(gate)
            await gate
            shelf.free -= 1
            return Counted(order_id=ordered.order_id, sku=ordered.sku)

    def let_go(self) -> None:
        self.gates.pop(0).set_result(None)


async def test_a_run_whose_looked_up_row_moved_is_repeated_at_once_and_no_attempt_is_counted(tmp_path: Path) -> None:
    desk = Desk()
    async with stage_of(desk.service, tmp_path / "depot.db") as stage:
        await stage.put(desk.service, Shelf(sku="a", free=10))
        await stage.say(Ordered(order_id="one"))
        await stage.put(desk.service, Shelf(sku="a", free=20))
        desk.let_go()
        await stage.run()
        assert desk.attempts == [("one", 1, 10), ("one", 1, 20)]
        desk.let_go()
        await stage.run()
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=19)
        assert await stage.count(Counted) == 1
        assert await stage.parked() == []


async def test_two_runs_that_looked_at_one_row_are_both_kept_one_of_them_repeated(tmp_path: Path) -> None:
    desk = Desk()
    async with stage_of(desk.service, tmp_path / "depot.db") as stage:
        await stage.put(desk.service, Shelf(sku="a", free=10))
        await stage.say(Ordered(order_id="one"), Ordered(order_id="two"))
        assert [name for name, _, _ in desk.attempts] == ["one", "two"]
        while desk.gates:
            desk.let_go()
            await stage.run()
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=8)
        assert desk.attempts[2:] == [("two", 1, 9)]


async def test_after_two_repeats_a_run_has_its_service_to_itself(tmp_path: Path) -> None:
    desk = Desk()
    async with stage_of(desk.service, tmp_path / "depot.db") as stage:
        await stage.put(desk.service, Shelf(sku="a", free=10), Shelf(sku="b", free=10))
        await stage.say(Ordered(order_id="one"))
        for free in (20, 30):
            await stage.put(desk.service, Shelf(sku="a", free=free))
            desk.let_go()
            await stage.run()
        assert desk.attempts == [("one", 1, 10), ("one", 1, 20), ("one", 1, 30)]
        await stage.say(Ordered(order_id="two", sku="b"))
        assert len(desk.gates) == 1  # "two" has not begun
        desk.let_go()
        await stage.run()
        assert await stage.verdict("order", "one") == "succeeded"
        assert desk.attempts[3:] == [("two", 1, 10)]
        desk.let_go()
        await stage.run()
        assert await stage.verdict("order", "two") == "succeeded"


async def test_one_row_is_one_object_however_a_run_reaches_it(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction(retry=ONCE)
    async def take(ordered: Ordered, shelf: Shelf, shelves: States[Shelf]) -> Counted:
        shelf.free -= 1
        again = await shelves.get(ordered.sku)
        assert again is not None
        assert again is shelf
        again.free -= 1
        return Counted(order_id=ordered.order_id)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        await stage.say(Ordered(order_id="o"))
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=8)


async def test_rows_that_a_run_puts_and_deletes_come_and_go_with_its_commit(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction
    async def take(ordered: Ordered, shelves: States[Shelf]) -> Counted:
        shelves.put(Shelf(sku="new", free=1))
        shelves.delete("old")
        return Counted(order_id=ordered.order_id)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        await stage.put(service, Shelf(sku="old"))
        await stage.publish(Ordered(order_id="o"))
        stage.ledger.at_end.append(disk_full)
        with pytest.raises(LedgerError):
            await stage.run()
        assert [row[0] for row in ask(stage.file, "SELECT key FROM state_Shelf")] == ["old"]
        await stage.run()
        assert [row[0] for row in ask(stage.file, "SELECT key FROM state_Shelf")] == ["new"]


# what is saved


async def test_a_reaction_that_returns_only_failures_saves_only_what_is_private_to_the_flow(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction
    async def suspending(ordered: Ordered, shelf: Shelf, card: Card) -> Refused:
        shelf.free -= 1
        card.seen += 1
        await asyncio.sleep(0)
        return Refused(order_id=ordered.order_id)

    @service.reaction
    def plain(refused: Refused, card: Card) -> Counted:
        return Counted(order_id=refused.order_id, sku="b")

    @service.reaction
    def refuse(counted: Counted, shelf: Shelf, card: Card) -> Stray | Refused | None:
        shelf.free -= 1
        card.seen += 1
        return Refused(order_id=counted.order_id) if card.seen < 3 else None

    async with stage_of(service, tmp_path / "depot.db", ends=Stray) as stage:
        await stage.say(Ordered(order_id="o"))
        await stage.until(lambda: not stage.work.running)
        await stage.run()
        assert await stage.log() == ["Ordered", "Refused", "Counted", "Refused", "Counted"]
        assert await stage.load(Card, "o") == Card(order_id="o", seen=3)
        assert await stage.load(Shelf, "a") is None
        assert await stage.load(Shelf, "b") == Shelf(sku="b", free=9)  # of the run that returned nothing


async def test_a_row_taken_to_read_that_was_changed_is_refused_and_nothing_of_the_run_is_kept(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction(retry=ONCE)
    def take(ordered: Ordered, shelf: Read[Shelf], card: Card) -> Counted:
        shelf.free -= 1
        card.seen += 1
        return Counted(order_id=ordered.order_id)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        await stage.put(service, Shelf(sku="a", free=5))
        await stage.say(Ordered(order_id="o"))
        [letter] = await stage.dead()
        assert "Read[Shelf]" in (letter.error or "")
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=5)
        assert await stage.load(Card, "o") is None
        assert await stage.count(Counted) == 0


@pytest.mark.parametrize("plain", [True, False])
async def test_a_return_that_was_not_declared_keeps_nothing_and_is_dead_at_once(tmp_path: Path, plain: bool) -> None:
    service = Service("depot")

    def take(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Stray(order_id=ordered.order_id)  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    async def take_async(ordered: Ordered, shelf: Shelf) -> Counted:
        return take(ordered, shelf)

    @service.reaction
    def hear(stray: Stray) -> None: ...

    service.reaction(take if plain else take_async)
    async with stage_of(service, tmp_path / "depot.db") as stage:
        await stage.say(Ordered(order_id="o"))
        [letter] = await stage.dead()
        assert letter.attempts == 1
        assert "returned Stray" in (letter.error or "")
        assert await stage.load(Shelf, "a") is None
        assert await stage.log() == ["Ordered", "callboard.ReactionFailed[Ordered]"]


async def test_an_event_that_cannot_be_written_is_the_failure_of_its_run_alone(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction
    def take(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        sku: Any = object() if ordered.order_id == "bad" else ordered.sku
        return Counted(order_id=ordered.order_id, sku=sku)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        tasks = [asyncio.ensure_future(stage.board.publish(Ordered(order_id=each))) for each in ("bad", "good")]
        await stage.run()
        await asyncio.gather(*tasks)
        assert [(row.pos, row.attempts) for row in await stage.dead()] == [(1, 1)]
        assert await stage.verdict("order", "good") == "succeeded"
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=9)


# the world outside


async def test_plain_reactions_run_on_uncommitted_results_of_their_group(tmp_path: Path) -> None:
    service = Service("depot")

    @service.reaction
    def first(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Counted(order_id=ordered.order_id)

    @service.reaction
    def second(counted: Counted, shelf: Shelf) -> Noted:
        assert shelf.free == 9
        return Noted(order_id=counted.order_id)

    async with stage_of(service, tmp_path / "depot.db", ends=Noted) as stage:
        before = stage.ledger.commits
        await stage.publish(Ordered(order_id="o"))
        assert stage.ledger.commits == before + 1
        assert await stage.log() == ["Ordered", "Counted", "Noted"]


@pytest.mark.parametrize("kind", ["async", "port", "blocking"])
@pytest.mark.parametrize("fuse", [True, False])
async def test_nothing_uncommitted_is_shown_to_code_that_can_reach_outside(
    tmp_path: Path, outside: Outside, kind: str, fuse: bool
) -> None:
    service, file = Service("depot"), tmp_path / "depot.db"
    seen: list[tuple[int, int]] = []

    def look(counted: Counted, shelf: Shelf) -> Noted:
        committed = ask(file, "SELECT data FROM state_Shelf WHERE key = 'a'")
        entries = ask(file, "SELECT count(*) FROM log")[0][0]
        seen.append((shelf.free, entries))
        assert [f'"free":{shelf.free}' in row[0].decode() for row in committed] == [True]
        return Noted(order_id=counted.order_id)

    @service.reaction
    def count(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Counted(order_id=ordered.order_id)

    if kind == "async":

        @service.reaction(retry=ONCE)
        async def suspends(counted: Counted, shelf: Shelf) -> Noted:
            return look(counted, shelf)
    elif kind == "port":

        @service.reaction(retry=ONCE)
        async def calls(counted: Counted, shelf: Shelf, clerk: Clerk) -> Noted:
            return look(counted, shelf)
    else:
        service.reaction(blocking=True, retry=ONCE)(look)

    async with stage_of(service, file, outside=outside if kind == "port" else None, ends=Noted) as stage:
        stage.work.fuse = fuse
        tasks = [asyncio.ensure_future(stage.board.publish(Ordered(order_id=f"o{n}"))) for n in range(5)]
        await stage.until(lambda: len(seen) == 5 and not stage.work.running and not stage.work.finished)
        await stage.run()
        await asyncio.gather(*tasks)
        assert await stage.dead() == []
        assert await stage.count(Noted) == 5


@pytest.mark.parametrize("fuse", [True, False])
async def test_a_row_that_its_group_has_changed_is_looked_up_only_after_the_commit(tmp_path: Path, fuse: bool) -> None:
    service, file = Service("depot"), tmp_path / "depot.db"

    @service.reaction
    def count(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Counted(order_id=ordered.order_id)

    @service.reaction(retry=ONCE)
    async def look(ordered: Ordered, shelves: States[Shelf], ctx: Context) -> None:
        shelf = await shelves.get("a")
        committed = ask(file, "SELECT data FROM state_Shelf WHERE key = 'a'")
        assert [row[0] for row in committed] == (
            [] if shelf is None else [f'{{"sku":"a","free":{shelf.free}}}'.encode()]
        )
        assert ctx.attempt == 1

    async with stage_of(service, file) as stage:
        stage.work.fuse = fuse
        tasks = [asyncio.ensure_future(stage.board.publish(Ordered(order_id=f"o{n}"))) for n in range(5)]
        await stage.run()
        await asyncio.gather(*tasks)
        assert await stage.dead() == []
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=5)


@pytest.mark.parametrize("fuse", [True, False])
async def test_a_looked_up_row_and_the_same_row_by_name_lose_no_update_in_one_group(tmp_path: Path, fuse: bool) -> None:
    service = Service("depot")

    @service.reaction
    def take(ordered: Ordered, shelf: Shelf) -> Counted:
        shelf.free -= 1
        return Counted(order_id=ordered.order_id)

    @service.reaction
    async def look(ordered: Ordered, shelves: States[Shelf]) -> None:
        shelf = await shelves.get("a") or Shelf(sku="a")
        shelf.free -= 100
        shelves.put(shelf)

    async with stage_of(service, tmp_path / "depot.db") as stage:
        stage.work.fuse = fuse
        tasks = [asyncio.ensure_future(stage.board.publish(Ordered(order_id=f"o{n}"))) for n in range(5)]
        await stage.run()
        await asyncio.gather(*tasks)
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=10 - 505)


async def test_who_goes_on_while_a_commit_waits_sees_only_what_is_committed(tmp_path: Path) -> None:
    service, file, gate, seen = Service("depot"), tmp_path / "depot.db", asyncio.Event(), list[int]()

    @service.reaction
    async def look(ordered: Ordered, shelves: States[Shelf]) -> Noted:
        await gate.wait()
        shelf = await shelves.get("a")
        assert shelf is not None
        seen.append(shelf.free)
        return Noted(order_id=ordered.order_id)

    @service.reaction
    def take(counted: Counted, shelf: Shelf) -> None:
        shelf.free -= 1

    choreography = Choreography("shop", service, flows=[flow(Noted)], incoming=Counted)
    async with Stage(choreography, file) as stage:
        await stage.put(service, Shelf(sku="a", free=10))
        await stage.say(Ordered(order_id="o"))
        task = asyncio.ensure_future(stage.board.publish(Counted(order_id="o")))
        await ticks()
        stage.ledger.before.append(busy)
        with pytest.raises(LedgerBusy):
            await stage.group()
        gate.set()
        await ticks()
        assert seen == [10]
        await stage.run()
        await task
        assert seen == [10, 9]  # what it saw has moved: it ran again
        assert await stage.load(Shelf, "a") == Shelf(sku="a", free=9)


async def test_a_compensation_and_its_reaction_never_run_side_by_side(tmp_path: Path, outside: Outside) -> None:
    service = Service("depot")

    @service.reaction(retry=Retry(first_wait=timedelta(seconds=1)))
    async def take(ordered: Ordered, clerk: Clerk, ctx: Context) -> Counted:
        await clerk.ask(key=ordered.order_id)
        return Counted(order_id=ordered.order_id)

    @service.reaction(compensates=take)
    async def give_back(stray: Stray, taken: Counted | None, clerk: Clerk) -> Noted:
        await clerk.ask(key=f"back-{stray.order_id}-{taken is not None}")
        return Noted(order_id=stray.order_id)

    async with stage_of(service, tmp_path / "depot.db", outside=outside) as stage:
        outside.next("ask", "wait")
        await stage.say(Ordered(order_id="o"), Stray(order_id="o"))
        assert outside.made("ask") == ["o"]
        outside.let_go()
        await stage.run()
        assert outside.made("ask") == ["o", "back-o-True"]
        assert await stage.log() == ["Ordered", "Stray", "Counted", "Noted"]
