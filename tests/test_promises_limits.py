"""What is over a limit is told clearly and stops nobody else; what the machine refuses loses nothing."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from callboard import Choreography, Flow, OutboxFull, Retry, Service, board, event
from callboard.clock import ManualClock
from callboard.errors import LedgerCorrupt, LedgerError
from callboard.hops import limits, turns
from callboard.ids import began_at, child, depth_of, flow_id
from callboard.ledgers.sqlite import SqliteLedger
from tests.support.ledger import ticks
from tests.support.stage import START, Stage
from tests.support.tables import ask, change

ROOT = Path(__file__).parent.parent
ONCE = Retry(max_attempts=1)


@event
class Ping:
    name: str
    turns: int = 0


@event
class Pong:
    name: str
    turns: int = 0


@event(key="line")
class Step:
    line: str
    number: int


@event
class Stepped:
    number: int


@event
class Stopped:
    name: str


game, walk = Service("game"), Service("walk")
DEAD = {0}


@game.reaction(retry=ONCE)
def pong(ping: Ping) -> Pong | None:
    return Pong(name=ping.name, turns=ping.turns) if ping.turns else None


@game.reaction(retry=ONCE)
async def ping(pong: Pong) -> Ping:
    return Ping(name=pong.name, turns=pong.turns - 1)


@walk.reaction(retry=ONCE)
def step(step: Step) -> Stepped:
    if step.number in DEAD:
        raise ValueError("a stone")
    return Stepped(number=step.number)


@walk.reaction
def listen(stepped: Stepped) -> None:
    """Nothing comes of it."""


play = Choreography("play", game, walk, flows=[Flow("game", key="name", starts=Ping, succeeds=Stopped, timeout=None)],
                    incoming=Stopped)  # fmt: skip


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(play, tmp_path / "play.db") as stage:
        yield stage


# depth


def test_how_deep_an_event_lies_stands_in_its_id_however_long_the_chain_is() -> None:
    event_id = flow_id(1_700_000_000_000, 7)
    assert began_at(event_id) == 1_700_000_000_000_000
    for depth in range(200):
        assert depth_of(event_id) == depth
        assert began_at(event_id) == 1_700_000_000_000_000
        assert len(event_id) <= 96
        event_id = child(event_id, "abcd", depth % 3, ("x",) if depth % 2 else ())
    assert began_at("3") == began_at("o-17-of-somebody-elses-making") == 0


async def test_a_loop_ends_in_a_dead_letter_that_names_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEPTH", 40)
    await stage.say(Ping(name="short", turns=15), Ping(name="long", turns=10_000))
    (letter,) = await stage.dead()
    assert "40 reactions have followed each other in this flow" in (letter.error or "")
    assert "game.pong -> game.ping -> game.pong" in (letter.error or "") or "game.ping -> game.pong -> game.ping" in (
        letter.error or ""
    )
    assert letter.attempts == 1
    flow = (await stage.flow("game", "long")).number
    assert 40 <= len(await stage.ledger.flow_entries([flow])) <= 50
    await stage.say(Ping(name="other", turns=2))
    assert len(await stage.dead()) == 1


# lines


async def test_what_is_too_much_behind_a_dead_letter_is_dead_in_order_and_other_lines_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BEHIND", 3)
    for number in range(7):
        await stage.say(Step(line="a", number=number), Step(line="b", number=100 + number))
    assert await stage.count(Stepped) == 7
    rows = await stage.parked()
    assert [row.why for row in rows] == ["dead", "behind", "behind", "behind", "dead", "dead", "dead"]
    assert "a stone" in (rows[0].error or "")
    assert all("3 wait behind the dead letter walk.step@" in (row.error or "") for row in rows[4:])
    DEAD.clear()
    try:
        for row in await stage.dead():
            await stage.ask(row, "replay")
            await stage.run()
    finally:
        DEAD.add(0)
    assert await stage.parked() == []
    told = [stage.work.value(entry) for entry in await stage.ledger.read(0, limit=999) if entry.type == "Stepped"]
    assert [each.number for each in told if each.number < 100] == list(range(7))


async def test_what_waits_for_a_retry_is_parked_however_much_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a dead letter may stay for ever; what is behind a retry goes on by itself."""
    monkeypatch.setattr(turns, "BEHIND", 3)
    row = (await stage.say(Step(line="a", number=0)))[0]
    assert row.is_new
    change(stage.file, "UPDATE parked SET why = 'retry', due = ?", 10**17)
    await stage.restart()
    for number in range(1, 7):
        await stage.say(Step(line="a", number=number))
    assert [row.why for row in await stage.parked()] == ["retry"] + ["behind"] * 6


