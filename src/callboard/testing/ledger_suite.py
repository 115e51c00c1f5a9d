"""What every ledger must do, as tests over one fixture: run them on an adapter of your own.

    pytest --pyargs callboard.testing.ledger_suite --callboard-ledger=my_package:open_ledger

`open_ledger(place)` makes a ledger that is not open yet; two of one place are two connections to one database, as two
processes have them. In a test module of your own, import everything from here and define the fixture `open_ledger`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from callboard.errors import LedgerBusy, LedgerError, LedgerLost
from callboard.ledger import (
    Entry,
    FlowRow,
    Ledger,
    Memory,
    Note,
    Parked,
    Position,
    Row,
    Scatter,
    StateWrite,
    Supplied,
    Transaction,
    Wish,
)
from callboard.testing.adapters import in_loop, new_place

OpenLedger = Callable[[str], Ledger]
FLOW = "01j9ag2jn80q88b2r33nvwbwf1"
NAMES = ("OrderPlaced", "ItemsReserved", "inventory.reserve")
STATES = ("Shelf", "Order")


class Place:
    """One database for one test: each `connect` is a connection of its own to it."""

    def __init__(self, make: OpenLedger) -> None:
        self._make = make
        self._name = new_place()

    @asynccontextmanager
    async def connect(self, names: Sequence[str] = NAMES) -> AsyncIterator[Ledger]:
        """An open ledger, closed afterwards."""
        ledger = self._make(self._name)
        await ledger.open(names, STATES)
        try:
            yield ledger
        finally:
            await ledger.close()


@pytest.fixture
def place(open_ledger: OpenLedger) -> Place:
    """Where a test's connections meet."""
    return Place(open_ledger)


def an_entry(pos: int, **more: Any) -> Entry:
    """An entry at this place; it begins a flow if nothing else is said."""
    given: dict[str, Any] = {
        "id": f"{FLOW[:-2]}{pos:02}",
        "type": "OrderPlaced",
        "flow": pos,
        "time": pos,
        "data": b"{}",
    }
    return Entry(pos, **{**given, **more})


def a_row(pos: int, **more: Any) -> Parked:
    """A parked delivery of the event at this place."""
    given: dict[str, Any] = {"reaction": "inventory.reserve", "effect": 0, "flow": 1, "line": "1", "why": "retry"}
    return Parked(pos=pos, **{**given, **more})


async def commit(ledger: Ledger, step: Callable[[Transaction], Awaitable[object]]) -> None:
    """This is done in a transaction of its own."""
    async with ledger.transaction({}) as tx:
        await step(tx)


async def log(ledger: Ledger, *entries: Entry) -> None:
    """These are committed."""
    await commit(ledger, lambda tx: tx.append(entries))


# the log


@in_loop
async def test_a_new_ledger_is_empty(place: Place) -> None:
    async with place.connect() as ledger:
        assert await ledger.head() == 0
        assert await ledger.read(0, limit=10) == []
        assert await ledger.positions() == []
        assert await ledger.verify() == []


@in_loop
async def test_what_was_logged_is_read_as_it_was_and_in_order(place: Place) -> None:
    rich = an_entry(
        2, id=f"{FLOW}.abcd", type="ItemsReserved", flow=1, time=1_700_000_000_000_001, data=bytes(range(256)),
        key="sku-1", cause=1, by="inventory.reserve", causes=(1, 2), source="inventory", version=3, causation_id=FLOW,
        scatters=(Scatter("Line", "f#1", 2, 5), Scatter("Box", "f#2", 0, 1)),
    )  # fmt: skip
    async with place.connect() as ledger:
        await log(ledger, an_entry(1), rich, an_entry(3))
        assert await ledger.read(0, limit=10) == [an_entry(1), rich, an_entry(3)]
    async with place.connect() as ledger:
        assert await ledger.read(1, limit=1) == [rich]
        assert await ledger.head() == 3


@in_loop
async def test_what_was_not_committed_never_happened(place: Place) -> None:
    async with place.connect() as ledger:
        with pytest.raises(ZeroDivisionError):
            await _logged_and_failed(ledger)
        assert await ledger.read(0, limit=10) == []
        assert await ledger.head() == 0
        assert (await ledger.states([("Shelf", "a")]))["Shelf", "a"].version == 0
        await log(ledger, an_entry(1))


async def _logged_and_failed(ledger: Ledger) -> None:
    async with ledger.transaction({}) as tx:
        await tx.append([an_entry(1)])
        await tx.save([StateWrite("Shelf", "a", 1, 1, b"1")])
        raise ZeroDivisionError


