"""What changes from one build to the next: names, reactions, shapes of state, and the layout of the ledger itself."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from callboard import Choreography, Context, Flow, LedgerError, ReactionFailed, Retry, Service, States, event, state
from callboard.clock import ManualClock
from callboard.ledgers import sqlite, sqlite_upkeep
from callboard.ledgers.sqlite import SqliteLedger
from callboard.ledgers.sqlite_layout import LAYOUT
from tests.support.desk import Clerk, Desk
from tests.support.outside import Outside
from tests.support.stage import START, Stage
from tests.support.tables import ask, change, logged
from tests.support.workers import Asked, Till, a_worker, shop

TEN = timedelta(seconds=10)
SEEDS = count(100, 100)  # two stages of one moment begin flows of their own
SLOWLY = Retry(max_attempts=3, first_wait=timedelta(minutes=1), jitter=0)


@event
class Wanted:
    key: str


@event
class Taken:
    key: str


@event
class Reminded:
    key: str


@event
class Undone:
    key: str


class Build:
    """One build of a choreography: what its reactions are called, and whether one is gone or new."""

    def __init__(
        self, name: str = "take", was: str | None = None, *, without: bool = False, noting: bool = False
    ) -> None:
        self.store, self.shelf = Service("store"), Service("shelf")
        self.keys: list[str] = []
        self.noted: list[str] = []
        if not without:
            self._write(name, was)

        @self.shelf.reaction
        def put(taken: Taken) -> None:
            """Nothing comes of it."""

        if noting:

            @self.shelf.reaction
            def note(wanted: Wanted) -> None:
                self.noted.append(wanted.key)

            @self.shelf.reaction(since="beginning")
            def learn(wanted: Wanted) -> None:
                self.noted.append(f"learned {wanted.key}")

        flow = Flow("want", key="key", starts=Wanted, succeeds=Reminded, fails=Undone, timeout=None, home=self.shelf)
        incoming = Taken | Reminded | Undone if without else None
        self.choreography = Choreography("store", self.store, self.shelf, flows=[flow], incoming=incoming)

    def _write(self, name: str, was: str | None) -> None:
        async def take(wanted: Wanted, desk: Desk, ctx: Context) -> Taken:
            self.keys.append(ctx.idempotency_key())
            await desk.take(wanted.key)
            return Taken(key=wanted.key)

        take.__name__ = name
        self.store.reaction(was=was, retry=SLOWLY)(take)

        def remind(taken: Taken) -> Reminded:
            return Reminded(key=taken.key)

        remind.__name__ = f"remind_of_{name}"
        self.store.reaction(wait=timedelta(minutes=30), was=was and f"remind_of_{was}")(remind)

        async def undo(failed: ReactionFailed[Wanted], desk: Desk, ctx: Context) -> Undone:
            self.keys.append(ctx.key_of(take))
            return Undone(key=failed.event.key)

        undo.__name__ = f"undo_{name}"
        self.store.reaction(was=was and f"undo_{was}")(undo)

    def on(self, file: Path, outside: Outside, clock: ManualClock, **more: Any) -> Stage:
        ports = [Clerk(outside)] if Desk in self.choreography.ports else []
        return Stage(self.choreography, file, ports=ports, clock=clock, seed=next(SEEDS), **more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


# names


async def test_a_renamed_reaction_goes_on_with_its_retry_under_the_id_and_the_key_it_had(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    builds = [Build("take"), Build("fetch", "take"), Build("grab", "fetch")]
    outside.next("take", "lose", "lose", "answer")
    for step, build in enumerate(builds):
        async with build.on(file, outside, clock) as stage:
            if step == 0:
                await stage.say(Wanted(key="a"))
            else:
                await stage.advance(minutes=10)
            await stage.close()
    (key,) = {key for build in builds for key in build.keys}
    assert key
    assert [len(build.keys) for build in builds] == [1, 1, 1]
    assert ask(file, "SELECT name FROM name WHERE number = (SELECT by FROM log WHERE pos = 2)") == [("store.grab",)]
    assert ask(file, "SELECT DISTINCT reaction FROM note") == [("store.grab",)]
    never_renamed = tmp_of(file, "other.db")
    outside = Outside()
    async with Build().on(never_renamed, outside, ManualClock(START)) as stage:
        await stage.say(Wanted(key="a"))
        tails = [entry.id[26:] for entry in await stage.ledger.read(0, limit=9)]
    assert [row[0][26:] for row in ask(file, "SELECT id FROM log ORDER BY pos")] == tails


def tmp_of(file: Path, name: str) -> Path:
    return file.with_name(name)


async def test_a_renamed_timer_fires_once_also_if_it_had_fired_and_was_not_handled(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    async with Build("take").on(file, outside, clock) as stage:
        await stage.say(Wanted(key="armed"))
        clock.advance(timedelta(minutes=29))
        await stage.say(Wanted(key="later"))
        clock.advance(timedelta(minutes=1))
        stage.work.fuse = False
        await stage.groups_until(lambda: fired(stage))
        await stage.crash()
    async with Build("fetch", "take").on(file, outside, clock) as stage:
        await stage.run()
        assert await stage.count(Reminded) == 1
        await stage.advance(hours=1)
        assert await stage.count(Reminded) == 2
        assert await stage.parked() == []


async def fired(stage: Stage) -> bool:
    return any(kind.startswith("callboard.Timer") for kind in await stage.log())


async def test_the_name_of_a_renamed_reaction_may_be_used_again_and_takes_nothing_of_it(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    tags: set[str] = set()
    for build in (Build("take"), Build("fetch", "take"), Build("take", "other")):
        async with build.on(file, outside, clock) as stage:
            await stage.say(Wanted(key=build.choreography.services["store"].reactions[0].name))
            tags |= {reader.tag for path, reader in stage.work.readers.items() if path in ("store.take", "store.fetch")}
            await stage.close()
        if "fetch" in str(build.choreography.contracts):
            change(file, "DELETE FROM parked")  # else the timers of the old name hold the next build up
    assert len(tags) == 2
    assert len(set(outside.made("take"))) == 2


async def test_a_rename_waits_for_the_worker_of_the_older_build(file: Path) -> None:
    """A standby of the new build changes nothing while the old one runs, and carries all over when it is gone."""
    outside, clock = Outside(), ManualClock(START)
    old, new = Build("take"), Build("fetch", "take")
    outside.next("take", "lose")
    async with old.on(file, outside, clock) as owner, new.on(file, outside, clock) as standby:
        assert standby.work.tokens == {}
        await owner.say(Wanted(key="a"))
        assert [row.reaction for row in await owner.parked()] == ["store.take"]
        await owner.advance(minutes=1)
        assert await owner.count(Taken) == 1
        await owner.say(Wanted(key="b"))
        await owner.crash()
        await standby.stand_by()
        await standby.advance(minutes=30)
        assert await standby.count(Reminded) == 2
        assert await standby.parked() == []
    assert len(set(old.keys)) == 2
    assert new.keys == []


# removed and added


async def test_a_reaction_that_is_gone_and_has_something_left_refuses_to_start(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    outside.next("take", "fail")
    async with Build().on(file, outside, clock) as stage:
        await stage.say(Wanted(key="a"))
        await stage.close()
    gone = Build(without=True)
    with pytest.raises(LedgerError, match=r"store.take is not in the code any more and has 1 deliveries.*was='take'"):
        await gone.on(file, outside, clock).open()
    assert [row.why for row in await parked(file)] == ["retry"]


async def test_a_start_that_was_refused_can_be_repaired_as_it_says(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    outside.next("take", "fail")
    async with Build().on(file, outside, clock) as stage:
        await stage.say(Wanted(key="a"))
        await stage.close()
    with pytest.raises(LedgerError, match="is not in the code any more"):
        await Build("fetch").on(file, outside, clock).open()  # by now the ledger has heard of the new name
    async with Build("fetch", "take").on(file, outside, clock) as stage:
        await stage.advance(minutes=10)
        assert await stage.count(Taken) == 1
        assert await stage.parked("retry") == []


async def test_what_a_reaction_that_is_gone_has_not_come_to_counts_too(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    async with Build().on(file, outside, clock) as stage:
        await stage.publish(Wanted(key="a"))  # nobody has handled it
        await stage.crash()
    with pytest.raises(LedgerError, match=r"store.take is not in the code any more and has 1 deliveries"):
        await Build(without=True).on(file, outside, clock).open()


async def parked(file: Path) -> list[Any]:
    ledger = SqliteLedger(f"sqlite:///{file}", read_only=True)
    await ledger.open((), ())
    try:
        return list(await ledger.parked())
    finally:
        await ledger.close()


async def test_a_reaction_that_is_gone_with_nothing_left_is_retired_and_holds_nothing_back(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    async with Build(noting=True).on(file, outside, clock) as stage:
        await stage.run()
        await stage.close()
    async with Build().on(file, outside, clock) as stage:
        live = {position.reaction for position in await stage.ledger.positions() if position.live}
        assert "shelf.note" not in live
        await stage.say(Wanted(key="between"))
        await stage.close()
    again = Build(noting=True)
    async with again.on(file, outside, clock) as stage:
        await stage.say(Wanted(key="after"))
    assert again.noted.count("between") == 0
    assert again.noted.count("after") == 1


async def test_a_new_reaction_starts_from_now_or_from_the_beginning_as_it_says(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    async with Build().on(file, outside, clock) as stage:
        await stage.say(Wanted(key="before"))
        await stage.close()
    build = Build(noting=True)
    async with build.on(file, outside, clock) as stage:
        await stage.say(Wanted(key="after"))
    assert sorted(build.noted) == ["after", "learned after", "learned before"]


# names of events and states


async def test_a_renamed_event_and_a_renamed_state_keep_their_names_in_the_ledger(file: Path) -> None:
    def build(*, newer: bool) -> tuple[Choreography, type[Any], type[Any]]:
        service = Service("store")
        if newer:

            @event(type="Counted")
            class Tallied:
                name: str

            @state(key="name", name="Total")
            class Sum:
                name: str
                number: int = 0

            kind: type[Any] = Tallied
            rows: type[Any] = Sum
        else:

            @event
            class Counted:
                name: str

            @state(key="name")
            class Total:
                name: str
                number: int = 0

            kind, rows = Counted, Total

        def count(counted: Any, total: Any) -> None:
            total.number += 1

        count.__annotations__ = {"counted": kind, "total": rows, "return": None}
        service.reaction(count)
        flow = Flow("tally", key="name", starts=kind, succeeds=kind, timeout=None)
        return Choreography("store", service, flows=[flow]), kind, rows

    clock = ManualClock(START)
    choreography, kind, _ = build(newer=False)
    async with Stage(choreography, file, clock=clock) as stage:
        await stage.publish(kind(name="a"))
        await stage.crash()
    choreography, kind, rows = build(newer=True)
    async with Stage(choreography, file, clock=clock) as stage:
        await stage.run()
        total = cast("Any", await stage.board.load(rows, "a"))
        assert total.number == 1
        assert not (await stage.publish(kind(name="a"))).is_new


# shapes of state


@event
class Moved:
    sku: str
    by: int = 1


@event
class Sorted:
    sku: str


def shelves(shape: int) -> tuple[Choreography, type[Any]]:
    service = Service("shelves")
    if shape == 1:

        @state(key="sku", name="Shelf")
        class Shelf:
            sku: str
            free: int = 0

        rows: type[Any] = Shelf
    else:

        @state(key="sku", name="Shelf", shape=2, upcast=lambda old: {**old, "held": 5})
        class Wider:
            sku: str
            free: int = 0
            held: int = 0

        rows = Wider

    def move(moved: Moved, shelf: Any) -> Sorted:
        shelf.free += moved.by
        return Sorted(sku=moved.sku)

    async def look(sorted_: Sorted, shelves: Any) -> None:
        shelf = await shelves.get(sorted_.sku)
        assert shelf is not None

    def replace(sorted_: Sorted, shelves: Any) -> None:
        shelves.put(rows(sku=f"{sorted_.sku}-copy", free=1))

    move.__annotations__ = {"moved": Moved, "shelf": rows, "return": Sorted}
    look.__annotations__ = {"sorted_": Sorted, "shelves": cast("Any", States)[rows], "return": None}
    replace.__annotations__ = {"sorted_": Sorted, "shelves": cast("Any", States)[rows], "return": None}
    for function in (move, look, replace):
        service.reaction(retry=Retry(max_attempts=1))(cast("Any", function))
    flow = Flow("move", key="sku", starts=Moved, succeeds=Sorted, timeout=None)
    return Choreography("shelves", service, flows=[flow]), rows


async def test_a_row_of_an_older_shape_is_lifted_and_saved_in_the_new_one(file: Path) -> None:
    old, _ = shelves(1)
    async with Stage(old, file) as stage:
        await stage.say(Moved(sku="a"))
        await stage.close()
    change(file, "DELETE FROM flow")
    new, rows = shelves(2)
    async with Stage(new, file) as stage:
        await stage.say(Moved(sku="a", by=2))
        shelf = cast("Any", await stage.board.load(rows, "a"))
        assert (shelf.free, shelf.held) == (3, 5)
    assert ask(file, "SELECT shape FROM state_Shelf WHERE key = 'a'") == [(2,)]


async def test_what_meets_a_row_of_a_newer_shape_waits_for_a_build_that_reads_it_and_never_overwrites_it(
    file: Path,
) -> None:
    new, rows = shelves(2)
    async with Stage(new, file) as stage:
        await stage.put(
            stage.choreography.services["shelves"], rows(sku="a", free=7, held=9), rows(sku="a-copy", held=4)
        )
        await stage.close()
    before = ask(file, "SELECT * FROM state_Shelf ORDER BY key")
    old, older = shelves(1)
    async with Stage(old, file) as stage:
        await stage.say(Moved(sku="a"))
        assert [(row.why, row.attempts) for row in await stage.parked()] == [("waiting", 0)]
        assert "a newer build that reads Shelf in shape 2" in ((await stage.parked())[0].missing or "")
        with pytest.raises(Exception, match="shape 2, this build reads 1"):
            await stage.board.load(older, "a")
        with pytest.raises(Exception, match="shape 2, this build reads 1"):
            await stage.put(stage.choreography.services["shelves"], older(sku="a", free=0))
        change(file, "UPDATE state_Shelf SET shape = 1, data = ? WHERE key = 'a'", b'{"sku":"a","free":7}')
        await stage.restart()
        await stage.run()
        assert await stage.count(Sorted) == 1
        waiting = {row.reaction: (row.why, row.attempts) for row in await stage.parked()}
        assert waiting == {"shelves.replace": ("waiting", 0)}
        await stage.close()
    assert ask(file, "SELECT * FROM state_Shelf WHERE key = 'a-copy'") == before[1:]
    async with Stage(new, file) as stage:
        await stage.run()
        assert await stage.parked() == []
    assert ask(file, "SELECT shape FROM state_Shelf ORDER BY key") == [(1,), (2,)]


async def test_a_row_of_a_newer_shape_that_is_got_by_its_key_is_waited_for_too(file: Path) -> None:
    old, _ = shelves(1)
    async with Stage(old, file) as stage:
        stage.work.fuse = False
        await stage.publish(Moved(sku="a"))
        await stage.groups_until(lambda: stage.count(Sorted))
        await stage.crash()
    change(file, "UPDATE state_Shelf SET shape = 2")
    async with Stage(old, file) as stage:
        await stage.run()
        assert {row.reaction: (row.why, row.attempts) for row in await stage.parked()} == {
            "shelves.look": ("waiting", 0)
        }


# the layout


def older(file: Path) -> None:
    """The ledger as a callboard of layout 1 has left it."""
    with closing(sqlite3.connect(file)) as db, db:
        for index in ("supplied_pos", "supplied_gone"):
            db.execute(f"DROP INDEX {index}")
        for table, column in (("ledger", "pruned_to"), ("ledger", "prunes"), ("supplied", "gone"),
                              ("reaction", "hears"), ("reaction", "first"),
                              ("reaction", "paused"), ("reaction", "by")):  # fmt: skip
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("DROP TABLE hearer")
        db.execute("PRAGMA user_version = 1")


def schema(file: Path) -> list[Any]:
    tables = [name for (name,) in ask(file, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    columns = [(name, ask(file, f"PRAGMA table_info('{name}')")) for name in tables]
    return [columns, ask(file, "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name")]


async def test_an_older_layout_is_migrated_with_everything_in_it(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    outside.next("take", "fail")
    async with Build().on(file, outside, clock) as stage:
        await stage.publish(Wanted(key="a"), idempotency_key="k")
        await stage.run()
        await stage.close()
    fresh, log = schema(file), ask(file, "SELECT * FROM log")
    older(file)
    async with Build().on(file, outside, clock) as stage:
        assert schema(file) == fresh
        assert ask(file, "SELECT * FROM log") == log
        assert not (await stage.publish(Wanted(key="a"), idempotency_key="k")).is_new
        await stage.advance(minutes=1)
        await stage.advance(hours=1)
        assert await stage.count(Reminded) == 1
        assert await stage.ledger.verify() == []


async def test_a_migration_that_is_cut_off_has_never_begun(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Build().on(file, Outside(), ManualClock(START)) as stage:
        await stage.close()
    older(file)
    before = schema(file)
    copy = shutil.copy(file, file.with_name("copy.db"))
    with closing(sqlite3.connect(copy)) as db:
        db.execute("CREATE TABLE x (y)")
        db.execute("CREATE INDEX supplied_gone ON x (y)")  # the last steps fail
    with pytest.raises(LedgerError):
        await Build().on(Path(copy), Outside(), ManualClock(START)).open()
    found = schema(Path(copy))
    assert [each for each in found[0] if each[0] != "x"] == before[0]
    assert ask(Path(copy), "PRAGMA user_version") == [(1,)]


async def test_a_layout_that_only_a_newer_callboard_knows_is_refused(file: Path) -> None:
    async with Build().on(file, Outside(), ManualClock(START)) as stage:
        await stage.close()
    change(file, "PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="its layout is 99, this callboard knows layout 2: run the version"):
        await Build().on(file, Outside(), ManualClock(START)).open()


class Quiet(Till):
    def __init__(self) -> None:
        self.rang: list[tuple[str, str]] = []

    async def ring(self, name: str, *, key: str) -> None:
        self.rang.append((name, key))


async def test_a_worker_under_which_the_ledger_was_migrated_stops_and_commits_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is of this callboard; the ledger is migrated under it by one that knows a further layout."""
    async with a_worker("last", file) as worker:
        assert await worker.says() == "owns counter"
        for module in (sqlite, sqlite_upkeep):
            monkeypatch.setattr(module, "LAYOUT", LAYOUT + 1)
        further = {LAYOUT: "ALTER TABLE ledger ADD COLUMN further INTEGER"}
        monkeypatch.setattr(sqlite_upkeep, "MIGRATIONS", further)
        quiet = Quiet()
        async with shop.open(f"sqlite:///{file}", services=[]) as publisher:
            flow = await publisher.publish(Asked(name="late"))
            rang, name, key = (await worker.says()).split()
            assert (rang, name) == ("rang", "late")
            assert f"a newer callboard migrated it to layout {LAYOUT + 1}: restart" in await worker.says()
            assert await worker.ends() == 3
            assert logged(file, "Answered") == 0
            async with shop.open(f"sqlite:///{file}", ports=[quiet]):
                done = await flow.completion(TEN)
        assert done.succeeded
        assert quiet.rang == [("late", key)]
    assert logged(file, "Answered") == 1


