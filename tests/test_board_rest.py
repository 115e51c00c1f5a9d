"""Virtual time in users' tests: a board that has come to rest has nothing to do before the clock is turned."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol, assert_type

import pytest

from callboard import (
    Board,
    Breaker,
    Choreography,
    Completion,
    Flow,
    FlowHandle,
    FlowTimedOut,
    Guarded,
    LedgerError,
    ManualClock,
    Retry,
    Service,
    event,
    failure,
    port,
)
from tests.support.desk import Trouble

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@event
class Asked:
    name: str


@event
class Heard:
    name: str


@event
class Reminded:
    name: str


@event
class Answered:
    name: str


@failure
class GivenUp:
    name: str


@port
class Oracle(Protocol):
    async def ask(self, name: str) -> None: ...


class Slow(Oracle):
    """Takes its time, of the loop and not of the clock."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self.trouble = trouble or Trouble()

    async def ask(self, name: str) -> None:
        await asyncio.sleep(0.02)
        self.trouble.at("ask")


def temple(retry: Retry | None = None) -> Choreography:
    service = Service("temple")

    @service.reaction
    def hear(asked: Asked) -> Heard:
        return Heard(name=asked.name)

    @service.reaction(wait=MINUTE)
    def remind(heard: Heard) -> Reminded:
        return Reminded(name=heard.name)

    @service.reaction(retry=retry or Retry(max_attempts=3, first_wait=5 * MINUTE, jitter=0), pivot=True)
    async def answer(reminded: Reminded, oracle: Oracle) -> Answered:
        await oracle.ask(reminded.name)
        return Answered(name=reminded.name)

    @service.reaction
    def give_up(late: FlowTimedOut[Asked]) -> GivenUp:
        return GivenUp(name=late.started.name)

    flow = Flow("question", key="name", starts=Asked, succeeds=Answered, fails=GivenUp, timeout=60 * MINUTE)
    return Choreography("temple", service, flows=[flow])


async def kinds(flow: FlowHandle) -> list[str]:
    return [type(each).__name__ for each in await flow.events()]


async def test_at_rest_everything_has_happened_that_the_clock_allows_and_it_is_known_when_there_is_more() -> None:
    clock = ManualClock(START)
    async with temple().open("sqlite:///:memory:", ports=[Slow(Trouble(ask=1))], clock=clock) as board:
        assert board.next_due() is None
        flow = await board.publish(Asked(name="n"))
        await board.rest()
        assert (await kinds(flow), board.next_due()) == (["Asked", "Heard"], START + MINUTE)
        clock.advance(MINUTE)
        await board.rest()  # the run that began has ended too, and failed
        assert (await kinds(flow), board.next_due()) == (["Asked", "Heard", "Reminded"], START + 6 * MINUTE)
        clock.advance(5 * MINUTE)
        await board.rest()
        assert (await kinds(flow))[-1] == "Answered"
        assert (await flow.completion(timeout=timedelta(0))).verdict == "succeeded"
        clock.advance(60 * MINUTE)
        await board.rest()
        assert board.next_due() is None


async def test_a_deadline_is_due_too_and_rest_is_past_what_comes_of_it() -> None:
    clock = ManualClock(START)
    async with temple(Retry(max_attempts=1)).open(
        "sqlite:///:memory:", ports=[Slow(Trouble(ask=1))], clock=clock
    ) as board:
        flow = await board.publish(Asked(name="n"))
        await board.rest()
        clock.advance(MINUTE)
        await board.rest()
        assert board.next_due() == START + 60 * MINUTE
        clock.advance(59 * MINUTE)
        await board.rest()
        assert (await flow.completion(timeout=timedelta(0))).verdict == "failed"


async def test_what_an_open_breaker_keeps_back_is_nothing_to_do_before_it_closes() -> None:
    clock = ManualClock(START)
    guarded = Guarded(Slow(Trouble(ask=1)), breaker=Breaker(failures=1, pause=10 * MINUTE))
    retry = Retry(max_attempts=3, first_wait=timedelta(seconds=1), jitter=0)
    async with temple(retry).open("sqlite:///:memory:", ports=[guarded], clock=clock) as board:
        flow = await board.publish(Asked(name="n"))
        await board.rest()
        clock.advance(MINUTE)
        await board.rest()
        clock.advance(timedelta(seconds=2))
        async with asyncio.timeout(20):
            await board.rest()
        assert (await kinds(flow))[-1] == "Reminded"
        assert board.next_due() == START + 11 * MINUTE
        clock.advance(10 * MINUTE)
        await board.rest()
        assert (await kinds(flow))[-1] == "Answered"


async def test_a_board_that_has_stopped_never_comes_to_rest_and_says_so(tmp_path: Path) -> None:
    async with temple().open(f"sqlite:///{tmp_path / 't.db'}", ports=[Slow()]) as board:
        pass
    with pytest.raises(LedgerError, match="this board has stopped"):
        await board.rest()


async def test_a_verdict_is_one_of_two_words() -> None:
    async with temple().open("sqlite:///:memory:", ports=[Slow()]) as board:
        assert_type(board, Board)
        flow = await board.publish(Asked(name="n"))
        assert_type(flow, FlowHandle)
        ending = flow.completion(timeout=timedelta(0))
        with pytest.raises(TimeoutError):
            assert_type(await ending, Completion)


def verdict_of(done: Completion) -> Literal["succeeded", "failed"]:
    """For the type checkers."""
    return done.verdict
