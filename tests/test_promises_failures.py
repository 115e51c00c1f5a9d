"""Promises 8, 9 and 12: failures have a path, a replay is safe, and what is over a limit is told."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest

from callboard import (
    Breaker,
    Choreography,
    Context,
    Flow,
    Guarded,
    LedgerError,
    ReactionFailed,
    Retry,
    Service,
    TooLarge,
    event,
    port,
    state,
)
from tests.support.ledger import Crash, crash, disk_full
from tests.support.outside import Next, NoAnswer, Outside
from tests.support.stage import Stage
from tests.support.tables import ask, change, logged
from tests.support.workers import a_worker

FAILED = "callboard.ReactionFailed[CallMade]"
FAIL: tuple[Next, ...] = ("fail",)
WAIT: tuple[Next, ...] = ("wait",)


@event
class CallMade:
    call_id: str
    line: str = ""


@event
class CallTaken:
    call_id: str
    text: str = ""


@event
class CallLost:
    call_id: str
    attempts: int = 0


@state(key="line")
class Log:
    line: str
    calls: int = 0


@port
class Exchange(Protocol):
    async def connect(self, *, key: str) -> bool: ...


class TheExchange(Exchange):
    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def connect(self, *, key: str) -> bool:
        return await self.outside.take("connect", key)


def calls(*services: Service, ends: Any = CallTaken) -> Choreography:
    return Choreography(
        "calls", *services, flows=[Flow("call", key="call_id", starts=CallMade, succeeds=ends, timeout=None)]
    )


def connecting(**options: Any) -> Choreography:
    """A reaction that asks somebody outside."""
    service = Service("desk")

    @service.reaction(**options)
    async def take(call: CallMade, exchange: Exchange) -> CallTaken:
        await exchange.connect(key=call.call_id)
        return CallTaken(call_id=call.call_id)

    return calls(service)


def raising(error: Callable[[], BaseException], **options: Any) -> Choreography:
    service = Service("desk")

    @service.reaction(**options)
    def take(call: CallMade) -> CallTaken:
        raise error()

    return calls(service)


def made(count: int) -> list[CallMade]:
    return [CallMade(call_id=f"c{number}") for number in range(count)]


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


# back-off


@pytest.mark.parametrize("seed", range(5))
async def test_a_back_off_is_never_shorter_than_said(file: Path, outside: Outside, seed: int) -> None:
    retry = Retry(max_attempts=4, first_wait=timedelta(seconds=10), factor=3, jitter=0.5)
    async with Stage(connecting(retry=retry), file, ports=[TheExchange(outside)], seed=seed) as stage:
        outside.next("connect", "fail", "fail", "fail")
        await stage.say(CallMade(call_id="c"))
        for attempt, said in enumerate((10, 30, 90), 1):
            await stage.advance(seconds=said - 0.001)
            assert len(outside.calls) == attempt
            await stage.advance(seconds=said * 0.5 + 0.001)
            assert len(outside.calls) == attempt + 1
        assert await stage.verdict("call", "c") == "succeeded"
        assert await stage.parked() == []


async def test_a_back_off_is_not_cut_short_by_a_restart(file: Path, outside: Outside) -> None:
    retry = Retry(first_wait=timedelta(seconds=10))
    async with Stage(connecting(retry=retry), file, ports=[TheExchange(outside)]) as stage:
        outside.next("connect", "fail")
        await stage.say(CallMade(call_id="c"))
        await stage.restart()
        await stage.advance(seconds=9.9)
        assert len(outside.calls) == 1
        await stage.advance(seconds=3)
        assert len(outside.calls) == 2


async def test_a_back_off_is_not_cut_short_by_a_commit_that_was_overtaken(file: Path, outside: Outside) -> None:
    service = Service("desk")

    @service.reaction(retry=Retry(first_wait=timedelta(seconds=10)))
    async def take(call: CallMade, exchange: Exchange) -> CallTaken:
        await exchange.connect(key=call.call_id)
        return CallTaken(call_id=call.call_id)

    @service.reaction(compensates=take)
    def hang_up(lost: CallLost, taken: CallTaken | None) -> None: ...

    choreography = Choreography(
        "calls",
        service,
        flows=[Flow("call", key="call_id", starts=CallMade, succeeds=CallTaken, timeout=None)],
        incoming=CallLost,
    )
    async with (
        Stage(choreography, file, ports=[TheExchange(outside)]) as owner,
        Stage(choreography, file, services=[], clock=owner.clock, seed=1000) as other,
    ):
        outside.next("connect", "fail")
        await owner.say(CallMade(call_id="c"))
        task = asyncio.ensure_future(owner.board.publish(CallLost(call_id="c")))

        async def overtake() -> None:
            await other.publish(CallMade(call_id="other"))

        owner.ledger.before.append(overtake)
        await owner.run()
        await task
        assert outside.made("connect") == ["c", "other"]
        assert await owner.parked() == []


async def test_attempts_are_counted_over_restarts(file: Path, outside: Outside) -> None:
    async with Stage(connecting(retry=Retry(max_attempts=3)), file, ports=[TheExchange(outside)]) as stage:
        outside.next("connect", *FAIL * 9)
        await stage.say(CallMade(call_id="c"))
        for _ in range(5):
            await stage.restart()
            await stage.advance(minutes=1)
        assert len(outside.calls) == 3
        assert [row.attempts for row in await stage.dead()] == [3]


@pytest.mark.parametrize(
    ("retry", "error", "runs"),
    [
        (Retry(max_attempts=3, never=ValueError), ValueError, 1),
        (Retry(max_attempts=3, never=ValueError), UnicodeError, 1),
        (Retry(max_attempts=3, never=ValueError), ConnectionError, 3),
        (Retry(max_attempts=3, only=ConnectionError), NoAnswer, 3),
        (Retry(max_attempts=3, only=ConnectionError), ValueError, 1),
        (Retry(max_attempts=1), ConnectionError, 1),
    ],
)
async def test_the_type_of_an_error_says_whether_it_is_tried_again(
    file: Path, retry: Retry, error: type[Exception], runs: int
) -> None:
    async with Stage(raising(lambda: error("no"), retry=retry), file) as stage:
        await stage.say(CallMade(call_id="c"))
        for _ in range(4):
            await stage.advance(minutes=20)
        [letter] = await stage.dead()
        assert letter.attempts == runs
        assert (letter.error or "").splitlines()[0] == f"{error.__name__}: no"


async def test_a_reaction_is_told_which_attempt_it_is(file: Path) -> None:
    service = Service("desk")
    told: list[int] = []

    @service.reaction(retry=Retry(max_attempts=3))
    def take(call: CallMade, ctx: Context) -> CallTaken:
        told.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError
        return CallTaken(call_id=call.call_id)

    async with Stage(calls(service), file) as stage:
        await stage.say(CallMade(call_id="c"))
        await stage.advance(minutes=1)
        await stage.advance(minutes=1)
        assert told == [1, 2, 3]
        assert await stage.verdict("call", "c") == "succeeded"


async def test_a_retry_holds_up_its_own_line_and_no_other(file: Path) -> None:
    service = Service("desk")

    @event(key="line")
    class Rang:
        line: str
        number: int

    heard: list[tuple[str, int]] = []
    down = {"a"}

    @service.reaction
    def hear(rang: Rang) -> None:
        if rang.line in down:
            raise ConnectionError
        heard.append((rang.line, rang.number))

    async with Stage(Choreography("lines", service, incoming=Rang), file) as stage:
        await stage.say(*(Rang(line=line, number=number) for number in range(3) for line in "ab"))
        assert heard == [("b", 0), ("b", 1), ("b", 2)]
        down.clear()
        await stage.advance(minutes=1)
        assert heard[3:] == [("a", 0), ("a", 1), ("a", 2)]


# a time limit


async def test_an_attempt_that_takes_too_long_is_cut_and_counted(file: Path, outside: Outside) -> None:
    options = {"timeout": timedelta(milliseconds=1), "retry": Retry(max_attempts=2)}
    async with Stage(connecting(**options), file, ports=[TheExchange(outside)]) as stage:
        outside.next("connect", "wait", "wait")
        await stage.say(CallMade(call_id="c"))
        for _ in range(2):
            await stage.until(lambda: not stage.work.running and not stage.work.finished)
            await stage.advance(minutes=1)
        await stage.until(lambda: not stage.work.running and not stage.work.finished)
        [letter] = await stage.dead()
        assert letter.attempts == len(outside.calls) == 2
        assert "took longer than 0:00:00.001000" in (letter.error or "")


async def test_what_a_thread_returns_after_its_time_is_over_counts_no_more(file: Path) -> None:
    service, late, ended = Service("desk"), threading.Event(), threading.Event()

    @service.reaction(blocking=True, timeout=timedelta(milliseconds=1), retry=Retry(max_attempts=1))
    def take(call: CallMade, log: Log) -> CallTaken:
        late.wait(10)
        log.calls += 1
        ended.set()
        return CallTaken(call_id=call.call_id)

    async with Stage(calls(service), file) as stage:
        try:
            await stage.say(CallMade(call_id="c", line="l"))
            await stage.until(lambda: not stage.work.running and not stage.work.finished)
            assert len(await stage.dead()) == 1
        finally:
            late.set()
        await asyncio.to_thread(ended.wait, 10)
        await stage.run()
        assert await stage.count(CallTaken) == 0
        assert await stage.load(Log, "l") is None


# dead letters


@pytest.mark.parametrize(("moment", "trick"), [("at_end", disk_full), ("at_end", crash), ("after", crash)])
async def test_a_dead_letter_and_reaction_failed_are_committed_together(file: Path, moment: str, trick: Any) -> None:
    service = Service("desk")

    @service.reaction(retry=Retry(max_attempts=1))
    def take(call: CallMade) -> CallTaken:
        raise ConnectionError("no line")

    @service.reaction
    def lose(failed: ReactionFailed[CallMade]) -> CallLost:
        return CallLost(call_id=failed.event.call_id, attempts=failed.attempts)

    async with Stage(calls(service), file) as stage:
        task = asyncio.ensure_future(stage.board.publish(CallMade(call_id="c")))
        getattr(stage.ledger, moment).append(trick)
        for _ in range(3):
            try:
                await stage.run()
            except (Crash, LedgerError):
                await stage.restart()
            letters = ask(file, "SELECT count(*) FROM parked WHERE why = 'dead'")[0][0]
            assert letters == logged(file, FAILED) == logged(file, "CallLost")
        task.cancel()
        if await stage.count(CallMade) == 0:
            await stage.say(CallMade(call_id="c"))
        done = await stage.board.flow("call", "c").event(CallLost, timedelta(0))
        assert done == CallLost(call_id="c", attempts=1)
        assert (await stage.log()).count(FAILED) == 1


async def test_a_reaction_to_reaction_failed_that_fails_tells_of_no_second_one(file: Path) -> None:
    service = Service("desk")

    @service.reaction(retry=Retry(max_attempts=1))
    def take(call: CallMade) -> CallTaken:
        raise ConnectionError

    @service.reaction(retry=Retry(max_attempts=1))
    def lose(failed: ReactionFailed[CallMade]) -> CallLost:
        raise ConnectionError

    async with Stage(calls(service), file) as stage:
        await stage.say(CallMade(call_id="c"))
        assert [row.reaction for row in await stage.dead()] == ["desk.take", "desk.lose"]
        assert await stage.log() == ["CallMade", FAILED]


async def test_reaction_failed_is_heard_in_the_service_that_failed_and_nowhere_else(file: Path) -> None:
    desk, office = Service("desk"), Service("office")

    @desk.reaction(retry=Retry(max_attempts=1))
    def take(call: CallMade) -> CallTaken:
        raise ConnectionError

    @office.reaction
    def lose(failed: ReactionFailed[CallMade]) -> CallLost:
        return CallLost(call_id=failed.event.call_id)

    async with Stage(calls(desk, office), file) as stage:
        await stage.say(CallMade(call_id="c"))
        assert await stage.log() == ["CallMade", FAILED]


async def test_bytes_that_nobody_can_read_are_kept_and_dead_at_once(file: Path, outside: Outside) -> None:
    choreography = connecting()
    async with Stage(choreography, file, services=[]) as publisher:
        for each in made(2):
            await publisher.publish(each)
    assert change(file, "UPDATE log SET data = ? WHERE pos = 1", b"\xff{not json") == 1
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        await stage.run()
        [letter] = await stage.dead()
        assert (letter.pos, letter.attempts) == (1, 1)
        assert ask(file, "SELECT data FROM log WHERE pos = 1") == [(b"\xff{not json",)]
        assert outside.made("connect") == ["c1"]
        assert await stage.verdict("call", "c1") == "succeeded"


async def test_what_ends_its_worker_each_time_becomes_a_dead_letter_and_all_others_are_handled(file: Path) -> None:
    from tests.support.workers import Asked, shop

    names = ["a", "b", "poison", "c", "d"]
    async with shop.open(f"sqlite:///{file}", services=[]) as board:
        for name in names:
            await board.publish(Asked(name=name))
    codes: list[int] = []
    while not codes or codes[-1]:
        async with a_worker("work", file) as worker:
            codes.append(await worker.ends())
        assert len(codes) < 8
    assert codes[:-1] == [17] * len(codes[:-1])
    dead = ask(file, "SELECT pos, attempts FROM parked WHERE why = 'dead'")
    assert dead == [(3, 3)]
    assert ask(file, "SELECT key, verdict FROM flow ORDER BY number") == [
        (name, None if name == "poison" else "succeeded") for name in names
    ]
    assert logged(file, "Answered") == 4
    assert ask(file, "SELECT count(*) FROM parked") == [(1,)]


async def test_an_attempt_that_ends_its_worker_takes_no_other_retry_with_it(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=3))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        outside.next("connect", *FAIL * 5, *WAIT * 50)
        await stage.say(*made(5))
        await stage.advance(minutes=1)
        assert len(outside.waiting()) == 5
        deaths = 0
        while waiting := outside.waiting():
            if "c1" in waiting:
                deaths += 1
                outside.cut(None, ("connect",), Random(0))
                await stage.restart()
                await stage.run()
            else:
                assert len(waiting) == 1  # what may have ended the worker is tried one at a time
                outside.let_go()
                await stage.run()
        assert deaths == 2
        assert [(row.pos, row.attempts) for row in await stage.dead()] == [(2, 3)]
        assert await stage.count(CallTaken) == 4


# types of a newer build


@event
class CallMoved:
    call_id: str
    line: str


def desk(heard: list[Any]) -> Service:
    service = Service("desk")

    @service.reaction
    def take(call: CallMade) -> CallTaken | None:
        heard.append(call)
        return None

    return service


def newer_desk(heard: list[Any]) -> Service:
    service = Service("desk")

    @service.reaction
    def take(call: CallMade | CallMoved) -> CallTaken | None:
        heard.append(call)
        return None

    return service


def build(heard: list[Any], *, newer: bool) -> Choreography:
    """The newer build of the same services: its `take` hears one type more."""
    service, other = newer_desk(heard) if newer else desk(heard), Service("other")

    @other.reaction
    def listen(call: CallMade) -> None: ...

    return Choreography(
        "calls",
        service,
        other,
        flows=[Flow("call", key="call_id", starts=CallMade, succeeds=CallTaken, timeout=None)],
        incoming=CallMoved if newer else None,
    )


@pytest.fixture
def heard() -> list[Any]:
    return []


async def test_an_event_of_a_type_that_only_a_newer_build_knows_waits_for_it_in_order(
    file: Path, heard: list[Any]
) -> None:
    made, moved = CallMade(call_id="c"), CallMoved(call_id="c", line="l")
    async with (
        Stage(build(heard, newer=False), file) as old,
        Stage(build([], newer=True), file, services=[], clock=old.clock, seed=1000) as new,
    ):
        await old.say(made)
        await new.publish(moved)
        await old.run()
        [row] = await old.parked()
        assert (row.reaction, row.why, row.missing) == (
            "desk.take",
            "waiting",
            "a build that knows CallMoved: unknown type, newer build?",
        )
        await old.advance(minutes=59)
        assert [each.why for each in await old.parked()] == ["waiting"]
        assert heard == [made]
    async with Stage(build(heard, newer=True), file, clock=old.clock) as stage:
        await stage.run()
        assert heard == [made, moved]
        assert await stage.parked() == []


async def test_an_unknown_type_that_nobody_comes_for_becomes_a_dead_letter(file: Path, heard: list[Any]) -> None:
    async with (
        Stage(build(heard, newer=False), file) as old,
        Stage(build([], newer=True), file, services=[], clock=old.clock, seed=1000) as new,
    ):
        await old.say(CallMade(call_id="c"))
        await new.publish(CallMoved(call_id="c", line="l"))
        await old.run()
        await old.advance(minutes=61)
        [letter] = await old.dead()
        assert letter.error == "never came: a build that knows CallMoved: unknown type, newer build?"
    async with Stage(build(heard, newer=True), file, clock=old.clock) as stage:
        assert await stage.ask(letter, "replay")
        await stage.run()
        assert len(heard) == 2
        assert await stage.parked() == []


# a plain function that does not return


async def test_a_plain_function_that_does_not_return_is_named_with_its_stack_after_its_time(
    file: Path,
) -> None:
    service, told, heard = Service("desk"), threading.Event(), list[str]()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has not returned" in record.getMessage():
                heard.append(record.getMessage())
                told.set()

    @service.reaction(timeout=timedelta(milliseconds=20))
    def take(call: CallMade) -> CallTaken:
        assert told.wait(30), "nobody said anything"
        return CallTaken(call_id=call.call_id)

    listening = Listening()
    logging.getLogger("callboard").addHandler(listening)
    try:
        async with calls(service).open(f"sqlite:///{file}") as board:
            flow = await board.publish(CallMade(call_id="c"))
            done = await flow.completion(timeout=timedelta(seconds=60))
            assert done.succeeded  # it is not interrupted
    finally:
        logging.getLogger("callboard").removeHandler(listening)
    [said] = heard
    assert "desk.take has not returned for 0:00:00.020000" in said
    assert "blocking=True" in said
    assert "told.wait(30)" in said


# operators


async def failed_once(stage: Stage, outside: Outside) -> Any:
    outside.next("connect", "fail")
    await stage.say(CallMade(call_id="c"))
    [letter] = await stage.dead()
    return letter


async def test_a_replay_runs_the_reaction_again_and_its_dead_letter_is_gone(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=1))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        letter = await failed_once(stage, outside)
        assert await stage.ask(letter, "replay")
        await stage.run()
        assert await stage.parked() == []
        assert await stage.verdict("call", "c") == "succeeded"
        assert len(outside.calls) == 2


async def test_a_replay_reaches_only_the_reaction_that_failed(file: Path, outside: Outside) -> None:
    service, heard = Service("desk"), Counter[str]()

    @service.reaction(retry=Retry(max_attempts=1))
    async def take(call: CallMade, exchange: Exchange) -> CallTaken:
        await exchange.connect(key=call.call_id)
        return CallTaken(call_id=call.call_id)

    @service.reaction
    def listen(call: CallMade) -> None:
        heard[call.call_id] += 1

    async with Stage(calls(service), file, ports=[TheExchange(outside)]) as stage:
        await stage.ask(await failed_once(stage, outside), "replay")
        await stage.run()
        assert heard == {"c": 1}
        assert await stage.count(CallTaken) == 1


async def test_a_dead_letter_has_one_open_replay(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=1))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        letter = await failed_once(stage, outside)
        assert await stage.ask(letter, "replay")
        assert not await stage.ask(letter, "replay")
        outside.next("connect", "wait")
        await stage.run()
        assert not await stage.ask(letter, "replay")
        outside.let_go()
        await stage.run()
        assert len(outside.calls) == 2
        assert not await stage.ask(letter, "replay")


async def test_a_replay_that_fails_is_a_dead_letter_again_at_once(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=5, only=NoAnswer))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        letter = await failed_once(stage, outside)
        outside.next("connect", "lose")
        await stage.ask(letter, "replay")
        await stage.run()
        [again] = await stage.dead()
        assert (again.attempts, again.asked) == (2, None)
        await stage.advance(hours=1)
        assert len(outside.calls) == 2
        assert await stage.ask(again, "replay")
        await stage.run()
        assert await stage.verdict("call", "c") == "succeeded"


async def test_a_replay_that_was_asked_for_survives_the_death_of_the_owner(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=1))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        await stage.ask(await failed_once(stage, outside), "replay")
        await stage.restart()
        outside.next("connect", "wait")
        await stage.run()
        await stage.restart()
        await stage.run()
        assert await stage.verdict("call", "c") == "succeeded"
        assert len(outside.calls) == 3
        assert await stage.parked() == []


async def test_what_is_discarded_is_not_run_and_the_log_of_exceptions_says_so(file: Path, outside: Outside) -> None:
    choreography = connecting(retry=Retry(max_attempts=1))
    async with Stage(choreography, file, ports=[TheExchange(outside)]) as stage:
        letter = await failed_once(stage, outside)
        assert await stage.ask(letter, "discard")
        await stage.run()
        assert await stage.parked() == []
        assert len(outside.calls) == 1
        assert [note.what for note in await stage.notes("call", "c")] == ["failed", "asked", "skipped"]


@pytest.mark.parametrize("wish", ["replay", "discard"])
async def test_what_waits_behind_a_dead_letter_goes_on_in_order_once_it_is_gone(file: Path, wish: str) -> None:
    service = Service("desk")

    @event(key="line")
    class Rang:
        line: str
        number: int

    heard: list[int] = []
    down = {0}

    @service.reaction(retry=Retry(max_attempts=1))
    def hear(rang: Rang) -> None:
        if rang.number in down:
            raise ConnectionError
        heard.append(rang.number)

    async with Stage(Choreography("lines", service, incoming=Rang), file) as stage:
        await stage.say(*(Rang(line="a", number=number) for number in range(3)))
        assert heard == []
        down.clear()
        [letter] = await stage.dead()
        await stage.ask(letter, wish)
        await stage.run()
        assert heard == ([0, 1, 2] if wish == "replay" else [1, 2])
        assert await stage.parked() == []


# limits on a keeper


async def test_an_open_breaker_pauses_lets_one_try_and_burns_no_attempts(file: Path, outside: Outside) -> None:
    keeper = Guarded(TheExchange(outside), breaker=Breaker(failures=2, pause=timedelta(seconds=30)))
    choreography = connecting(retry=Retry(max_attempts=2, first_wait=timedelta(0)), concurrency=2)
    async with Stage(choreography, file, ports=[keeper]) as stage:
        outside.next("connect", "fail", "fail")
        await stage.say(*made(6))
        assert len(outside.calls) == 2
        await stage.advance(seconds=29)
        assert len(outside.calls) == 2
        assert max((row.attempts for row in await stage.parked()), default=0) == 1
        outside.next("connect", "wait")
        await stage.advance(seconds=2)
        await stage.advance(seconds=60)
        assert len(outside.calls) == 3  # one tries, all others wait for what comes of it
        outside.let_go()
        await stage.run()
        await stage.advance(minutes=1)
        assert await stage.dead() == []
        assert await stage.count(CallTaken) == 6


async def test_an_open_breaker_stops_positions_parks_nothing_and_is_known_to_everybody(
    file: Path, outside: Outside
) -> None:
    keeper = Guarded(TheExchange(outside), breaker=Breaker(failures=1, pause=timedelta(seconds=30)))
    choreography = connecting(retry=Retry(first_wait=timedelta(0)), concurrency=1)

    def paused() -> Any:
        return ask(file, "SELECT paused, by FROM reaction WHERE reaction = 'desk.take'")[0]

    async with Stage(choreography, file, ports=[keeper]) as stage:
        assert paused() == (None, None)
        stage.work.readers["desk.take"].most = 4
        outside.next("connect", "fail")
        await stage.say(*made(50))
        until = stage.work.now() + 30_000_000
        assert paused() == (until, "Exchange")
        assert len(await stage.parked()) == 1  # the run that failed
        assert ask(file, "SELECT pos FROM reaction WHERE reaction = 'desk.take'")[0][0] < 10
        await stage.restart()
        outside.next("connect", "wait")
        await stage.run()
        assert paused() == (None, None)  # a breaker belongs to its process
        outside.let_go()
        await stage.run()
        assert await stage.count(CallTaken) == 50


async def test_a_probe_that_fails_opens_the_breaker_again(file: Path, outside: Outside) -> None:
    keeper = Guarded(TheExchange(outside), breaker=Breaker(failures=1, pause=timedelta(seconds=30)))
    choreography = connecting(retry=Retry(max_attempts=9, first_wait=timedelta(0)), concurrency=1)
    async with Stage(choreography, file, ports=[keeper]) as stage:
        outside.next("connect", "fail", "fail", "fail")
        await stage.say(*made(4))
        for probes in (1, 2, 3):
            assert len(outside.calls) == probes
            await stage.advance(seconds=29)
            assert len(outside.calls) == probes
            await stage.advance(seconds=2)
        await stage.run()
        assert await stage.count(CallTaken) == 4
        assert len(outside.calls) == 7


async def test_a_breaker_pauses_no_reaction_that_does_not_take_its_port(file: Path, outside: Outside) -> None:
    service, heard = Service("desk"), Counter[str]()

    @service.reaction
    async def take(call: CallMade, exchange: Exchange) -> CallTaken:
        await exchange.connect(key=call.call_id)
        return CallTaken(call_id=call.call_id)

    @service.reaction
    async def listen(call: CallMade) -> None:
        heard["all"] += 1

    keeper = Guarded(TheExchange(outside), breaker=Breaker(failures=1))
    async with Stage(calls(service), file, ports=[keeper]) as stage:
        outside.next("connect", "fail")
        await stage.say(*made(3))
        assert len(outside.calls) == 1
        assert heard["all"] == 3


@pytest.mark.parametrize("by", ["Guarded", "option"])
async def test_no_more_runs_go_on_at_once_than_a_limit_says(file: Path, outside: Outside, by: str) -> None:
    choreography = connecting(**({"concurrency": 2} if by == "option" else {}))
    keeper: object = TheExchange(outside)
    async with Stage(
        choreography, file, ports=[Guarded(keeper, concurrency=2) if by == "Guarded" else keeper]
    ) as stage:
        outside.next("connect", *WAIT * 5)
        await stage.say(*made(5))
        seen: list[int] = []
        while outside.waiting():
            seen.append(len(outside.waiting()))
            outside.let_go(key=outside.waiting()[0])
            await stage.run()
        assert seen == [2, 2, 2, 2, 1]
        assert outside.made("connect") == [f"c{number}" for number in range(5)]


async def test_a_limit_on_a_keeper_holds_for_all_reactions_that_take_it(file: Path, outside: Outside) -> None:
    service = Service("desk")

    @service.reaction
    async def take(call: CallMade, exchange: Exchange) -> CallTaken:
        await exchange.connect(key=f"take-{call.call_id}")
        return CallTaken(call_id=call.call_id)

    @service.reaction
    async def too(call: CallMade, exchange: Exchange) -> None:
        await exchange.connect(key=f"too-{call.call_id}")

    async with Stage(calls(service), file, ports=[Guarded(TheExchange(outside), concurrency=1)]) as stage:
        outside.next("connect", *WAIT * 4)
        await stage.say(*made(2))
        for _ in range(4):
            assert len(outside.waiting()) == 1
            outside.let_go()
            await stage.run()
        assert outside.waiting() == []
        assert await stage.count(CallTaken) == 2


# limits on events


async def test_an_event_over_the_limit_is_refused_where_it_is_published(file: Path) -> None:
    async with Stage(raising(ConnectionError), file) as stage:
        with pytest.raises(TooLarge, match=r"CallMade takes .* bytes, the limit is"):
            await stage.publish(CallMade(call_id="c", line="x" * 2**20))
        assert await stage.log() == []


@pytest.fixture
async def generous(file: Path) -> AsyncIterator[Stage]:
    """Reactions that return too much."""
    service = Service("desk")

    @service.reaction
    def large(call: CallMade, log: Log) -> CallTaken:
        log.calls += 1
        return CallTaken(call_id=call.call_id, text="x" * 2**20)

    @service.reaction
    def many(call: CallMade, log: Log) -> list[CallLost]:
        log.calls += 1
        return [CallLost(call_id=call.call_id)] * 10_001

    async with Stage(calls(service), file) as stage:
        yield stage


async def test_a_run_that_returns_too_much_is_dead_at_once_and_emits_nothing(generous: Stage) -> None:
    await generous.say(CallMade(call_id="c", line="l"))
    letters = {row.reaction: row for row in await generous.dead()}
    assert {name: row.attempts for name, row in letters.items()} == {"desk.large": 1, "desk.many": 1}
    assert "CallTaken takes 1,0" in (letters["desk.large"].error or "")
    assert "returned 10,001 events, the limit is 10,000" in (letters["desk.many"].error or "")
    assert await generous.log() == ["CallMade", FAILED, FAILED]
    assert await generous.load(Log, "l") is None