# queues


async def test_more_publishes_than_may_wait_are_refused_and_those_before_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "WAITING", 5)
    tasks = [asyncio.ensure_future(stage.board.publish(Step(line="b", number=number))) for number in range(1, 6)]
    await ticks()
    with pytest.raises(OutboxFull, match="5 publishes wait for their commit: nothing was published"):
        await stage.board.publish(Step(line="b", number=6))
    await stage.run()
    assert all(task.result().is_new for task in tasks)
    await stage.say(Step(line="b", number=6))
    assert await stage.count(Stepped) == 6


# clocks


class JumpingClock(ManualClock):
    """One that somebody sets back."""

    def __init__(self) -> None:
        super().__init__(START)
        self.back = timedelta(0)

    def now(self) -> datetime:
        return super().now() - self.back


async def test_a_clock_that_goes_back_makes_no_time_go_back_and_no_timer_late(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with Stage(play, tmp_path / "play.db", clock=clock) as stage:
        await stage.say(Ping(name="a"))
        clock.back = timedelta(days=3)
        await stage.say(Ping(name="b", turns=1))
        await stage.restart()
        await stage.say(Ping(name="c", turns=1))
        times = [entry.time for entry in await stage.ledger.read(0, limit=99)]
        assert times == sorted(times)
        assert await stage.verdict("game", "a") is None
        clock.back = timedelta(0)
        await stage.say(Ping(name="d"))
        assert await stage.ledger.verify() == []


# what the disk says


SCRIPT = """
import asyncio, logging, resource, signal, sys
from tests.test_promises_limits import Step, play
from callboard import run

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run._AFTER_ERROR = 0.001

class Telling(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), file=sys.stderr, flush=True)
        self.told.set()

async def main(url):
    async with play.open(url) as board:
        await board.publish(Step(line="b", number=1))
        telling = Telling(logging.ERROR)
        telling.told = asyncio.Event()
        logging.getLogger("callboard").addHandler(telling)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        task = asyncio.ensure_future(board.publish([Step(line="b", number=n) for n in range(2, 500)]))
        async with asyncio.timeout(20):
            await telling.told.wait()
        print("told", task.done(), flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        async with asyncio.timeout(20):
            await task
        print("published", len(task.result()), flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def script(text: str, *arguments: str) -> tuple[int, str, str]:
    """A worker of its own; what it said, and what it complained of."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, complained = await running.communicate()
    return running.returncode or 0, said.decode(), complained.decode()


async def test_a_file_that_may_not_grow_is_told_and_what_waits_is_published_once_it_may(tmp_path: Path) -> None:
    file = tmp_path / "play.db"
    code, said, complained = await script(SCRIPT, f"sqlite:///{file}")
    assert (code, said.split()) == (0, ["told", "False", "published", "498"]), complained
    assert "check the disk; nothing of this commit was kept" in complained or "disk is full" in complained
    ledger = SqliteLedger(f"sqlite:///{file}", read_only=True)
    await ledger.open((), ())
    assert await ledger.verify() == []
    assert len(await ledger.read(0, limit=9999, types=["Step"])) == 499
    await ledger.close()


async def test_a_row_of_the_log_that_nobody_can_read_stops_the_board_and_says_what_to_do(stage: Stage) -> None:
    stage.work.fuse = False
    await stage.publish(Step(line="b", number=1))
    change(stage.file, "UPDATE log SET more = ?", b"\xff\x00garbage")
    with pytest.raises(LedgerCorrupt, match=r"a row of the log cannot be read.*callboard ledger verify"):
        await stage.restart()


async def test_a_board_on_a_file_that_contradicts_itself_stops(tmp_path: Path) -> None:
    file = tmp_path / "play.db"
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=1), Step(line="b", number=2))
        await stage.close()
    change(file, "UPDATE log SET more = ? WHERE pos = 1", b"\xff\x00garbage")
    change(file, "UPDATE reaction SET pos = 0, open = NULL")
    async with play.open(f"sqlite:///{file}") as opened:
        with pytest.raises(LedgerError) as told:
            await opened.until(_never, timedelta(seconds=20), "it goes on")
        assert isinstance(told.value.__cause__, LedgerCorrupt)
        with pytest.raises(LedgerError, match="stopped"):
            await opened.publish(Step(line="b", number=2))


