"""Promise 11: stop means drained, within grace; what is cut is repeated under its old key."""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from callboard import Board, Choreography, Context, Flow, LedgerError, ManualClock, Retry, Service, event, port
from tests.support.ledger import ticks
from tests.support.outside import Outside
from tests.support.stage import Stage
from tests.support.tables import ask, logged

TEN = timedelta(seconds=10)
LONG = timedelta(minutes=1)
NONE = timedelta(0)


@event
class ParcelGiven:
    parcel_id: str


@event
class ParcelSent:
    parcel_id: str


@event
class ParcelBilled:
    parcel_id: str


@event
class ParcelRecalled:
    parcel_id: str


@event
class ParcelBack:
    parcel_id: str


@port
class Van(Protocol):
    async def send(self, *, key: str) -> bool: ...
    async def turn(self, *, key: str) -> None: ...
    async def bill(self, *, key: str) -> bool: ...


class TheVan(Van):
    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.called = asyncio.Event()

    async def send(self, *, key: str) -> bool:
        self.called.set()
        return await self.outside.take("send", key)

    async def turn(self, *, key: str) -> None:
        await self.outside.void("turn", key)

    async def bill(self, *, key: str) -> bool:
        return await self.outside.take("bill", key)


depot = Service("depot")
attempts: list[int] = []


@depot.reaction(retry=Retry(max_attempts=2))
async def send(given: ParcelGiven, van: Van, ctx: Context) -> ParcelSent:
    attempts.append(ctx.attempt)
    await van.send(key=ctx.idempotency_key())
    return ParcelSent(parcel_id=given.parcel_id)


@depot.reaction(compensates=send)
async def call_back(recalled: ParcelRecalled, sent: ParcelSent | None, van: Van, ctx: Context) -> ParcelBack:
    await van.turn(key=ctx.key_of(send))
    return ParcelBack(parcel_id=recalled.parcel_id)


@depot.reaction(keeps="it is billed")
async def bill(sent: ParcelSent, van: Van, ctx: Context) -> ParcelBilled:
    await van.bill(key=ctx.idempotency_key())
    return ParcelBilled(parcel_id=sent.parcel_id)


parcels = Choreography(
    "parcels",
    depot,
    flows=[Flow("parcel", key="parcel_id", starts=ParcelGiven, succeeds=ParcelBilled, timeout=None)],
)


@pytest.fixture(autouse=True)
def outside() -> Outside:
    attempts.clear()
    return Outside()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "parcels.db"


def opened(file: Path, van: Van, grace: timedelta = LONG) -> AbstractAsyncContextManager[Board]:
    return parcels.open(f"sqlite:///{file}", ports=[van], grace=grace)


async def soon(awaited: Awaitable[object]) -> None:
    async with asyncio.timeout(10):
        await awaited


async def draining(board: Board) -> None:
    async with asyncio.timeout(10):
        while not board.work.draining:
            await ticks(1)


async def test_what_runs_when_a_board_stops_is_finished_and_committed_and_nothing_new_is_begun(
    file: Path, outside: Outside
) -> None:
    van = TheVan(outside)
    outside.next("send", "wait")
    async with AsyncExitStack() as block:
        board = await block.enter_async_context(opened(file, van))
        await board.publish(ParcelGiven(parcel_id="p"))
        await soon(van.called.wait())
        closing = asyncio.ensure_future(block.aclose())
        await draining(board)
        assert not closing.done()
        outside.let_go()
        await soon(closing)
    assert (logged(file, "ParcelSent"), logged(file, "ParcelBilled")) == (1, 0)
    assert outside.made("bill") == []
    assert ask(file, "SELECT clean FROM owner") == [(1,)]
    async with opened(file, van) as board:
        assert (await board.flow("parcel", "p").completion(TEN)).succeeded
    assert len(outside.made("send")) == len(outside.made("bill")) == 1


async def test_what_is_cut_is_repeated_under_its_old_key_and_the_cut_attempt_is_not_counted_twice(
    file: Path, outside: Outside
) -> None:
    van = TheVan(outside)
    outside.next("send", "wait")
    async with opened(file, van, NONE) as board:
        await board.publish(ParcelGiven(parcel_id="p"))
        await soon(van.called.wait())
    assert logged(file, "ParcelSent") == 0
    assert ask(file, "SELECT clean FROM owner") == [(0,)]
    async with opened(file, van) as board:
        assert (await board.flow("parcel", "p").completion(TEN)).succeeded
    made = outside.made("send")
    assert len(made) == 2
    assert len(set(made)) == 1
    assert attempts == [1, 1]


