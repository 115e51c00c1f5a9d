"""After deaths, outages, takeovers and commits built again: nothing is lost, stuck, doubled or blamed wrongly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from itertools import count as count_from
from pathlib import Path
from typing import Any

import pytest

from callboard import (
    Choreography,
    Flow,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)
from callboard.board import Board
from callboard.errors import LedgerError

from .support.ledger import Crash, crash, disk_full, ticks
from .support.outside import Outside
from .support.stage import Stage
from .support.tables import change


@event
class Asked:
    name: str
    row: str = "hot"


@event
class Allowed:
    name: str


@event
class Answered:
    name: str
    row: str = "hot"


@failure
class Withdrawn:
    name: str


@event
class Part:
    name: str
    number: int


@event
class Ready:
    name: str
    number: int


@event
class Finished:
    name: str


@event(key="lane")
class Passed:
    lane: str
    number: int


@event(key="lane")
class Waved:
    lane: str
    number: int


@state(key="row")
class Tally:
    row: str
    count: int = 0


@port
class Line(Outside):
    """A call to somewhere."""


@asynccontextmanager
async def board(
    choreography: Choreography, folder: Path, line: Line | None = None
) -> AsyncIterator[tuple[Stage, Stage]]:
    """An owner, and a gateway that only publishes on the same file."""
    file = folder / "file.db"
    owner = Stage(choreography, file, ports=[line] if line else [])
    async with owner, Stage(choreography, file, services=[], clock=owner.clock) as gateway:
        yield owner, gateway


async def living(owner: Stage, most: int = 30) -> int:
    """Everything that can be done is done, though the owner dies on the way; how often it died."""
    for deaths in range(most):
        try:
            for _ in range(8):
                await owner.advance(seconds=30)
        except Crash:
            await owner.restart()
        else:
            return deaths
    raise AssertionError("it dies for ever")


# what ends its worker


class Poison:
    """What a reaction of this file dies of, and what it fails of."""

    kills = True
    fails = True


waves = Service("waves")
THREE = Retry(max_attempts=3, first_wait=timedelta(seconds=1))


@waves.reaction
def wave(waved: Waved) -> None:
    pass


@waves.reaction(retry=THREE)
def let_pass(passed: Passed) -> None:
    if passed.number < 0 and Poison.kills:
        raise Crash
    if passed.number == 0 and Poison.fails:
        raise ValueError("not now")


road = Choreography(
    "road",
    waves,
    incoming=Waved | Passed,
    flows=[Flow("question", key="name", starts=Asked, succeeds=Answered, timeout=None)],
)


@pytest.mark.parametrize("before", [0, 100, 1_500])
@pytest.mark.parametrize("kind", [Passed, Waved], ids=["of its reaction", "of another reaction"])
async def test_an_event_that_ends_its_worker_is_dead_however_much_came_before_it(
    tmp_path: Path, before: int, kind: Any
) -> None:
    Poison.kills = Poison.fails = True
    async with board(road, tmp_path) as (owner, gateway):
        for first in range(0, before, 500):
            numbers = range(first + 1, min(first + 500, before) + 1)
            await gateway.drive(gateway.board.publish([kind(lane="a", number=number) for number in numbers]))
        await gateway.publish(Passed(lane="b", number=-1))
        assert await living(owner) <= THREE.max_attempts + 2
        assert [row.why for row in await owner.parked()] == ["dead"]
        await gateway.publish(Passed(lane="c", number=1))
        assert await living(owner) == 0
        assert [row.why for row in await owner.parked()] == ["dead"]


async def test_what_may_have_been_running_is_named_to_the_operator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Poison.kills = True
    async with board(road, tmp_path) as (owner, gateway):
        await gateway.publish(Passed(lane="b", number=-1))
        await living(owner)
    assert "waves.let_pass@1 may have been running, and is run again" in caplog.text


async def test_what_ends_its_worker_from_behind_another_is_dead_too(tmp_path: Path) -> None:
    Poison.kills = Poison.fails = True
    async with board(road, tmp_path) as (owner, gateway):
        for number in (0, -1, 1):
            await gateway.publish(Passed(lane="a", number=number))
        await owner.run()
        assert [row.why for row in await owner.parked()] == ["retry", "behind", "behind"]
        Poison.fails = False
        assert await living(owner) <= THREE.max_attempts + 1
        assert [(row.pos, row.why) for row in await owner.parked()] == [(2, "dead"), (3, "behind")]


async def test_a_replay_that_ends_its_worker_does_not_end_it_for_ever(tmp_path: Path) -> None:
    Poison.kills = Poison.fails = True
    async with board(road, tmp_path) as (owner, gateway):
        await gateway.publish(Passed(lane="a", number=-1))
        await living(owner)
        [letter] = await owner.dead()
        assert await owner.ask(letter, "replay")
        assert await living(owner) <= 2 * THREE.max_attempts
        [letter] = await owner.dead()
        Poison.kills = False
        assert await owner.ask(letter, "replay")
        assert await living(owner) == 0
        assert await owner.parked() == []


press = Service("press")


@press.reaction(retry=THREE, keeps="a test")
async def set_type(asked: Asked, line: Line) -> Allowed:
    await line.take("set", asked.name)
    return Allowed(name=asked.name)


@press.reaction(retry=THREE)
def print_out(allowed: Allowed) -> Answered:
    if Poison.kills:
        raise Crash
    return Answered(name=allowed.name)


printing = Choreography(
    "printing", press, flows=[Flow("sheet", key="name", starts=Asked, succeeds=Answered, timeout=None)]
)


async def test_what_ends_its_worker_is_blamed_and_not_what_ran_before_it(tmp_path: Path) -> None:
    Poison.kills, line = True, Line()
    async with board(printing, tmp_path, line) as (owner, gateway):
        await gateway.publish(Asked(name="x"))
        assert await living(owner) <= 2 * THREE.max_attempts
        assert [letter.reaction for letter in await owner.dead()] == ["press.print_out"]


@pytest.mark.parametrize("what", ["timer", "wait that is over"])
async def test_what_ends_its_worker_when_a_time_comes_is_dead_too(what: str, tmp_path: Path) -> None:
    tower, soon = Service("tower"), timedelta(minutes=1)
    if what == "timer":

        @tower.reaction(retry=THREE, wait=soon)
        def strike(waved: Waved) -> None:
            raise Crash

    else:

        @tower.reaction(needs=Passed, within=soon)
        def listen(waved: Waved) -> None: ...

        @tower.reaction(retry=THREE)
        def mourn(failed: ReactionFailed[Waved]) -> None:
            raise Crash

    async with board(Choreography("tower", tower, incoming=Waved | Passed), tmp_path) as (owner, gateway):
        await gateway.publish(Waved(lane="a", number=1))
        assert await living(owner) <= THREE.max_attempts + 1
        dead = {letter.reaction for letter in await owner.dead()}
        assert dead == ({"tower.strike"} if what == "timer" else {"tower.listen", "tower.mourn"})


# an end that was not clean


desk = Service("desk")


@desk.reaction(retry=THREE, keeps="a test")
async def answer(asked: Asked, tally: Tally, line: Line) -> Answered:
    await line.take("answer", asked.name)
    tally.count += 1
    return Answered(name=asked.name, row=asked.row)


@desk.reaction(keeps="a test")
async def forget(withdrawn: Withdrawn, tallies: States[Tally], line: Line) -> None:
    tallies.delete("old")
    await line.take("forget", withdrawn.name)


office = Choreography(
    "office",
    desk,
    incoming=Withdrawn,
    flows=[Flow("question", key="name", starts=Asked, succeeds=Answered, timeout=None)],
)


async def test_a_stop_is_clean_only_if_every_call_that_came_back_is_committed(tmp_path: Path) -> None:
    line = Line()
    async with board(office, tmp_path, line) as (owner, _):
        line.next("answer", "wait")
        await owner.say(Asked(name="x"))
        line.let_go("answer")
        await ticks()
        owner.ledger.before.extend([disk_full] * 3)
        with pytest.raises(LedgerError):
            await owner.group()
        await owner.runner.stop(timedelta(0))
        assert owner.ledger.rows("SELECT clean FROM owner") == [(0,)]
        await owner.restart()
        await owner.run()
        await owner.runner.stop(timedelta(0))
        assert owner.ledger.rows("SELECT clean FROM owner") == [(1,)]
        assert await owner.count(Answered) == 1


# a group that is built again


async def test_a_row_deleted_unseen_is_gone_though_its_group_was_built_again(tmp_path: Path) -> None:
    line = Line()
    async with board(office, tmp_path, line) as (owner, gateway):
        await owner.put(desk, Tally(row="old"), Tally(row="hot"))
        line.next("forget", "wait")
        line.next("answer", "wait")
        await owner.say(Asked(name="x"), Withdrawn(name="x"))
        line.let_go()
        await ticks()
        owner.ledger.before.append(lambda: gateway.put(desk, Tally(row="hot", count=100)))
        await owner.run()
        assert await owner.load(Tally, "old") is None
        assert await owner.load(Tally, "hot") == Tally(row="hot", count=101)
        assert line.made("forget") == ["x"]


async def test_a_run_that_repeats_alone_and_an_earlier_one_on_its_row_do_not_wait_for_each_other(
    tmp_path: Path,
) -> None:
    line = Line()
    async with board(office, tmp_path, line) as (owner, gateway):
        line.next("answer", "fail", "wait", "wait")
        await owner.say(Asked(name="first"), Asked(name="second"))
        for edits in (1, 2):
            await gateway.put(desk, Tally(row="hot", count=10 * edits))
            if edits == 2:
                owner.clock.advance(timedelta(minutes=1))  # and the first is due in just this group
            line.let_go("answer")
            await ticks()
            await owner.group()
            await owner.group()
        await owner.run()
        assert await owner.load(Tally, "hot") == Tally(row="hot", count=22)
        assert await owner.count(Answered) == 2


# waits that became overdue while nobody was there


studio = Service("studio")
FIVE_MINUTES = timedelta(minutes=5)


@studio.reaction
def cut(asked: Asked) -> list[Part]:
    return [Part(name=asked.name, number=number) for number in range(3)]


@studio.reaction(needs=Allowed, within=FIVE_MINUTES)
def show(asked: Asked, allowed: Allowed) -> Answered:
    return Answered(name=asked.name)


@studio.reaction(within=timedelta(days=1), keeps="a test")
def count(answered: Answered, finished: Finished, tally: Tally) -> None:
    tally.count += 1


@studio.reaction(gathers=Part, within=FIVE_MINUTES)
def finish(parts: list[Ready]) -> Finished:
    return Finished(name=parts[0].name)


@studio.reaction(retry=THREE, keeps="a test")
async def make(part: Part, line: Line) -> Ready:
    await line.take("make", f"{part.number}")
    return Ready(name=part.name, number=part.number)


films = Choreography(
    "films",
    studio,
    incoming=Allowed,
    flows=[Flow("film", key="name", starts=Asked, succeeds=Withdrawn, timeout=None)],
)


async def test_a_wait_is_not_over_before_what_came_in_the_outage_is_read(tmp_path: Path) -> None:
    line = Line()
    async with board(films, tmp_path, line) as (owner, gateway):
        line.next("make", "answer", "answer", "wait")
        await owner.say(Asked(name="x"))
        assert {row.why for row in await owner.parked()} == {"waiting", "half"}
        line.let_go()
        owner.ledger.after.append(crash)  # the last part is in the log, and nobody has read it
        with suppress(Crash):
            await owner.run()
        await owner.crash()
        await gateway.publish(Allowed(name="x"))
        owner.clock.advance(timedelta(hours=1))
        await owner.open()
        await owner.run()
        assert await owner.dead() == []
        assert [await owner.count(kind) for kind in (Answered, Finished)] == [1, 1]
        assert await owner.load(Tally, "hot") == Tally(row="hot", count=1)


async def test_a_wait_for_what_did_not_come_in_the_outage_either_is_over(tmp_path: Path) -> None:
    line = Line()
    async with board(films, tmp_path, line) as (owner, _):
        line.next("make", "answer", "wait")
        await owner.say(Asked(name="x"))
        await owner.crash()
        owner.clock.advance(timedelta(hours=1))
        line.next("make", "wait")
        await owner.open()
        await owner.run()
        assert {letter.error for letter in await owner.dead()} == {
            "never came: Allowed",
            "never came: 2 more of 3 parts",
        }


# a build that cannot read what another has written


house = Service("house")


@house.reaction
def open_up(asked: Asked) -> Answered:
    return Answered(name=asked.name, row=asked.row)


@house.reaction(compensates=open_up)
def close_up(withdrawn: Withdrawn, answered: Answered, tally: Tally) -> None:
    tally.count -= 1


@house.reaction
def late(out: FlowTimedOut[Asked]) -> Withdrawn:
    return Withdrawn(name=out.started.name)


home = Choreography(
    "home",
    house,
    incoming=Withdrawn,
    flows=[
        Flow("visit", key="name", starts=Asked, succeeds=Finished, fails=Withdrawn, timeout=timedelta(minutes=30)),
    ],
)


async def unreadable(owner: Stage, pos: int) -> None:
    """As if another build had written the event at this place."""
    await owner.crash()
    assert change(owner.file, "UPDATE log SET data = ? WHERE pos = ?", b'{"title":"x"}', pos) == 1
    await owner.open()


async def test_a_row_whose_key_stands_in_an_event_that_cannot_be_read_makes_a_dead_letter_and_stops_nobody(
    tmp_path: Path,
) -> None:
    async with board(home, tmp_path) as (owner, _):
        await owner.say(Asked(name="x"))
        await unreadable(owner, 2)
        await owner.say(Withdrawn(name="x"), Asked(name="y"))
        [letter] = await owner.dead()
        assert letter.reaction == "house.close_up"
        assert await owner.count(Answered) == 2


async def test_a_deadline_of_a_flow_whose_beginning_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    async with board(home, tmp_path) as (owner, _):
        await owner.say(Asked(name="x"))
        await unreadable(owner, 1)
        await owner.say(Asked(name="y"))
        await owner.advance(hours=1)
        assert await owner.count(FlowTimedOut[Asked]) == 1
        assert [await owner.verdict("visit", name) for name in "xy"] == [None, "failed"]


# compensations after a death


bank = Service("bank")


@bank.reaction
def divide(asked: Asked) -> list[Part]:
    return [Part(name=asked.name, number=number) for number in range(2)]


@bank.reaction(retry=THREE)
async def pay(part: Part, line: Line) -> Ready | None:
    return Ready(name=part.name, number=part.number) if await line.take("pay", f"{part.number}") else None


@bank.reaction(compensates=pay, retry=THREE)
async def repay(withdrawn: Withdrawn, paid: Ready | None, line: Line) -> Finished:
    await line.take("repay", f"{paid.number}" if paid else "all")
    return Finished(name=withdrawn.name)


@bank.reaction(keeps="a test")
def register(asked: Asked, tally: Tally) -> None:
    tally.count += 1


banking = Choreography(
    "banking",
    bank,
    incoming=Withdrawn,
    flows=[Flow("payment", key="name", starts=Asked, succeeds=Allowed, timeout=None)],
)


till = Service("till")


@till.reaction
async def charge(asked: Asked, line: Line) -> Ready:
    await line.take("charge", asked.name)
    return Ready(name=asked.name, number=0)


@till.reaction(compensates=charge)
async def refund(withdrawn: Withdrawn, paid: Ready, line: Line) -> Finished:
    await line.take("refund", withdrawn.name)
    return Finished(name=withdrawn.name)


@till.reaction
def regret(withdrawn: Withdrawn) -> Answered:
    return Answered(name=withdrawn.name)


shopping = Choreography(
    "shopping",
    till,
    incoming=Withdrawn | Waved,
    flows=[Flow("purchase", key="name", starts=Asked, succeeds=Ready | Finished, timeout=None)],
)


async def test_a_compensation_begun_before_a_death_waits_until_what_it_undoes_is_read_again(tmp_path: Path) -> None:
    line = Line()
    async with board(shopping, tmp_path, line) as (owner, gateway):
        line.next("charge", "wait")
        await gateway.publish(Asked(name="x"))
        await owner.group()
        await gateway.publish(Withdrawn(name="x"))
        await owner.group()
        places = {place.reaction: place for place in await owner.ledger.positions()}
        assert line.waiting("charge")
        assert places["till.charge"].pos == 0, "nobody wrote down that it has begun"
        assert places["till.refund"].open == (2,)
        await owner.restart()
        await owner.run()
        [letter] = await owner.dead()
        assert (letter.error or "").startswith("the outcome of charge is unknown")


def house_of(*, settles: bool) -> Choreography:
    """A build whose compensation wants to know what it undoes, or one that can settle an unknown outcome."""
    service = Service("till")

    @service.reaction(retry=Retry(max_attempts=1))
    async def charge(asked: Asked, line: Line) -> Ready:
        await line.take("charge", asked.name)
        return Ready(name=asked.name, number=0)

    async def refund(failed: ReactionFailed[Asked], paid: Ready | None, line: Line) -> Finished:
        await line.take("refund", failed.event.name)
        return Finished(name=failed.event.name)

    async def strict(failed: ReactionFailed[Asked], paid: Ready, line: Line) -> Finished:
        raise AssertionError("it knows of nothing to undo")

    strict.__name__ = "refund"
    service.reaction(compensates=charge)(refund if settles else strict)
    flow = Flow("purchase", key="name", starts=Asked, succeeds=Ready, fails=Finished, timeout=None)
    return Choreography("shopping", service, flows=[flow])


async def test_an_unknown_outcome_is_settled_by_the_replay_of_a_build_that_can(tmp_path: Path) -> None:
    line, file = Line(), tmp_path / "file.db"
    line.next("charge", "lose")
    async with Stage(house_of(settles=False), file, ports=[line]) as owner:
        await owner.say(Asked(name="x"))
        assert sorted(letter.reaction for letter in await owner.dead()) == ["till.refund"]
    async with Stage(house_of(settles=True), file, ports=[line]) as owner:
        [letter] = await owner.dead()
        assert await owner.ask(letter, "replay")
        await owner.run()
        assert await owner.dead() == []
        assert line.made("refund") == ["x"]
        assert await owner.verdict("purchase", "x") == "failed"


async def test_an_effect_undone_by_a_retry_is_not_undone_again_by_the_ask_behind_it(tmp_path: Path) -> None:
    line = Line()
    async with board(banking, tmp_path, line) as (owner, gateway):
        await owner.say(Asked(name="x"))
        line.next("repay", "fail", "wait")
        await owner.say(Withdrawn(name="x"))
        await owner.crash()
        owner.clock.advance(timedelta(minutes=1))
        line.next("repay", "wait")
        await owner.open()
        await owner.run()
        line.let_go()
        await ticks()
        await gateway.publish(Asked(name="y"))
        owner.ledger.before.append(lambda: gateway.put(bank, Tally(row="hot", count=10)))
        await owner.run()  # its group is built again, from a ledger that does not know of it yet
        assert await owner.load(Tally, "hot") == Tally(row="hot", count=11)
        assert await owner.parked() == []
        assert await owner.count(Finished) == 2
        assert await owner.ledger.verify() == []


async def test_a_stop_right_after_a_start_forgets_nothing_that_was_begun(tmp_path: Path) -> None:
    line = Line()
    async with board(shopping, tmp_path, line) as (owner, _):
        line.next("charge", "wait")
        await owner.say(Asked(name="x"))
        await owner.restart()
        publishing = asyncio.ensure_future(owner.board.publish(Waved(lane="a", number=1)))
        await ticks()
        await owner.run(draining=True)  # something is committed, nothing begun
        await publishing
        await owner.restart()
        await owner.run()
        assert await owner.verdict("purchase", "x") == "succeeded"


# two compensations of one reaction


clinic = Service("clinic")


@clinic.reaction
async def treat(asked: Asked, line: Line) -> Ready:
    await line.take("treat", asked.name)
    return Ready(name=asked.name, number=0)


@clinic.reaction(compensates=treat, retry=THREE)
async def give_back(withdrawn: Withdrawn, ready: Ready | None, line: Line) -> Answered:
    await line.take("give back", "it" if ready else "nothing")
    return Answered(name=withdrawn.name)


@clinic.reaction(compensates=treat)
async def settle_up(allowed: Allowed, ready: Ready | None, line: Line) -> Finished:
    await line.take("settle up", "it" if ready else "nothing")
    return Finished(name=allowed.name)


care = Choreography(
    "care",
    clinic,
    incoming=Withdrawn | Allowed,
    flows=[Flow("visit", key="name", starts=Asked, succeeds=Finished, timeout=None)],
)


async def test_what_one_compensation_tries_again_another_leaves_to_it(tmp_path: Path) -> None:
    line = Line()
    async with board(care, tmp_path, line) as (owner, _):
        line.next("give back", "fail")
        await owner.say(Asked(name="x"), Withdrawn(name="x"), Allowed(name="x"))
        assert line.made("settle up") == ["nothing"]
        await owner.advance(minutes=1)
        assert line.made("give back") == ["it", "it"]


async def test_what_one_compensation_has_given_up_another_undoes_and_a_replay_does_not_again(tmp_path: Path) -> None:
    line = Line()
    async with board(care, tmp_path, line) as (owner, _):
        line.next("give back", "fail", "fail", "fail")
        await owner.say(Asked(name="x"), Withdrawn(name="x"))
        await owner.advance(minutes=1)
        await owner.advance(minutes=1)
        [letter] = await owner.dead()
        await owner.say(Allowed(name="x"))
        assert line.made("settle up") == ["it"]
        assert await owner.ask(letter, "replay")
        await owner.run()
        assert line.made("give back") == ["it"] * 3
        assert await owner.dead() == []


# taking over


async def test_a_board_that_is_never_at_rest_takes_over_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'file.db'}"
    both = Choreography(
        "both",
        waves,
        desk,
        incoming=Waved | Passed,
        flows=[Flow("question", key="name", starts=Asked, succeeds=Answered, timeout=None)],
    )
    async with AsyncExitStack() as stack:
        first = both.open(url, services=[desk], ports=[Line()])
        await first.__aenter__()
        busy = await stack.enter_async_context(both.open(url, ports=[Line()]))
        assert set(busy.work.tokens) == {"waves"}
        noise = asyncio.create_task(_make_noise(busy))
        try:
            await first.__aexit__(None, None, None)
            flow = await busy.publish(Asked(name="x"))
            done = await flow.completion(timeout=timedelta(seconds=20))
            assert done.succeeded
        finally:
            noise.cancel()
            await asyncio.gather(noise, return_exceptions=True)


async def _make_noise(board: Board) -> None:
    """Something new to do, always."""
    for number in count_from(1):
        await board.publish(Waved(lane="a", number=number))