async def _never() -> None:
    return None


async def test_a_payload_that_cannot_be_read_is_a_dead_letter_and_others_go_on(stage: Stage) -> None:
    stage.work.fuse = False
    await stage.publish(Step(line="b", number=1))
    change(stage.file, "UPDATE log SET data = ? WHERE pos = 1", b"{torn")
    await stage.restart()
    await stage.say(Step(line="c", number=2))
    assert [row.pos for row in await stage.dead()] == [1]
    assert ask(stage.file, "SELECT data FROM log WHERE pos = 1") == [(b"{torn",)]
    assert await stage.count(Stepped) == 1


# forks


FORK = """
import asyncio, os, sys
from callboard.errors import LedgerError, LedgerLost
from tests.test_promises_limits import Step, play

async def main(url):
    async with play.open(url) as board:
        await board.publish(Step(line="b", number=1))
        child = os.fork()
        if child == 0:
            try:
                async with board.work.ledger.transaction({}):
                    os._exit(1)
            except LedgerLost as error:
                os._exit(7 if "open a board of its own in the fork" in str(error) else 2)
            os._exit(3)
        _, status = os.waitpid(child, 0)
        print("fork", os.waitstatus_to_exitcode(status), flush=True)
        lingering = os.fork()
        if lingering == 0:
            os.close(1)
            sys.stdin.read()
            os._exit(0)
        await board.publish(Step(line="b", number=2))
    print("closed", flush=True)
    os._exit(0)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_fork_commits_nothing_and_keeps_no_lock_when_its_parent_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "play.db"
    read, write = os.pipe()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORK, f"sqlite:///{file}", cwd=ROOT, stdin=read, stdout=asyncio.subprocess.PIPE
    )
    os.close(read)
    try:
        assert running.stdout is not None
        async with asyncio.timeout(30):
            assert (await running.stdout.readline()).split() == [b"fork", b"7"]
            assert await running.stdout.readline() == b"closed\n"
            assert await running.wait() == 0
        async with play.open(f"sqlite:///{file}") as opened:  # the fork still lives
            assert set(opened.work.tokens) == {"game", "walk"}
            await opened.publish(Step(line="b", number=3))
    finally:
        os.close(write)
    assert ask(file, "SELECT count(*) FROM log WHERE cause = 0") == [(3,)]


# old copies


def put_in_place(copy: Path | None, file: Path) -> None:
    """The ledger is gone but for its locks, and the copy stands where it was."""
    for each in file.parent.glob(f"{file.name}*"):
        if not each.name.endswith(".lock"):
            each.unlink()
    if copy is not None:
        copy.rename(file)


def forget_locks(file: Path) -> None:
    for lock in file.parent.glob("*.lock"):
        lock.unlink()


async def test_an_old_copy_in_the_place_of_the_ledger_is_told_and_used_only_on_purpose(tmp_path: Path) -> None:
    file, backup = tmp_path / "play.db", tmp_path / "backup.db"
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=1))
        await stage.ledger.backup(str(backup))
        await stage.say(Step(line="b", number=2))
        await stage.close()
    put_in_place(backup, file)
    with pytest.raises(LedgerError, match=r"is an old copy: events went to position 4 here, the copy ends at 2"):
        await Stage(play, file).open()
    forget_locks(file)
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=3))
        assert await stage.count(Stepped) == 2


async def test_an_old_copy_is_told_also_after_its_owner_was_killed(tmp_path: Path) -> None:
    file, backup = tmp_path / "play.db", tmp_path / "backup.db"
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=1))
        await stage.ledger.backup(str(backup))
        await stage.restart()
        await stage.say(Step(line="b", number=2))
        await stage.crash()
    put_in_place(backup, file)
    with pytest.raises(LedgerError, match="is an old copy"):
        await Stage(play, file).open()


async def test_another_ledger_in_the_place_of_one_is_no_old_copy(tmp_path: Path) -> None:
    file = tmp_path / "play.db"
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=1))
        await stage.close()
    put_in_place(None, file)
    async with Stage(play, file) as stage:
        await stage.say(Step(line="b", number=1))
        assert await stage.count(Stepped) == 1


def shown() -> list[Any]:
    return [limits.PAYLOAD, limits.FAN_OUT, limits.DEPTH, limits.BEHIND, limits.WAITING]


def test_every_limit_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "limits.md").read_text("utf-8")
    for limit in shown():
        assert f"{limit:,}" in page or f"{limit // 1024 // 1024} MiB" in page