@in_loop
async def test_the_head_is_known_under_the_lock_and_moves_with_what_is_logged(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        await log(one, an_entry(1), an_entry(2))
        async with other.transaction({}) as tx:
            assert tx.head == 2
            await tx.append([an_entry(3)])
            assert tx.head == 3
        assert await one.head() == 3


@in_loop
async def test_entries_are_found_by_place_by_flow_by_type_and_by_id(place: Place) -> None:
    reserved = an_entry(3, id=f"{FLOW}.abcd", type="ItemsReserved", flow=1)
    async with place.connect() as ledger:
        async with ledger.transaction({}) as tx:
            await tx.append([an_entry(1, id=FLOW), an_entry(2), reserved])
            await tx.start_flows([FlowRow(1, "checkout", FLOW, "o-1", 1)])
        assert [entry.pos for entry in await ledger.entries([3, 1, 99])] == [1, 3]
        assert [entry.pos for entry in await ledger.flow_entries([1])] == [1, 3]
        assert await ledger.read(0, limit=10, types=["ItemsReserved", "Unknown"]) == [reserved]
        assert await ledger.find(f"{FLOW}.abcd") == reserved
        assert await ledger.find(f"{FLOW}.none") is None


@in_loop
async def test_many_are_logged_at_once(place: Place) -> None:
    async with place.connect() as ledger:
        await log(ledger, *[an_entry(pos) for pos in range(1, 2_001)])
        assert [entry.pos for entry in await ledger.read(0, limit=5_000)] == list(range(1, 2_001))
        assert len(await ledger.entries(range(1, 2_001))) == 2_000


@in_loop
async def test_a_name_that_another_process_brought_is_read(place: Place) -> None:
    async with place.connect() as one, place.connect([*NAMES, "Newer"]) as other:
        await log(other, an_entry(1, type="Newer", by="shipping.ship"))
        (entry,) = await one.read(0, limit=10)
        assert (entry.type, entry.by) == ("Newer", "shipping.ship")


@in_loop
async def test_commits_of_others_are_noticed_once(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        await one.moved()
        assert not await one.moved()
        await log(other, an_entry(1))
        assert await one.moved()
        assert not await one.moved()


@in_loop
async def test_its_identity_is_its_own_and_stays(place: Place, open_ledger: OpenLedger) -> None:
    async with place.connect() as ledger:
        identity = await ledger.identity()
    async with place.connect() as ledger, Place(open_ledger).connect() as another:
        assert await ledger.identity() == identity != await another.identity()


# state, and what is remembered


@in_loop
async def test_state_rows_are_kept_replaced_and_deleted_with_their_versions(place: Place) -> None:
    a, b, order = ("Shelf", "a"), ("Shelf", "b"), ("Order", "a")
    async with place.connect() as ledger:
        async with ledger.transaction({}) as tx:
            await tx.save([StateWrite(*a, 1, 1, b"one"), StateWrite(*b, 7, 2, b"two"), StateWrite(*order, 1, 1, b"o")])
        async with ledger.transaction({}) as tx:
            assert await tx.versions([a, b, ("Shelf", "none")]) == {a: 1, b: 7, ("Shelf", "none"): 0}
            await tx.save([StateWrite(*a, 2, 1, b"more"), StateWrite(*b, 0, 2, None)])
        found = await ledger.states([a, b, order])
        assert found[a] == Row(2, 1, b"more")
        assert (found[b].version, found[b].data) == (0, None)
        assert found[order].data == b"o"


@in_loop
async def test_sql_of_a_reaction_is_kept_or_taken_back_with_its_run(place: Place) -> None:
    async with place.connect() as ledger:
        async with ledger.transaction({}) as tx:
            for number, keep in enumerate((True, False, True)):
                lent = await tx.lend()
                lent.execute("CREATE TABLE IF NOT EXISTS lent (number INTEGER)")
                lent.execute("INSERT INTO lent VALUES (?)", (number,))
                assert await lent.end(keep=keep)
        async with ledger.transaction({}) as tx:
            lent = await tx.lend()
            rows = [tuple(row) for row in lent.execute("SELECT number FROM lent ORDER BY number")]
            await lent.end(keep=True)
        assert rows == [(0,), (2,)]


@in_loop
async def test_changes_of_state_from_outside_are_counted(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        async with one.transaction({}) as tx:
            before = tx.edits
            await tx.edit()
        async with other.transaction({}) as tx:
            assert tx.edits > before


@in_loop
async def test_memories_and_notes_are_found_by_flow(place: Place) -> None:
    memories = [Memory(1, "once", "orders:end", "", 3), Memory(1, "undone", "inventory.reserve", "p", 4)]
    notes = [
        Note(3, "inventory.reserve", 1, "skipped", "closed", 9),
        Note(3, "inventory.reserve", 1, "failed", "x", 10),
    ]
    async with place.connect() as ledger:
        async with ledger.transaction({}) as tx:
            await tx.remember([*memories, Memory(2, "once", "orders:end", "", 5)])
            await tx.note([*notes, Note(5, "inventory.reserve", 2, "failed", "y", 11)])
        async with ledger.transaction({}) as tx:
            await tx.remember(memories)  # known already
        assert sorted(await ledger.memories([1])) == sorted(memories)
        assert len(await ledger.memories([1, 2])) == 3
        assert await ledger.notes(1) == notes


@in_loop
async def test_what_was_supplied_is_known_by_its_id(place: Place) -> None:
    async with place.connect() as ledger:
        await commit(ledger, lambda tx: tx.supply([Supplied("k-1", 1, b"digest"), Supplied("k-2", 2, b"")]))
        assert await ledger.supplied(["k-1", "k-3"]) == {"k-1": Supplied("k-1", 1, b"digest")}


@in_loop
async def test_parked_rows_are_kept_replaced_and_found(place: Place) -> None:
    dead = a_row(2, flow=2, line="2", why="dead", attempts=5, error="no", data=b"edited")
    rows = [a_row(3, due=9, missing="x"), dead, a_row(1, reaction="payments.charge", effect=4)]
    async with place.connect() as ledger:
        await log(ledger, an_entry(1), an_entry(2), an_entry(3))
        await commit(ledger, lambda tx: tx.park(rows))
        assert await ledger.parked() == sorted(rows, key=lambda row: row.pos)
        assert await ledger.parked(reactions=["inventory.reserve"], why=["dead", "timer"]) == [dead]
        assert await ledger.parked(flow=2) == [dead]
        assert len(await ledger.parked(limit=2)) == 2
        async with ledger.transaction({}) as tx:
            await tx.park([a_row(3, why="timer", due=10)])
            await tx.unpark([("payments.charge", 1, 4), ("payments.charge", 1, 5)])
        assert [(row.pos, row.why) for row in await ledger.parked()] == [(2, "dead"), (3, "timer")]


@in_loop
async def test_a_wish_is_left_once_on_a_dead_letter_that_is_there(place: Place) -> None:
    async with place.connect() as ledger, place.connect() as operator:
        await log(ledger, an_entry(1), an_entry(2))
        await commit(ledger, lambda tx: tx.park([a_row(1, why="dead"), a_row(2)]))
        replay, discard = Wish("replay", by="ann", batch="rp-1", stops="batch", late=True), Wish("discard")
        wanted = [a_row(1, asked=replay, due=7, data=b"edited"), a_row(2, asked=replay)]
        notes = [Note(row.pos, row.reaction, row.flow, "asked", "replay", 5) for row in wanted]
        assert await operator.ask(wanted, notes) == [True, False]
        assert await operator.ask([a_row(1, asked=discard)], notes[:1]) == [False]
        assert [(row.pos, row.asked, row.due, row.data) for row in await ledger.parked(asked=True)] == [
            (1, replay, 7, b"edited")
        ]
        assert await ledger.notes(1) == notes[:1]


@in_loop
async def test_who_hears_what_in_any_build_is_known(place: Place) -> None:
    async with place.connect() as ledger, place.connect() as other:
        await ledger.tell_hearers({"inventory.reserve": ["OrderPlaced"]})
        await other.tell_hearers({"inventory.reserve": ["OrderMoved"], "payments.charge": ["OrderMoved"]})
        found = await ledger.hearers(["OrderMoved", "OrderPlaced", "Unheard"])
        assert found == {
            "OrderMoved": ["inventory.reserve", "payments.charge"],
            "OrderPlaced": ["inventory.reserve"],
        }


# flows


async def _three_flows(ledger: Ledger) -> None:
    async with ledger.transaction({}) as tx:
        await tx.append([an_entry(1), an_entry(2), an_entry(3)])
        flows = [
            FlowRow(1, "checkout", "id-1", "o-1", 1, 100),
            FlowRow(2, "checkout", "id-2", "o-2", 2, 50),
            FlowRow(2, "fraud", "id-2", "o-2", 2),
            FlowRow(3, "", "id-3", None, 3),
        ]
        await tx.start_flows(flows)


@in_loop
async def test_flows_are_found_by_key_by_number_and_by_id(place: Place) -> None:
    async with place.connect() as ledger:
        await _three_flows(ledger)
        (row,) = await ledger.flows_by_key([("checkout", "o-1"), ("checkout", "none"), ("fraud", "o-1")])
        assert row == FlowRow(1, "checkout", "id-1", "o-1", 1, 100)
        assert {row.name for row in await ledger.flows_by_number([2])} == {"checkout", "fraud"}
        assert await ledger.flow_numbers(["id-2", "id-3", "none"]) == {"id-2": 2, "id-3": 3}


@in_loop
async def test_deadlines_are_found_until_they_are_told_or_the_flow_has_its_verdict(place: Place) -> None:
    async with place.connect() as ledger:
        await _three_flows(ledger)
        assert await ledger.next_deadline(["checkout"]) == 50
        assert await ledger.next_deadline(["checkout"], after=50) == 100
        assert await ledger.next_deadline(["fraud"]) is None
        late = await ledger.flows_due(100, ["checkout"], limit=10)
        assert [row.number for row in late] == [2, 1]
        assert len(await ledger.flows_due(100, ["checkout"], limit=1)) == 1
        late[0].timed_out, late[1].verdict = True, "succeeded"
        await commit(ledger, lambda tx: tx.update_flows(late))
        assert await ledger.flows_due(100, ["checkout"], limit=10) == []
        assert await ledger.next_deadline(["checkout"]) is None


@in_loop
async def test_a_verdict_is_final(place: Place) -> None:
    async with place.connect() as ledger:
        await _three_flows(ledger)
        for verdict in ("succeeded", "failed"):
            async with ledger.transaction({}) as tx:
                await tx.update_flows(
                    [FlowRow(1, "checkout", "id-1", "o-1", 1, verdict=verdict, ended=9, by="X", leaked="y")]
                )
        (row,) = await ledger.flows_by_key([("checkout", "o-1")])
        assert (row.verdict, row.ended, row.by, row.leaked) == ("succeeded", 9, "X", "y")


@in_loop
async def test_flows_that_fail_are_found_until_they_have_failed(place: Place) -> None:
    async with place.connect() as ledger:
        await _three_flows(ledger)
        (row,) = await ledger.flows_by_key([("checkout", "o-1")])
        row.failing = 3
        await commit(ledger, lambda tx: tx.update_flows([row]))
        assert [each.failing for each in await ledger.flows_failing(["checkout"])] == [3]
        assert await ledger.flows_failing(["fraud"]) == []
        row.verdict = "failed"
        await commit(ledger, lambda tx: tx.update_flows([row]))
        assert await ledger.flows_failing(["checkout"]) == []


@in_loop
async def test_flows_are_listed_newest_first_by_name_and_status(place: Place) -> None:
    async with place.connect() as ledger:
        await _three_flows(ledger)
        async with ledger.transaction({}) as tx:
            await tx.update_flows([FlowRow(1, "checkout", "id-1", "o-1", 1, verdict="succeeded", ended=9)])
        assert await _listed(ledger) == [(2, "checkout"), (2, "fraud"), (1, "checkout")]
        assert await _listed(ledger, status="succeeded") == [(1, "checkout")]
        assert await _listed(ledger, name="checkout", status="running") == [(2, "checkout")]
        assert await _listed(ledger, status="stuck") == [(2, "checkout")]
        assert await _listed(ledger, before=2) == [(1, "checkout")]


async def _listed(
    ledger: Ledger, *, name: str | None = None, status: str | None = None, before: int | None = None
) -> list[tuple[int, str]]:
    rows = await ledger.list_flows(name=name, status=status, before=before, limit=10, now=60)
    return [(row.number, row.name) for row in sorted(rows, key=lambda row: (-row.number, row.name))]


# what is forgotten


async def _over(ledger: Ledger) -> None:
    """Two flows with all that may be remembered of them; the second goes on."""
    async with ledger.transaction({}) as tx:
        await tx.append([an_entry(1), an_entry(2), an_entry(3, type="ItemsReserved", flow=1), an_entry(4, flow=1)])
        await tx.start_flows([FlowRow(1, "checkout", "id-1", "o-1", 1), FlowRow(2, "checkout", "id-2", "o-2", 2)])
        await tx.remember([Memory(flow, "once", "orders:end", "", flow) for flow in (1, 2)])
        await tx.note([Note(flow, "inventory.reserve", flow, "failed", "x", 1) for flow in (1, 2)])
        await tx.supply([Supplied("mark-1", 1, b""), Supplied("key-1", 3, b"digest"), Supplied("key-2", 2, b"digest")])


@in_loop
async def test_a_pruned_flow_is_gone_but_for_what_is_kept(place: Place) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        async with ledger.transaction({}) as tx:
            before = tx.prunes
            assert await tx.prune([1], kept=["ItemsReserved", "Unknown"], upto=77, now=100) == 2
        assert [entry.pos for entry in await ledger.read(0, limit=10)] == [2, 3]
        assert [row.number for row in await ledger.flows_by_number([1, 2])] == [2]
        assert [memory.flow for memory in await ledger.memories([1, 2])] == [2]
        assert (await ledger.notes(1), len(await ledger.notes(2))) == ([], 1)
        assert await ledger.verify() == []
        async with ledger.transaction({}) as tx:
            assert tx.prunes > before


@in_loop
async def test_numbers_are_not_given_again_when_nothing_is_left(place: Place) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        await commit(ledger, lambda tx: tx.prune([1, 2], kept=[], upto=1, now=100))
        assert await ledger.read(0, limit=10) == []
    async with place.connect() as ledger:
        assert await ledger.head() == 4


@in_loop
async def test_keys_of_what_was_pruned_are_known_until_they_are_forgotten_and_marks_are_not(place: Place) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        await commit(ledger, lambda tx: tx.prune([1], kept=[], upto=1, now=100))
        assert set(await ledger.supplied(["mark-1", "key-1", "key-2"])) == {"key-1", "key-2"}
        async with ledger.transaction({}) as tx:
            assert await tx.forget(100, limit=10) == 0
            assert await tx.forget(101, limit=10) == 1
        assert set(await ledger.supplied(["mark-1", "key-1", "key-2"])) == {"key-2"}


@in_loop
async def test_how_far_it_was_pruned_never_goes_back(place: Place) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        assert await ledger.pruned_to() == 0
        for flow, upto in ((1, 77), (2, 5)):
            async with ledger.transaction({}) as tx:
                await tx.prune([flow], kept=[], upto=upto, now=100)
        assert await ledger.pruned_to() == 77
        async with ledger.transaction({}) as tx:
            assert tx.pruned_to == 77


@in_loop
async def test_pruning_that_was_not_committed_never_happened(place: Place) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        with pytest.raises(ZeroDivisionError):
            await _pruned_and_failed(ledger)
        assert len(await ledger.read(0, limit=10)) == 4
        assert (await ledger.pruned_to(), len(await ledger.memories([1]))) == (0, 1)


async def _pruned_and_failed(ledger: Ledger) -> None:
    async with ledger.transaction({}) as tx:
        await tx.prune([1], kept=[], upto=77, now=100)
        raise ZeroDivisionError


@in_loop
async def test_a_backup_is_the_whole_of_one_moment_and_replaces_nothing(place: Place, tmp_path: Path) -> None:
    async with place.connect() as ledger:
        await _over(ledger)
        copy = tmp_path / "copy.db"
        try:
            await ledger.backup(str(copy))
        except LedgerError:
            pytest.skip("this ledger is copied by its own tools")
        await log(ledger, an_entry(5))
        with pytest.raises(LedgerError):
            await ledger.backup(str(copy))
        assert await ledger.head() == 5
        assert _names_in(tmp_path) == {"copy.db"}


def _names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.name.startswith("copy")}


# who reads, and who owns


@in_loop
async def test_a_reaction_stands_where_it_was_put(place: Place) -> None:
    async with place.connect() as ledger:
        await ledger.register([Position("inventory.reserve", 5, 5, ())], {})
        await ledger.register([Position("inventory.reserve", 0, 0, ())], {})  # known already
        await commit(ledger, lambda tx: tx.advance([Position("inventory.reserve", 0, 9, (7, 12))]))
        assert await ledger.positions() == [Position("inventory.reserve", 5, 9, (7, 12))]


@in_loop
async def test_what_a_reaction_hears_is_noted_and_may_change(place: Place) -> None:
    async with place.connect() as ledger:
        await ledger.register([Position("inventory.reserve", 5, 5, (), hears=("A",))], {})
        await ledger.register([Position("inventory.reserve", 9, 9, (), hears=("A", "B"))], {})
        await ledger.register([Position("inventory.count", 1, 1, ())], {})
        count, reserve = await ledger.positions()
        assert (reserve.since, reserve.pos, reserve.hears) == (5, 5, ("A", "B"))
        assert (reserve.may_hear("B"), reserve.may_hear("C"), count.may_hear("C")) == (True, False, True)


@in_loop
async def test_a_retired_reaction_that_comes_back_starts_anew(place: Place) -> None:
    async with place.connect() as ledger:
        await ledger.register([Position("inventory.reserve", 5, 5, ())], {})
        async with ledger.transaction({}) as tx:
            await tx.advance([Position("inventory.reserve", 0, 9, (7,))])
            await tx.retire(["inventory.reserve"])
        assert [each.live for each in await ledger.positions()] == [False]
        await ledger.register([Position("inventory.reserve", 20, 20, ())], {})
        assert await ledger.positions() == [Position("inventory.reserve", 20, 20, ())]


@in_loop
async def test_a_renamed_reaction_is_known_in_ids_and_keys_as_before_and_nobody_else_is(place: Place) -> None:
    async with place.connect() as ledger:
        await ledger.register([Position("inventory.reserve", 0, 0, ())], {})
        await ledger.register([], {"inventory.reserve": "inventory.take"})
        await ledger.register([], {"inventory.take": "inventory.grab"})
        await ledger.register([Position("inventory.reserve", 8, 8, ())], {})
        known = {each.reaction: each.known_as for each in await ledger.positions()}
        assert known["inventory.grab"] == "inventory.reserve"
        assert known["inventory.reserve"] not in ("inventory.reserve", "inventory.grab")


@in_loop
async def test_a_renamed_reaction_takes_everything_with_it(place: Place) -> None:
    async with place.connect() as ledger:
        await ledger.register([Position("inventory.reserve", 0, 0, ())], {})
        async with ledger.transaction({}) as tx:
            await tx.append([an_entry(1, by="inventory.reserve")])
            await tx.park([a_row(1)])
            await tx.note([Note(1, "inventory.reserve", 1, "failed", "x", 1)])
            await tx.remember([Memory(1, "closed", "inventory.reserve", "", 1)])
            await tx.advance([Position("inventory.reserve", 0, 1, ())])
        await ledger.register([], {"inventory.reserve": "inventory.take"})
        assert [(each.reaction, each.pos) for each in await ledger.positions()] == [("inventory.take", 1)]
        assert [row.reaction for row in await ledger.parked()] == ["inventory.take"]
        assert [note.reaction for note in await ledger.notes(1)] == ["inventory.take"]
        assert [memory.name for memory in await ledger.memories([1])] == ["inventory.take"]
        assert [entry.by for entry in await ledger.read(0, limit=10)] == ["inventory.take"]


@in_loop
async def test_a_service_has_one_owner_at_a_time(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        first = await one.own("inventory")
        assert first is not None
        assert first.clean
        assert await other.own("inventory") is None
        assert await other.own("payments") is not None
        await one.disown("inventory", clean=True)
        second = await other.own("inventory")
        assert second is not None
        assert second.clean
        assert second.token > first.token
        assert set(await one.owners()) == {"inventory", "payments"}


@in_loop
async def test_an_owner_that_goes_without_a_word_is_followed_and_told_of(place: Place) -> None:
    async with place.connect() as one:
        assert await one.own("inventory") is not None
    async with place.connect() as other:
        ownership = await other.own("inventory")
        assert ownership is not None
        assert not ownership.clean


@in_loop
async def test_who_is_no_owner_any_more_commits_nothing(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        ownership = await one.own("inventory")
        assert ownership is not None
        await one.disown("inventory", clean=True)
        await other.own("inventory")
        with pytest.raises(LedgerLost):
            await _log_as(one, {"inventory": ownership.token})
        assert await other.head() == 0


async def _log_as(ledger: Ledger, tokens: dict[str, int]) -> None:
    async with ledger.transaction(tokens) as tx:
        await tx.append([an_entry(1)])


@in_loop
async def test_a_lock_that_is_taken_is_told_at_once(place: Place) -> None:
    async with place.connect() as one, place.connect() as other:
        async with one.transaction({}) as tx:
            await tx.append([an_entry(1)])
            with pytest.raises(LedgerBusy):
                await _begin(other)
            assert await other.head() == 0  # reading waits for nobody
        await _begin(other)
        assert await other.head() == 1


async def _begin(ledger: Ledger) -> Transaction:
    async with ledger.transaction({}) as tx:
        return tx
