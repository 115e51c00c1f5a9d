"""Promise 1: what publish has said is there; what it has not said may be repeated; what a disk refuses is told."""

import asyncio
import logging
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from callboard import Choreography, Flow, KeyReused, LedgerBusy, LedgerError, Service, event, run, state
from callboard.hops.react import react
from callboard.ledgers import sqlite
from callboard.ledgers.sqlite_locks import refuse_network_file_system
from tests.support.ledger import Crash, crash, disk_full, ticks
from tests.support.stage import Stage
from tests.support.tables import contents, logged
from tests.support.workers import a_worker


@event
class LetterWritten:
    letter_id: str
    text: str = ""


@event
class LetterFiled:
    letter_id: str


@state(key="letter_id")
class Drawer:
    letter_id: str
    letters: int = 0


office = Service("office")


@office.reaction
def file(letter: LetterWritten, drawer: Drawer) -> LetterFiled:
    drawer.letters += 1
    return LetterFiled(letter_id=letter.letter_id)


post = Choreography(
    "post", office, flows=[Flow("letter", key="letter_id", starts=LetterWritten, succeeds=LetterFiled, timeout=None)]
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(post, tmp_path / "post.db") as stage:
        yield stage


async def begun(stage: Stage, letter_id: str, **options: Any) -> "asyncio.Task[Any]":
    """A call of publish that waits for its commit."""
    task = asyncio.ensure_future(stage.board.publish(LetterWritten(letter_id=letter_id), **options))
    await ticks()
    return task


# publish


async def test_an_event_is_there_once_publish_has_returned_though_the_worker_is_killed_at_once(tmp_path: Path) -> None:
    async with a_worker("publish", tmp_path / "counter.db") as worker:
        assert await worker.ends() == -signal.SIGKILL
    assert logged(tmp_path / "counter.db", "Asked") == 1


async def test_publish_returns_only_when_its_commit_is_done(stage: Stage) -> None:
    task = await begun(stage, "one")
    said: list[bool] = []

    async def look() -> None:
        await ticks()
        said.append(task.done())

    stage.ledger.before.append(look)
    stage.ledger.at_end.append(look)
    await stage.group()
    assert said == [False, False]
    assert task.done()
    assert logged(stage.file, "LetterWritten") == 1


async def test_a_commit_counts_only_when_it_is_on_the_disk(tmp_path: Path) -> None:
    async with post.open(f"sqlite:///{tmp_path / 'post.db'}") as board:
        ledger: Any = board.work.ledger
        full = 2
        assert ledger._one("PRAGMA synchronous") == full
        assert ledger._all("PRAGMA journal_mode", ()) == [("wal",)]


async def test_a_publish_cancelled_before_its_commit_can_be_repeated_with_its_key(stage: Stage) -> None:
    task = await begun(stage, "one", idempotency_key="k")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = await stage.publish(LetterWritten(letter_id="one"), idempotency_key="k")
    await stage.run()
    assert await stage.count(LetterWritten) == 1
    assert (await again.row()).verdict == "succeeded"


async def test_a_publish_cancelled_in_its_commit_can_be_repeated_with_its_key(stage: Stage) -> None:
    task = await begun(stage, "one", idempotency_key="k")
    stage.ledger.at_end.append(task.cancel)
    await stage.group()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    again = await stage.publish(LetterWritten(letter_id="one"), idempotency_key="k")
    await stage.run()
    assert not again.is_new
    assert await stage.count(LetterWritten) == 1


async def test_a_key_survives_the_death_of_the_owner(stage: Stage) -> None:
    first = await stage.publish(LetterWritten(letter_id="one"), idempotency_key="k")
    await stage.restart()
    again = await stage.publish(LetterWritten(letter_id="one"), idempotency_key="k")
    assert (again.id, again.is_new) == (first.id, False)
    assert await stage.count(LetterWritten) == 1


async def test_a_key_that_was_used_for_another_event_is_refused(stage: Stage) -> None:
    await stage.publish(LetterWritten(letter_id="one"), idempotency_key="k")
    with pytest.raises(KeyReused):
        await stage.publish(LetterWritten(letter_id="two"), idempotency_key="k")
    assert await stage.count(LetterWritten) == 1


async def test_two_calls_with_one_key_in_one_group_are_one_event(stage: Stage) -> None:
    first, second = await begun(stage, "one", idempotency_key="k"), await begun(stage, "one", idempotency_key="k")
    await stage.run()
    assert (first.result().id, first.result().is_new) == (second.result().id, True)
    assert not second.result().is_new
    assert await stage.count(LetterWritten) == 1


async def test_of_events_published_together_all_are_there_or_none(stage: Stage) -> None:
    before = contents(stage.file)
    both = [LetterWritten(letter_id="one"), LetterWritten(letter_id="two")]
    stage.ledger.at_end.append(crash)
    with pytest.raises(Crash):
        await stage.publish(both)
    assert contents(stage.file) == before
    await stage.restart()
    await stage.publish(both)
    assert await stage.count(LetterWritten) == 2


async def test_a_board_that_publishes_many_keeps_their_order(stage: Stage) -> None:
    many = [LetterWritten(letter_id=f"l{number}") for number in (3, 1, 2)]
    tasks = [asyncio.ensure_future(stage.board.publish(each)) for each in (many, LetterWritten(letter_id="last"))]
    await stage.run()
    await asyncio.gather(*tasks)
    written = [each for each in await stage.ledger.read(0, limit=99) if each.type == "LetterWritten"]
    assert [stage.work.value(each).letter_id for each in written] == ["l3", "l1", "l2", "last"]


async def test_who_waits_for_the_lock_of_the_file_holds_up_nothing_else(stage: Stage) -> None:
    task = await begun(stage, "one")
    with sqlite3.connect(stage.file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert stage.ledger.rows("PRAGMA busy_timeout") == [(0,)]  # nothing waits inside of SQLite
        for _ in range(3):
            with pytest.raises(LedgerBusy):
                await stage.group()
        assert not task.done()
        other.execute("ROLLBACK")
    other.close()
    await stage.run()
    assert (await task).is_new


# a commit that fails


@pytest.mark.parametrize("moment", ["before", "at_end"])
async def test_nothing_of_a_group_is_there_when_its_commit_fails_and_all_of_it_after_the_next(
    stage: Stage, moment: str
) -> None:
    await stage.publish(LetterWritten(letter_id="one"))
    before = contents(stage.file)
    task = await begun(stage, "two")
    getattr(stage.ledger, moment).append(disk_full)
    with pytest.raises(LedgerError, match="full"):
        await stage.group()
    assert contents(stage.file) == before
    assert not task.done()
    await stage.run()
    assert task.done()
    assert sorted(await stage.log()) == ["LetterFiled", "LetterFiled", "LetterWritten", "LetterWritten"]
    for letter in ("one", "two"):
        assert await stage.load(Drawer, letter) == Drawer(letter_id=letter, letters=1)


@pytest.mark.parametrize("moment", ["before", "at_end", "after"])
async def test_whenever_the_owner_dies_around_a_commit_everything_happens_once(stage: Stage, moment: str) -> None:
    await stage.publish(LetterWritten(letter_id="one"))
    stage.clock.advance(timedelta(seconds=1))  # positions alone wait so long for a commit that takes them along
    getattr(stage.ledger, moment).append(crash)
    with pytest.raises(Crash):
        await stage.run()
    await stage.restart()
    await stage.run()
    assert await stage.log() == ["LetterWritten", "LetterFiled"]
    assert await stage.load(Drawer, "one") == Drawer(letter_id="one", letters=1)


# disks


def pages(stage: Stage) -> int:
    return int(stage.ledger.rows("PRAGMA page_count")[0][0])


async def test_a_full_disk_is_told_nothing_is_lost_and_work_goes_on_when_there_is_room(stage: Stage) -> None:
    await stage.say(LetterWritten(letter_id="first"))
    before = contents(stage.file)
    stage.ledger.rows(f"PRAGMA max_page_count = {pages(stage)}")
    letters = [LetterWritten(letter_id=f"l{number}", text="x" * 4000) for number in range(8)]
    tasks = [asyncio.ensure_future(stage.board.publish(letter)) for letter in letters]
    await ticks()
    for _ in range(3):
        with pytest.raises(LedgerError, match=r"disk is full: free some space; nothing was committed"):
            await react(stage.work)
    assert contents(stage.file) == before
    assert not any(task.done() for task in tasks)
    stage.ledger.rows("PRAGMA max_page_count = 100000")
    await stage.run()
    assert all(task.result().is_new for task in tasks)
    assert await stage.count(LetterFiled) == len(letters) + 1
    assert await stage.ledger.verify() == []


async def test_an_io_error_is_told_nothing_is_lost_and_work_goes_on_when_the_disk_is_well(stage: Stage) -> None:
    await stage.say(LetterWritten(letter_id="first"))
    before = contents(stage.file)
    task = await begun(stage, "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))  # the kernel refuses each write, as that of a failing disk
    try:
        for _ in range(3):
            with pytest.raises(LedgerError, match="disk I/O error: check the disk; nothing of this commit was kept"):
                await react(stage.work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(stage.file) == before
    assert not task.done()
    await stage.run()
    assert task.result().is_new
    assert await stage.count(LetterFiled) == 2
    assert await stage.ledger.verify() == []


async def test_a_full_disk_is_logged_and_the_board_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "_AFTER_ERROR", 0.001)
    told = asyncio.Event()

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    async with post.open(f"sqlite:///{tmp_path / 'post.db'}") as board:
        ledger: Any = board.work.ledger
        ledger._all(f"PRAGMA max_page_count = {ledger._one('PRAGMA page_count')}", ())
        telling = Telling(logging.ERROR)
        logging.getLogger("callboard").addHandler(telling)
        try:
            task = asyncio.ensure_future(board.publish(LetterWritten(letter_id="big", text="x" * 40_000)))
            async with asyncio.timeout(10):
                await told.wait()
            assert "disk is full" in caplog.text
            assert not task.done()
            ledger._all("PRAGMA max_page_count = 100000", ())
            async with asyncio.timeout(10):
                await (await task).completion()
        finally:
            logging.getLogger("callboard").removeHandler(telling)


async def test_a_file_that_became_read_only_is_told_and_nothing_is_lost(stage: Stage) -> None:
    stage.ledger.rows("PRAGMA query_only = 1")
    task = await begun(stage, "one")
    with pytest.raises(LedgerError, match=r"readonly database: make the file and its folder writable"):
        await react(stage.work)
    assert not task.done()
    stage.ledger.rows("PRAGMA query_only = 0")
    await stage.run()
    assert (await task.result().row()).verdict == "succeeded"


async def test_a_read_only_file_is_told_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "post.db"
    async with post.open(f"sqlite:///{file}"):
        pass
    connect = sqlite3.connect

    def as_the_disk_allows(path: str, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, **options)
        return db

    monkeypatch.setattr(sqlite3, "connect", as_the_disk_allows)
    with pytest.raises(LedgerError, match=r"readonly database: make the file and its folder writable"):
        async with post.open(f"sqlite:///{file}"):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever may write everywhere is refused nowhere")
async def test_a_file_without_the_right_to_write_is_told_when_it_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "post.db"
    async with post.open(f"sqlite:///{file}"):
        pass
    file.chmod(0o400)
    with pytest.raises(LedgerError, match="writable"):
        async with post.open(f"sqlite:///{file}"):
            pass


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"check that the folder exists and is writable"):
        async with post.open(f"sqlite:///{tmp_path / 'nowhere' / 'post.db'}"):
            pass


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
async def test_a_network_file_system_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    table = tmp_path / "mounts"
    (tmp_path / "far").mkdir()
    table.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path}/far {kind} rw 0 0\n")
    refuse: Callable[[Path], None] = partial(refuse_network_file_system, mount_table=table)
    monkeypatch.setattr(sqlite, "refuse_network_file_system", refuse)
    with pytest.raises(LedgerError, match=rf"network file system \({kind}\).*use a local disk, or Postgres"):
        async with post.open(f"sqlite:///{tmp_path / 'far' / 'post.db'}"):
            pass
    assert not (tmp_path / "far" / "post.db").exists()
    async with post.open(f"sqlite:///{tmp_path / 'post.db'}"):
        assert (tmp_path / "post.db").exists()