# two builds at once


async def test_two_builds_of_a_choreography_run_side_by_side_each_its_services(file: Path) -> None:
    outside, clock = Outside(), ManualClock(START)
    old, new = Build(), Build(noting=True)
    async with (
        old.on(file, outside, clock, services=[old.store]) as one,
        new.on(file, outside, clock, services=[new.shelf]) as other,
    ):
        for number in range(5):
            await one.publish(Wanted(key=str(number)))
            await one.run()
            await other.run()
        clock.advance(timedelta(minutes=31))
        await one.run()
        await other.run()
        assert await other.count(Reminded) == 5
        for number in range(5):
            assert await other.verdict("want", str(number)) == "succeeded"
    assert sorted(each for each in new.noted if " " not in each) == [str(number) for number in range(5)]


async def test_two_builds_of_one_service_never_run_it_at_once_and_the_newer_goes_on_where_the_older_stood(
    file: Path,
) -> None:
    outside, clock = Outside(), ManualClock(START)
    old, new = Build(), Build(noting=True)
    async with old.on(file, outside, clock) as owner, new.on(file, outside, clock) as standby:
        outside.next("take", "fail")
        await owner.say(Wanted(key="a"))
        await standby.publish(Wanted(key="b"))
        await standby.run()
        assert (standby.work.tokens, new.noted, new.keys) == ({}, [], [])
        await owner.run()
        await owner.crash()
        await standby.stand_by()
        await standby.publish(Wanted(key="c"))
        await standby.run()
        await standby.advance(minutes=31)
        await standby.advance(minutes=31)
        assert await standby.count(Taken) == 3
        assert await standby.count(Reminded) == 3
        assert await standby.parked() == []
        assert len(set(old.keys + new.keys)) == 3
        assert sorted(each for each in new.noted if " " not in each) == ["a", "b", "c"]  # it was known before they were
