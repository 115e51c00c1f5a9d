"""`ctx.transaction`: SQL of a reaction commits with its run, or not at all, and touches nothing of callboard's."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import (
    Choreography,
    Context,
    Flow,
    LedgerError,
    Retry,
    Service,
    TransactionRefused,
    event,
    failure,
    port,
    state,
)
from callboard.hops.react import react
from tests.support.ledger import Crash, busy, crash, disk_full, ticks
from tests.support.stage import Stage

TEN = timedelta(seconds=10)
TABLE = "CREATE TABLE IF NOT EXISTS booking (order_id TEXT, cents INTEGER)"


@event
class Paid:
    order_id: str
    cents: int = 100


@event
class Booked:
    order_id: str
    rows: int = 0


@failure
class Objected:
    order_id: str


@event
class Struck:
    order_id: str


@event(key="name")
class Rang:
    name: str


@event(key="name")
class Heard:
    name: str


@state(key="order_id")
class Page:
    order_id: str
    lines: int = 0


@port
class Teller(Protocol):
    async def ask(self) -> None: ...


class Book:
    """What `book` does in the next runs, after it has written its row; and how often it ran."""

    def __init__(self) -> None:
        self.runs = 0
        self.next: list[Callable[[Any], object]] = []

    def turn(self, transaction: Any) -> None:
        self.runs += 1
        if self.next:
            self.next.pop(0)(transaction)


def fails(_: object) -> None:
    raise ConnectionError("as the test has it")


def company(book: Book, retry: Retry | None = None) -> Choreography:
    books, bells = Service("books"), Service("bells")

    @books.reaction(retry=retry or Retry(max_attempts=3, first_wait=timedelta(seconds=1), jitter=0))
    def enter(paid: Paid, page: Page, ctx: Context) -> Booked:
        page.lines += 1
        ctx.transaction.execute(TABLE)
        ctx.transaction.execute("INSERT INTO booking VALUES (?, ?)", (paid.order_id, paid.cents))
        book.turn(ctx.transaction)
        ((rows,),) = ctx.transaction.execute("SELECT count(*) FROM booking")
        return Booked(order_id=paid.order_id, rows=rows)

    @books.reaction(compensates=enter)
    def strike(why: Objected, booked: Booked, ctx: Context) -> Struck:
        ctx.transaction.execute("DELETE FROM booking WHERE order_id = ?", (booked.order_id,))
        book.turn(ctx.transaction)
        return Struck(order_id=why.order_id)

    @bells.reaction
    def hear(rang: Rang) -> Heard:
        return Heard(name=rang.name)

    return Choreography(
        "company",
        books,
        bells,
        incoming=Objected | Rang,
        flows=[Flow("order", key="order_id", starts=Paid, succeeds=Booked, fails=Struck, timeout=None)],
    )


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def stage(tmp_path: Path, book: Book) -> AsyncIterator[Stage]:
    async with Stage(company(book), tmp_path / "books.db") as stage:
        yield stage


def bookings(stage: Stage) -> list[tuple[str, int]]:
    """What the file holds, as somebody else reads it."""
    with sqlite3.connect(stage.file) as other:
        if not other.execute("SELECT 1 FROM sqlite_master WHERE name = 'booking'").fetchone():
            return []
        return other.execute("SELECT * FROM booking ORDER BY order_id").fetchall()


async def lines(stage: Stage, order_id: str) -> int:
    page = await stage.load(Page, order_id)
    return page.lines if page is not None else 0


# together, or not at all


async def test_sql_state_and_event_of_a_run_are_there_together(stage: Stage) -> None:
    await stage.say(Paid(order_id="o1"), Paid(order_id="o2", cents=5))
    assert bookings(stage) == [("o1", 100), ("o2", 5)]
    assert [await lines(stage, each) for each in ("o1", "o2")] == [1, 1]
    assert (await stage.completion("order", "o2")).event(Booked) == Booked(order_id="o2", rows=2)


async def test_sql_of_a_failed_run_is_rolled_back_and_its_retry_is_in_the_same_commit(stage: Stage, book: Book) -> None:
    await stage.say(Paid(order_id="o0"))
    book.next = [fails]
    await stage.publish(Paid(order_id="o1"))
    await stage.groups_until(lambda: _has_raws(stage))
    commits = stage.ledger.commits
    await react(stage.work)
    assert (stage.ledger.commits, len(await stage.parked("retry"))) == (commits + 1, 1)
    assert bookings(stage) == [("o0", 100)]
    assert (await lines(stage, "o1"), await stage.count(Booked)) == (0, 1)
    await stage.advance(seconds=2)
    assert bookings(stage) == [("o0", 100), ("o1", 100)]
    assert (await lines(stage, "o1"), await stage.count(Booked)) == (1, 2)
    assert [note.what for note in await stage.notes("order", "o1")] == ["failed"]


async def test_the_attempt_that_asked_for_the_transaction_first_is_none(stage: Stage, book: Book) -> None:
    attempts: list[int] = []
    book.next = [lambda _: attempts.append(book.runs)]
    await stage.say(Paid(order_id="o1"))
    assert (attempts, await stage.notes("order", "o1")) == ([1], [])


async def test_attempts_used_up_leave_a_dead_letter_and_no_row_and_a_replay_writes_it_once(
    stage: Stage, book: Book
) -> None:
    book.next = [fails] * 3
    await stage.say(Paid(order_id="o1"))
    for _ in range(3):
        await stage.advance(seconds=10)
    (letter,) = await stage.dead()
    assert (bookings(stage), letter.attempts, await lines(stage, "o1")) == ([], 3, 0)
    assert await stage.ask(letter, "replay")
    await stage.run()
    assert (bookings(stage), await stage.dead(), await lines(stage, "o1")) == ([("o1", 100)], [], 1)


async def test_what_it_returned_and_may_not_be_takes_its_sql_back(tmp_path: Path) -> None:
    books = Service("books")

    @books.reaction
    def enter(paid: Paid, ctx: Context) -> Booked:
        ctx.transaction.execute(TABLE)
        ctx.transaction.execute("INSERT INTO booking VALUES ('x', 1)")
        return Struck(order_id=paid.order_id)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    flow = Flow("order", key="order_id", starts=Paid, succeeds=Booked, fails=Struck, timeout=None)
    async with Stage(Choreography("company", books, flows=[flow]), tmp_path / "books.db") as stage:
        await stage.say(Paid(order_id="o1"))
        assert (len(await stage.dead()), bookings(stage)) == (1, [])


async def test_a_compensation_takes_its_row_back_in_its_own_commit(stage: Stage, book: Book) -> None:
    await stage.say(Paid(order_id="o1"))
    book.next = [fails]
    await stage.say(Objected(order_id="o1"))
    assert bookings(stage) == [("o1", 100)]
    await stage.advance(minutes=10)
    assert (bookings(stage), await stage.count(Struck)) == ([], 1)


# a commit that does not come about


@pytest.mark.parametrize("moment", ["before", "at_end", "after"])
async def test_whenever_the_owner_dies_around_the_commit_the_row_is_there_once(stage: Stage, moment: str) -> None:
    await stage.publish(Paid(order_id="o1"))
    await stage.groups_until(lambda: _has_raws(stage))
    getattr(stage.ledger, moment).append(crash)
    with pytest.raises(Crash):
        await react(stage.work)
    assert (bookings(stage) != []) == (await stage.count(Booked) == 1) == (moment == "after")
    await stage.restart()
    await stage.run()
    assert (bookings(stage), await stage.count(Booked), await lines(stage, "o1")) == ([("o1", 100)], 1, 1)


async def _has_raws(stage: Stage) -> bool:
    return bool(stage.work.raws)


async def test_a_commit_that_fails_is_nobodys_attempt(stage: Stage, book: Book) -> None:
    await stage.publish(Paid(order_id="o1"))
    await stage.groups_until(lambda: _has_raws(stage))
    stage.ledger.at_end.append(disk_full)
    with pytest.raises(LedgerError, match="disk is full"):
        await react(stage.work)
    assert (bookings(stage), await stage.count(Booked), book.runs) == ([], 0, 1)
    await stage.run()
    assert (bookings(stage), book.runs, await stage.notes("order", "o1")) == ([("o1", 100)], 2, [])
    assert (await lines(stage, "o1"), await stage.parked()) == (1, [])


async def test_a_disk_that_is_full_for_its_sql_is_nobodys_attempt_whatever_the_run_makes_of_it(
    stage: Stage, book: Book
) -> None:
    await stage.say(Paid(order_id="o0"))

    def fill(transaction: Any) -> None:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            transaction.execute("INSERT INTO booking VALUES (zeroblob(10000000), 0)")

    stage.ledger.rows("PRAGMA max_page_count = 200")
    await stage.publish(Paid(order_id="o1"))
    book.next = [fill]
    with pytest.raises(LedgerError, match="full"):
        await stage.run()
    assert bookings(stage) == [("o0", 100)]
    stage.ledger.rows("PRAGMA max_page_count = 100000")
    await stage.run()
    assert (bookings(stage), await stage.notes("order", "o1")) == ([("o0", 100), ("o1", 100)], [])


async def test_a_busy_lock_is_waited_for_and_nothing_ran_meanwhile(stage: Stage, book: Book) -> None:
    await stage.publish(Paid(order_id="o1"))
    await stage.groups_until(lambda: _has_raws(stage))
    stage.ledger.before.extend([busy, busy])
    await stage.run()
    assert (bookings(stage), book.runs) == ([("o1", 100)], 1)


async def test_what_others_commit_right_before_it_comes_first_in_the_log(stage: Stage, book: Book) -> None:
    async with Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=7) as other:

        async def meanwhile() -> None:
            await other.publish(Paid(order_id="o2"))

        await stage.publish(Paid(order_id="o1"))
        await stage.groups_until(lambda: _has_raws(stage))
        stage.ledger.before.append(meanwhile)
        await stage.run()
    assert await stage.log() == ["Paid", "Paid", "Booked", "Booked"]
    assert (bookings(stage), book.runs) == ([("o1", 100), ("o2", 100)], 2)
    assert await stage.ledger.verify() == []


async def test_a_row_that_was_changed_from_outside_right_before_it_is_the_one_it_works_on(stage: Stage) -> None:
    books = stage.choreography.services["books"]
    async with Stage(stage.choreography, stage.file, services=[], clock=stage.clock, seed=7) as other:

        async def meanwhile() -> None:
            await other.put(books, Page(order_id="o1", lines=41))

        await stage.publish(Paid(order_id="o1"))
        await stage.groups_until(lambda: _has_raws(stage))
        stage.ledger.before.append(meanwhile)
        await stage.run()
    assert (await lines(stage, "o1"), bookings(stage)) == (42, [("o1", 100)])


async def test_it_sees_nothing_that_is_not_committed(stage: Stage, book: Book) -> None:
    seen: list[int] = []

    def look(_: object) -> None:
        with sqlite3.connect(stage.file) as other:
            seen.extend(other.execute("SELECT count(*) FROM log").fetchone())

    book.next = [look] * 3
    await asyncio.gather(*(stage.publish(Paid(order_id=f"o{number}")) for number in range(3)))
    await stage.run()
    assert seen == [3, 3, 3]


# what it may not do

REFUSED = [
    ("COMMIT", "committed with the run"),
    ("rollback", "committed with the run"),
    ("BEGIN IMMEDIATE", "committed with the run"),
    ("SAVEPOINT mine", "committed with the run"),
    ("RELEASE lent", "committed with the run"),
    ("ATTACH ':memory:' AS other", "keep the tables in this one"),
    ("DETACH main", "keep the tables in this one"),
    ("PRAGMA user_version = 7", "the connection are callboard's"),
    ("INSERT INTO name (name) VALUES ('x')", "name is a table of callboard's"),
    ("UPDATE Ledger SET head = 0", "ledger is a table of callboard's"),
    ("DELETE FROM parked", "parked is a table of callboard's"),
    ('DELETE FROM "state_Page"', "state_Page is a table of callboard's"),
    ("DROP TABLE log", "log is a table of callboard's"),
    ("ALTER TABLE flow ADD COLUMN x", "flow is a table of callboard's"),
    ("CREATE INDEX mine ON log (id)", "log is a table of callboard's"),
    ("CREATE TRIGGER mine AFTER INSERT ON log BEGIN SELECT 1; END", "log is a table of callboard's"),
    ("CREATE TABLE state_x (a)", "state_x is a table of callboard's"),
    ("SELECT data FROM log", "log is a table of callboard's"),
    ("SELECT count(*) FROM owner", "owner is a table of callboard's"),
    ("SELECT head, edits FROM ledger", "ledger is a table of callboard's"),
    ("INSERT INTO booking SELECT id, 1 FROM log", "log is a table of callboard's"),
]


@pytest.mark.parametrize(("sql", "why"), REFUSED)
async def test_sql_that_is_not_its_own_is_refused_and_a_dead_letter_at_once(
    stage: Stage, book: Book, sql: str, why: str
) -> None:
    book.next = [lambda transaction: transaction.execute(sql)]
    await stage.say(Paid(order_id="o1"))
    (letter,) = await stage.dead()
    assert why in (letter.error or "")
    assert (letter.attempts, bookings(stage), await stage.ledger.verify()) == (1, [], [])
    await stage.say(Paid(order_id="o2"), Rang(name="a"))  # and callboard itself may do all of it, as before
    assert (bookings(stage), await stage.count(Heard)) == ([("o2", 100)], 1)


async def test_a_trigger_of_its_own_does_not_reach_callboards_tables(stage: Stage, book: Book) -> None:
    trigger = "CREATE TRIGGER mine AFTER INSERT ON booking BEGIN DELETE FROM log; END"
    book.next = [lambda transaction: transaction.execute(trigger)]
    await stage.say(Paid(order_id="o1"), Paid(order_id="o2"))
    (letter,) = await stage.dead()
    assert "log is a table of callboard's" in (letter.error or "")
    assert await stage.log() == ["Paid", "Paid", "Booked", "callboard.ReactionFailed[Paid]"]


async def test_sql_that_rolls_back_by_itself_is_a_dead_letter_of_its_own_and_the_others_go_on(
    stage: Stage, book: Book
) -> None:
    await stage.say(Paid(order_id="o0"))
    book.next = [
        lambda _: None,
        lambda transaction: transaction.execute("CREATE UNIQUE INDEX once ON booking (order_id)") and None,
        lambda transaction: transaction.execute("INSERT OR ROLLBACK INTO booking VALUES ('o0', 1)"),
    ]
    await asyncio.gather(*(stage.publish(Paid(order_id=f"o{number}")) for number in (1, 2, 3)))
    await stage.run()
    letters = await stage.dead()
    assert [("rolled back the whole transaction" in (each.error or ""), each.attempts) for each in letters] == [
        (True, 1)
    ]
    assert [order for order, _ in bookings(stage)] == ["o0", "o1", "o2"]
    assert (await stage.count(Booked), await stage.ledger.verify()) == (3, [])


async def test_what_was_lent_is_no_use_after_the_run(stage: Stage, book: Book) -> None:
    kept: list[Any] = []
    book.next = [kept.append]
    await stage.say(Paid(order_id="o1"))
    with pytest.raises(TransactionRefused, match="after its run"):
        kept[0].execute("DELETE FROM booking")
    assert bookings(stage) == [("o1", 100)]


@pytest.mark.parametrize("kind", ["async", "port", "blocking"])
async def test_whoever_may_wait_is_told_to_write_its_sql_elsewhere(tmp_path: Path, kind: str) -> None:
    books = Service("books")
    reached: list[str] = []

    def touch(ctx: Context, order_id: str) -> Booked:
        ctx.transaction.execute(TABLE)
        reached.append(order_id)
        return Booked(order_id=order_id)

    if kind == "async":

        @books.reaction
        async def enter(paid: Paid, ctx: Context) -> Booked:
            return touch(ctx, paid.order_id)

    elif kind == "port":

        @books.reaction
        def enter_with(paid: Paid, teller: Teller, ctx: Context) -> Booked:
            return touch(ctx, paid.order_id)

    else:

        @books.reaction(blocking=True)
        def enter_slowly(paid: Paid, ctx: Context) -> Booked:
            return touch(ctx, paid.order_id)

    class Window(Teller):
        async def ask(self) -> None: ...

    flow = Flow("order", key="order_id", starts=Paid, succeeds=Booked, timeout=None)
    ports = [Window()] if kind == "port" else []
    async with Stage(Choreography("company", books, flows=[flow]), tmp_path / "books.db", ports=ports) as stage:
        await stage.publish(Paid(order_id="o1"))
        await stage.until(lambda: True if stage.work.stopped else None)
        (letter,) = await stage.dead()
        assert "write the SQL in a plain `def` without a port" in (letter.error or "")
        assert (letter.attempts, reached) == (1, [])


async def test_a_run_that_makes_something_of_the_first_refusal_is_dropped_all_the_same(tmp_path: Path) -> None:
    books = Service("books")

    @books.reaction
    def enter(paid: Paid, ctx: Context) -> Booked:
        try:
            ctx.transaction.execute(TABLE)
        except BaseException:
            return Booked(order_id=paid.order_id, rows=-1)
        return Booked(order_id=paid.order_id)

    flow = Flow("order", key="order_id", starts=Paid, succeeds=Booked, timeout=None)
    async with Stage(Choreography("company", books, flows=[flow]), tmp_path / "books.db") as stage:
        await stage.say(Paid(order_id="o1"))
        assert (await stage.completion("order", "o1")).event(Booked) == Booked(order_id="o1", rows=0)


# others


async def test_a_loaded_board_neither_starves_it_nor_is_stopped_by_it(stage: Stage, book: Book) -> None:
    await stage.say(Paid(order_id="first"))
    await asyncio.gather(*(stage.publish(Paid(order_id=f"o{number}")) for number in range(60)))
    tasks: list[asyncio.Task[Any]] = []
    groups = 0
    while len(bookings(stage)) < 61:
        tasks += [asyncio.ensure_future(stage.board.publish(Rang(name=f"r{groups} {number}"))) for number in range(5)]
        await ticks(2)
        await react(stage.work)
        groups += 1
        assert groups < 40
        assert await stage.count(Heard) >= (groups - 2) // 2 * 5
    await stage.run()
    await asyncio.gather(*tasks)


async def test_what_asks_for_its_transaction_after_a_crash_runs_in_the_next_group_at_once(stage: Stage) -> None:
    await stage.publish(Paid(order_id="a"))
    stage.ledger.at_end.append(crash)
    with pytest.raises(Crash):
        await stage.run()
    await stage.restart()
    while not bookings(stage):
        assert await stage.group()  # or else nobody looks again before others may have committed


async def test_a_stop_begins_none_that_waits_for_its_sql_and_comes_to_rest(stage: Stage, book: Book) -> None:
    await stage.say(Paid(order_id="first"))
    said = [asyncio.ensure_future(stage.board.publish(Paid(order_id=f"o{number:02}"))) for number in range(20)]
    await ticks()
    await stage.groups_until(lambda: asyncio.sleep(0, len(stage.work.raws)))
    await asyncio.gather(*said)
    written = len(bookings(stage))
    await stage.run(draining=True)
    assert (len(bookings(stage)), bool(stage.work.raws)) == (written, True)
    await stage.close()
    await stage.open()
    await stage.run()
    assert len(bookings(stage)) == book.runs == 21


async def test_one_line_goes_in_order_also_behind_a_run_that_failed(tmp_path: Path, book: Book) -> None:
    bells = Service("bells")
    order: list[str] = []

    @bells.reaction(retry=Retry(max_attempts=2, first_wait=timedelta(seconds=1)))
    def write(rang: Rang, ctx: Context) -> None:
        ctx.transaction.execute("CREATE TABLE IF NOT EXISTS booking (order_id TEXT, cents INTEGER)")
        book.turn(ctx.transaction)
        ctx.transaction.execute("INSERT INTO booking VALUES (?, ?)", (rang.name, len(order)))
        order.append(ctx.event_id)

    async with Stage(Choreography("bells", bells, incoming=Rang), tmp_path / "bells.db") as stage:
        book.next = [fails]
        ids = [handle.id for handle in await stage.say(*[Rang(name="a") for _ in range(4)])]
        assert (order, bookings(stage)) == ([], [])
        await stage.advance(seconds=5)
        assert (order, bookings(stage)) == (ids, [("a", number) for number in range(4)])


async def test_two_workers_on_one_file_each_keep_their_rows(tmp_path: Path) -> None:
    url, rooms = f"sqlite:///{tmp_path / 'two.db'}", [company(Book()), company(Book())]
    others = Service("others")

    @others.reaction
    def copy(booked: Booked, ctx: Context) -> None:
        ctx.transaction.execute("CREATE TABLE IF NOT EXISTS copied (order_id TEXT)")
        ctx.transaction.execute("INSERT INTO copied VALUES (?)", (booked.order_id,))

    flows = list(rooms[0].flows.values())
    books, bells = rooms[0].services["books"], rooms[0].services["bells"]
    shop = Choreography("company", books, bells, others, incoming=Objected | Rang, flows=flows)
    async with (
        shop.open(url, services=[books, bells]) as one,
        shop.open(url, services=[others]) as two,
    ):
        handles = [await (one, two)[number % 2].publish(Paid(order_id=f"o{number:02}")) for number in range(40)]
        for handle in handles:
            assert (await handle.completion(TEN)).succeeded

        async def copied() -> list[Any] | None:
            with sqlite3.connect(tmp_path / "two.db") as db:
                rows = db.execute("SELECT * FROM sqlite_master WHERE name = 'copied'").fetchall()
                rows = db.execute("SELECT order_id FROM copied ORDER BY order_id").fetchall() if rows else []
            return rows if len(rows) >= 40 else None

        assert await two.until(copied, TEN, "not all copied") == [(f"o{number:02}",) for number in range(40)]
    with sqlite3.connect(tmp_path / "two.db") as db:
        assert db.execute("SELECT count(*), count(DISTINCT order_id) FROM booking").fetchone() == (40, 40)


# in a test of the user's


def test_a_plain_connection_serves_in_a_unit_test() -> None:
    db = sqlite3.connect(":memory:")
    reactions = {each.name: each.function for each in company(Book()).services["books"].reactions}
    page = Page(order_id="o1")
    assert reactions["enter"](Paid(order_id="o1"), page, Context(transaction=db)) == Booked(order_id="o1", rows=1)
    assert db.execute("SELECT * FROM booking").fetchall() == [("o1", 100)]


def test_a_context_without_one_says_what_to_give() -> None:
    with pytest.raises(RuntimeError, match=r"Context\(transaction=sqlite3"):
        _ = Context().transaction


async def test_results_are_read_as_those_of_a_connection(stage: Stage, book: Book) -> None:
    read: list[Any] = []

    def look(transaction: Any) -> None:
        wrote = transaction.executemany("INSERT INTO booking VALUES (?, ?)", ((f"x{n}", n) for n in range(3)))
        found = transaction.execute("SELECT cents FROM booking WHERE order_id LIKE 'x%' ORDER BY cents")
        read.extend([wrote.rowcount, found.fetchone(), found.fetchall(), found.fetchone()])
        read.append([row for (row,) in transaction.execute("SELECT order_id FROM booking WHERE cents = ?", (2,))])

    book.next = [look]
    await stage.say(Paid(order_id="o1"))
    assert read == [3, (0,), [(1,), (2,)], None, ["x2"]]