async def test_a_board_that_stops_again_and_again_loses_nothing_and_makes_no_dead_letter(
    file: Path, outside: Outside
) -> None:
    for _ in range(4):
        van = TheVan(outside)
        outside.next("send", "wait")
        async with opened(file, van, NONE) as board:
            if outside.calls == []:
                await board.publish(ParcelGiven(parcel_id="p"))
            await soon(van.called.wait())
    assert ask(file, "SELECT count(*) FROM parked WHERE why = 'dead'") == [(0,)]
    async with opened(file, TheVan(outside)) as board:
        assert (await board.flow("parcel", "p").completion(TEN)).succeeded
    assert len(set(outside.made("send"))) == 1
    assert attempts == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("stops", [1, 2, 3])
async def test_what_a_stop_has_cut_may_have_taken_place_and_is_undone_when_that_is_asked(
    file: Path, outside: Outside, stops: int
) -> None:
    for _ in range(stops):
        van = TheVan(outside)
        outside.next("send", "wait")
        async with opened(file, van, NONE) as board:
            if outside.calls == []:
                await board.publish(ParcelGiven(parcel_id="p"))
            await soon(van.called.wait())
    now = ManualClock(datetime.now(UTC))
    async with Stage(parcels, file, ports=[TheVan(outside)], clock=now) as stage:
        outside.next("send", "lose")
        await stage.run()
        assert outside.held
        await stage.say(ParcelRecalled(parcel_id="p"))
        assert outside.made("turn") == outside.made("send")[:1]
        assert outside.held == set()
        assert await stage.count(ParcelBack) == 1


async def test_what_was_being_published_when_a_board_stops_is_there_or_refused(file: Path, outside: Outside) -> None:
    van = TheVan(outside)
    async with opened(file, van) as board:
        calls = [asyncio.ensure_future(board.publish(ParcelGiven(parcel_id=f"p{n}"))) for n in range(50)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    there = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert all(isinstance(answer, LedgerError) for answer in answers if isinstance(answer, BaseException))
    assert len(there) == logged(file, "ParcelGiven") == len(answers)


async def test_a_board_that_has_stopped_refuses_what_is_published_and_tells_those_who_wait(
    file: Path, outside: Outside
) -> None:
    van = TheVan(outside)
    outside.next("send", "wait")
    async with opened(file, van, NONE) as board:
        flow = await board.publish(ParcelGiven(parcel_id="p"))
        waiting = asyncio.ensure_future(flow.completion(TEN))
        await soon(van.called.wait())
    with pytest.raises(LedgerError, match="this board has stopped"):
        await waiting
    with pytest.raises(LedgerError, match="this board has stopped"):
        await board.publish(ParcelGiven(parcel_id="q"))


async def test_retries_that_are_not_due_do_not_hold_up_a_stop_and_are_made_later(file: Path, outside: Outside) -> None:
    async with Stage(parcels, file, ports=[TheVan(outside)]) as stage:
        outside.next("send", "fail")
        await stage.say(ParcelGiven(parcel_id="p"))
        [row] = await stage.parked("retry")
        await stage.close()
        assert ask(file, "SELECT clean FROM owner") == [(1,)]
        await stage.open()
        assert [(each.pos, each.due) for each in await stage.parked("retry")] == [(row.pos, row.due)]
        await stage.advance(minutes=1)
        assert await stage.verdict("parcel", "p") == "succeeded"


async def test_a_stop_that_waits_is_at_rest_though_a_retry_is_due(file: Path, outside: Outside) -> None:
    van, clock = TheVan(outside), ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    outside.next("send", "fail", "wait")
    async with AsyncExitStack() as block:
        board = await block.enter_async_context(parcels.open(f"sqlite:///{file}", ports=[van], grace=LONG, clock=clock))
        await board.publish(ParcelGiven(parcel_id="p"))
        while not ask(file, "SELECT 1 FROM parked WHERE why = 'retry'"):
            await ticks(1)
        van.called.clear()
        await board.publish(ParcelGiven(parcel_id="q"))
        await soon(van.called.wait())
        closing = asyncio.ensure_future(block.aclose())
        await draining(board)
        clock.advance(timedelta(hours=1))
        board.work.wake()
        await ticks(10)
        rounds = board.work.rounds
        await ticks(200)
        assert board.work.rounds <= rounds + 1
        outside.let_go()
        await soon(closing)


async def test_after_a_clean_stop_nothing_is_run_again(file: Path, outside: Outside) -> None:
    van = TheVan(outside)
    for number in range(3):
        async with opened(file, van) as board:
            flow = await board.publish(ParcelGiven(parcel_id=f"p{number}"))
            assert (await flow.completion(TEN)).succeeded
    assert len(outside.made("send")) == len(set(outside.made("send"))) == 3
    assert len(outside.made("bill")) == 3
    assert attempts == [1, 1, 1]


async def test_an_error_in_the_block_drains_too(file: Path, outside: Outside) -> None:
    van = TheVan(outside)
    outside.next("send", "wait")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # all of it is the block that fails
        async with opened(file, van) as board:
            await board.publish(ParcelGiven(parcel_id="p"))
            await soon(van.called.wait())
            asyncio.get_running_loop().call_soon(outside.let_go)
            _ = 1 / 0
    assert logged(file, "ParcelSent") == 1
