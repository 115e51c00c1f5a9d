"""Promise 9: a replay is safe, edited or not, one or many, and whatever becomes of whoever asked for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import (
    Choreography,
    CodecError,
    Conflict,
    Context,
    Flow,
    FlowHasEnded,
    ReactionFailed,
    Retry,
    Service,
    event,
    port,
)
from callboard.letters import DeadLetter, fingerprint
from tests.support.outside import Outside
from tests.support.stage import Stage
from tests.support.tables import ask, change

ONCE = Retry(max_attempts=1)


@event
class Ordered:
    order: str
    iban: str = ""


@event
class Noted:
    order: str
    iban: str = ""


@event
class Paid:
    order: str
    iban: str = ""


@event
class Stopped:
    order: str


@event
class Lost:
    order: str
    iban: str


@event(key="line")
class Rang:
    line: str
    number: int


@port
class Bank(Protocol):
    async def pay(self, iban: str, *, key: str) -> bool: ...


class TheBank(Bank):
    """Pays to whoever has an IBAN."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.keys: list[str] = []

    async def pay(self, iban: str, *, key: str) -> bool:
        self.keys.append(key)
        if not iban:
            raise ValueError("no iban")
        return await self.outside.take("pay", iban)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
def bank() -> TheBank:
    return TheBank(Outside())


def orders(*, ends: Any = None, compensated: bool = False) -> Choreography:
    """Paying fails without an IBAN; others hear of the order and of the failure too."""
    desk = Service("desk")

    @desk.reaction(retry=ONCE, keeps=None if compensated else "it is paid")
    async def pay(ordered: Ordered, bank: Bank, ctx: Context) -> Paid:
        await bank.pay(ordered.iban, key=ctx.idempotency_key())
        return Paid(order=ordered.order, iban=ordered.iban)

    if compensated:

        @desk.reaction(compensates=pay)
        async def give_back(why: Stopped, paid: Paid | None, bank: Bank) -> Noted:
            return Noted(order=why.order)

    @desk.reaction
    def lose(failed: ReactionFailed[Ordered]) -> Lost:
        return Lost(order=failed.event.order, iban=failed.event.iban)

    @desk.reaction
    def note(ordered: Ordered) -> Noted:
        return Noted(order=ordered.order)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=ends, timeout=None)
    return Choreography("orders", desk, flows=[flow], incoming=Stopped)


async def letters(stage: Stage, **wanted: Any) -> list[DeadLetter]:
    return await stage.board.dead_letters.find(**wanted)


async def told(stage: Stage, letter: DeadLetter, *kinds: str) -> list[str]:
    """What is on record of a dead letter."""
    notes = await stage.ledger.notes(letter.row.flow)
    mine = [note for note in notes if (note.pos, note.reaction) == (letter.row.pos, letter.row.reaction)]
    return [f"{note.what}: {note.why}" for note in mine if not kinds or note.what in kinds]


# after the verdict


async def test_a_flow_that_has_its_verdict_refuses_a_replay(file: Path, bank: TheBank) -> None:
    async with Stage(orders(ends=Stopped), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"), Stopped(order="o"))
        assert await stage.verdict("order", "o") == "failed"
        batch = await stage.board.dead_letters.replay(await letters(stage))
        assert "order/o has its verdict, failed" in batch.refused["desk.pay@1"]
        await stage.run()
        assert len(bank.keys) == 1


async def test_the_owner_refuses_what_was_asked_before_the_verdict_came(file: Path, bank: TheBank) -> None:
    async with Stage(orders(ends=Stopped), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        await stage.restart()
        await stage.crash()
    async with Stage(orders(ends=Stopped), file, services=[], ports=[bank]) as clerk:
        batch = await clerk.board.dead_letters.replay([letter], by="ann")
        assert batch.asked == [letter]
    change(file, "UPDATE flow SET verdict = 'failed', ended = 1")
    async with Stage(orders(ends=Stopped), file, ports=[bank]) as stage:
        await stage.run()
        [again] = await letters(stage)
        assert again.row == letter.row
        assert len(bank.keys) == 1
        [note] = await told(stage, letter, "not replayed")
        assert note == f"not replayed: its flow has its verdict; asked by ann ({batch.id})"


async def test_a_replay_that_was_asked_even_though_the_flow_has_ended_is_run(file: Path, bank: TheBank) -> None:
    async with Stage(orders(ends=Stopped), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"), Stopped(order="o"))
        [letter] = await letters(stage)
        assert letter.verdict == "failed"
        await stage.board.dead_letters.replay([letter], even_though_ended=True)
        await stage.run()
        assert len(bank.keys) == 2


# one open replay


async def test_two_operators_at_once_make_one_replay(file: Path, bank: TheBank) -> None:
    async with (
        Stage(orders(), file, ports=[bank]) as stage,
        Stage(orders(), file, services=[], clock=stage.clock, seed=1000) as other,
    ):
        await stage.say(Ordered(order="o"))
        found = await letters(stage), await letters(other)
        one = await stage.board.dead_letters.replay(found[0], by="ann")
        two = await other.board.dead_letters.replay(found[1], by="bob")
        assert (len(one.asked), two.asked) == (1, [])
        assert "asked for it meanwhile" in two.refused["desk.pay@1"]
        again = await other.board.dead_letters.replay(await letters(other), by="bob")
        assert [letter.row.asked.by for letter in again.asked if letter.row.asked] == ["ann"]
        await stage.run()
        assert len(bank.keys) == 2


async def test_who_asked_for_what_and_what_came_of_it_is_on_record(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        first = await stage.board.dead_letters.replay([letter], by="ann", note="the bank is back")
        await stage.run()
        assert await first.done(timedelta(0)) == {letter.id: f"failed again; asked by ann ({first.id})"}
        second = await stage.board.dead_letters.discard(await letters(stage), by="bob")
        await stage.run()
        assert await second.look()
        assert await told(stage, letter) == [
            "failed: attempt 1: ValueError: no iban",
            f"asked: replay by ann ({first.id}): the bank is back",
            "failed: attempt 2: ValueError: no iban",
            f"replayed: failed again; asked by ann ({first.id})",
            f"asked: discard by bob ({second.id})",
            f"skipped: discarded by bob ({second.id})",
        ]


# edited


async def edited(stage: Stage, **fields: str) -> None:
    [letter] = await letters(stage)
    await stage.board.dead_letters.edit(letter, fields, by="ann", note="#7")
    await stage.board.dead_letters.replay(await letters(stage), by="ann")
    await stage.run()


async def test_an_edited_payload_reaches_only_the_reaction_that_failed(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        await edited(stage, iban="DE12")
        assert bank.outside.made("pay") == ["DE12"]
        done = await stage.completion("order", "o")
        assert done.event(Paid) == Paid(order="o", iban="DE12")
        assert done.event(Ordered) == Ordered(order="o")
        assert await stage.count(Noted) == 1
        assert await letters(stage) == []


async def test_an_edited_replay_that_fails_again_tells_others_of_the_event_as_it_was(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        bank.outside.next("pay", "fail")
        await edited(stage, iban="DE12")
        lost = [each for each in await stage.board.flow("order", "o").events() if isinstance(each, Lost)]
        assert lost == [Lost(order="o", iban="")] * 2
        [letter] = await letters(stage)
        assert letter.data == b'{"order":"o","iban":"DE12"}'
        await edited(stage, iban="DE34")
        assert bank.outside.made("pay") == ["DE12", "DE34"]


async def test_the_idempotency_key_survives_an_edit_and_the_death_of_the_owner(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        await stage.board.dead_letters.edit(letter, {"iban": "DE12"})
        await stage.board.dead_letters.replay(await letters(stage))
        bank.outside.next("pay", "wait")
        await stage.run()
        await stage.restart()
        await stage.run()
        assert bank.outside.made("pay") == ["DE12", "DE12"]
        assert len(bank.keys) == 3
        assert len(set(bank.keys)) == 1
        assert await stage.verdict("order", "o") == "succeeded"


async def test_an_edit_keeps_who_when_and_which_fields_from_what_to_what(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        await stage.board.dead_letters.edit(letter, {"iban": "DE1"}, by="ann", note="#7")
        [letter] = await letters(stage)
        said = await stage.board.dead_letters.edit(letter, b'{"order": "o", "iban": "DE12"}', by="bob")
        assert said == ['iban from "DE1" to "DE12"']
        assert await told(stage, letter, "edited") == [
            'edited: by ann (#7): iban from "" to "DE1"',
            'edited: by bob: iban from "DE1" to "DE12"',
        ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iban": 5}, "iban"),
        ({"ibann": "DE12"}, "ibann"),
        ({"order": "other"}, "order says which line it belongs to and stays 'o', not 'other'"),
        (b"{", "Ordered"),
        (b'["o"]', "Ordered"),
    ],
)
async def test_what_is_no_event_of_its_type_and_line_is_refused_before_anything_is_written(
    changes: Any, why: str, file: Path, bank: TheBank
) -> None:
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        with pytest.raises(CodecError, match=why):
            await stage.board.dead_letters.edit(letter, changes)
        assert await letters(stage) == [letter]
        assert await told(stage, letter, "edited") == []


async def test_an_edit_is_refused_while_a_replay_is_open_and_after_the_verdict(file: Path, bank: TheBank) -> None:
    async with Stage(orders(ends=Stopped), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        await stage.board.dead_letters.replay([letter])
        with pytest.raises(Conflict, match="a replay of it is open"):
            await stage.board.dead_letters.edit(letter, {"iban": "DE12"})
        await stage.run()
        await stage.say(Stopped(order="o"))
        [letter] = await letters(stage)
        with pytest.raises(FlowHasEnded, match="has its verdict"):
            await stage.board.dead_letters.edit(letter, {"iban": "DE12"})


async def test_a_reaction_that_was_closed_refuses_an_edit_and_a_replay(file: Path, bank: TheBank) -> None:
    async with Stage(orders(compensated=True), file, ports=[bank]) as stage:
        await stage.say(Ordered(order="o"))
        [letter] = await letters(stage)
        await stage.board.dead_letters.edit(letter, {"iban": "DE12"})
        [letter] = await letters(stage)
        await stage.say(Stopped(order="o"))
        assert await letters(stage) == []
        with pytest.raises(Conflict, match="no dead letter any more"):
            await stage.board.dead_letters.edit(letter, {"iban": "DE34"})
        assert "no dead letter any more" in (await stage.board.dead_letters.replay([letter])).refused[letter.id]
        await stage.run()
        assert bank.outside.made("pay") == []


async def test_bytes_that_nobody_could_read_are_mended_by_an_edit(file: Path, bank: TheBank) -> None:
    async with Stage(orders(), file, services=[]) as publisher:
        await publisher.publish(Ordered(order="o"))
    change(file, "UPDATE log SET data = ? WHERE pos = 1", b"\xff{not json")
    async with Stage(orders(), file, ports=[bank]) as stage:
        await stage.run()
        [letter] = await letters(stage, reaction="desk.pay")
        assert letter.data == b"\xff{not json"
        with pytest.raises(CodecError, match="give all of it"):
            await stage.board.dead_letters.edit(letter, {"iban": "DE12"})
        with pytest.raises(CodecError, match="stays 'o'"):
            await stage.board.dead_letters.edit(letter, b'{"order": "p", "iban": "DE12"}')
        await stage.board.dead_letters.edit(letter, b'{"order": "o", "iban": "DE12"}')
        await stage.board.dead_letters.replay(await letters(stage, reaction="desk.pay"))
        await stage.run()
        assert bank.outside.made("pay") == ["DE12"]
        assert await stage.verdict("order", "o") == "succeeded"
        assert [each.row.reaction for each in await letters(stage)] == ["desk.note"]
        assert ask(file, "SELECT data FROM log WHERE pos = 1") == [(b"\xff{not json",)]


async def test_an_edited_half_of_a_join_is_what_the_join_is_given(file: Path) -> None:
    desk, seen = Service("desk"), list[str]()

    @desk.reaction(retry=ONCE)
    def pay(ordered: Ordered, noted: Noted) -> Paid:
        seen.append(noted.iban)
        if not noted.iban:
            raise ValueError("no iban")
        return Paid(order=ordered.order, iban=noted.iban)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Paid, timeout=None)
    choreography = Choreography("orders", desk, flows=[flow], incoming=Noted)
    async with Stage(choreography, file) as stage:
        await stage.say(Ordered(order="o"))
        await stage.say(Noted(order="o"))
        await edited(stage, iban="DE12")
        assert seen == ["", "DE12"]


# many


def lines(*, order: Any, down: set[tuple[str, int]], heard: list[tuple[str, int]]) -> Choreography:
    desk = Service("desk")

    @desk.reaction(retry=ONCE, order=order)
    async def hear(rang: Rang) -> None:
        heard.append((rang.line, rang.number))
        if (rang.line, rang.number) in down:
            raise ConnectionError(f"{rang.line} {rang.number}")

    return Choreography("lines", desk, incoming=Rang)


CALLS = [(line, number) for number in range(3) for line in "ab"]


@pytest.fixture
def heard() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def down() -> set[tuple[str, int]]:
    """Whose calls fail: at first all."""
    return set(CALLS)


async def all_dead(stage: Stage, heard: list[tuple[str, int]]) -> list[DeadLetter]:
    await stage.say(*(Rang(line=line, number=number) for line, number in CALLS))
    found = await letters(stage)
    assert heard == CALLS
    assert len(found) == len(CALLS)
    heard.clear()
    return found


async def test_a_bulk_replay_goes_by_log_order_at_its_rate(
    file: Path, down: set[tuple[str, int]], heard: list[tuple[str, int]]
) -> None:
    async with Stage(lines(order="loose", down=down, heard=heard), file) as stage:
        found = await all_dead(stage, heard)
        down.clear()
        batch = await stage.board.dead_letters.replay(reversed(found), rate=2)
        await stage.run()
        for count in range(1, len(CALLS) + 1):
            assert heard == CALLS[:count]
            await stage.advance(seconds=0.4)
            assert heard == CALLS[:count]
            await stage.advance(seconds=0.1)
        assert await batch.look()
        assert await letters(stage) == []


async def test_a_bulk_replay_goes_on_at_its_rate_after_the_death_of_its_owner(
    file: Path, down: set[tuple[str, int]], heard: list[tuple[str, int]]
) -> None:
    async with Stage(lines(order="loose", down=down, heard=heard), file) as stage:
        found = await all_dead(stage, heard)
        down.clear()
        await stage.board.dead_letters.replay(found, rate=1)
        await stage.advance(seconds=1)
        assert heard == CALLS[:2]
        await stage.restart()
        await stage.run()
        assert heard == CALLS[:2]
        await stage.advance(seconds=10)
        assert heard == CALLS


@pytest.mark.parametrize("together", [True, False])
async def test_what_fails_again_keeps_back_the_others_of_its_line_and_no_other_line(
    together: bool, file: Path, down: set[tuple[str, int]], heard: list[tuple[str, int]]
) -> None:
    async with Stage(lines(order="loose", down=down, heard=heard), file) as stage:
        found = await all_dead(stage, heard)
        down.intersection_update({("a", 1)})
        batch = await stage.board.dead_letters.replay(found, rate=None if together else 1)
        for _ in CALLS:
            await stage.advance(seconds=1)
        assert heard == [call for call in CALLS if call != ("a", 2)]
        assert [each.id for each in await letters(stage)] == [found[2].id, found[4].id]
        assert await batch.look()
        assert batch.came[found[4].id].startswith("not replayed, another replay of its batch failed")


@pytest.mark.parametrize("restart", [True, False])
async def test_stop_on_failure_begins_nothing_after_the_first_that_fails_again(
    restart: bool, file: Path, down: set[tuple[str, int]], heard: list[tuple[str, int]]
) -> None:
    async with Stage(lines(order="loose", down=down, heard=heard), file) as stage:
        found = await all_dead(stage, heard)
        down.intersection_update({("a", 1)})
        batch = await stage.board.dead_letters.replay(found, rate=1 if restart else None, stop_on_failure=True)
        if restart:
            for _ in range(2):
                await stage.advance(seconds=1)
            assert heard == CALLS[:3]
            await stage.restart()
        await stage.advance(minutes=1)
        assert heard == CALLS[:3]
        assert [each.row.asked for each in await letters(stage)] == [None] * 4
        batch = await stage.board.dead_letters.replay(await letters(stage))
        assert len(batch.asked) == 4


async def test_what_is_replayed_together_in_strict_lines_keeps_their_order(
    file: Path, down: set[tuple[str, int]], heard: list[tuple[str, int]]
) -> None:
    async with Stage(lines(order="strict", down=down, heard=heard), file) as stage:
        await stage.say(*(Rang(line=line, number=number) for line, number in CALLS))
        assert sorted(heard) == [("a", 0), ("b", 0)]
        heard.clear()
        down.clear()
        await stage.board.dead_letters.replay(await letters(stage))
        await stage.run()
        assert [call for call in heard if call[0] == "a"] == [("a", 0), ("a", 1), ("a", 2)]
        assert sorted(heard) == sorted(CALLS)


# groups


async def test_dead_letters_are_grouped_by_reaction_error_and_place_never_by_what_is_in_the_event(file: Path) -> None:
    desk = Service("desk")

    def pay_out(ordered: Ordered) -> None:
        if ordered.iban:
            raise KeyError(ordered.order)
        raise ValueError(f"order {ordered.order} of 2026-11-23 has no iban")

    @desk.reaction(retry=ONCE)
    def pay(ordered: Ordered) -> Paid:
        pay_out(ordered)
        return Paid(order=ordered.order)

    @desk.reaction(retry=ONCE)
    def too(ordered: Ordered) -> None:
        pay_out(ordered)

    flow = Flow("order", key="order", starts=Ordered, succeeds=Paid, timeout=None)
    async with Stage(Choreography("orders", desk, flows=[flow]), file) as stage:
        await stage.say(*(Ordered(order=f"o{n}", iban="DE" if n % 3 == 0 else "") for n in range(6)))
        groups = await stage.board.dead_letters.groups()
        shapes = sorted((each[0].row.reaction, each[0].error[:8], len(each)) for each in groups.values())
        assert shapes == [
            ("desk.pay", "KeyError", 2),
            ("desk.pay", "ValueErr", 4),
            ("desk.too", "KeyError", 2),
            ("desk.too", "ValueErr", 4),
        ]
        name = next(iter(groups))
        assert await letters(stage, group=name[2:7]) == groups[name]


def test_a_fingerprint_forgets_ids_numbers_lines_and_quoted_texts_and_nothing_else() -> None:
    def same(one: str, two: str) -> bool:
        return fingerprint("bank.pay", one) == fingerprint("bank.pay", two)

    assert same("E: order o-17 of 'ann' is gone", "E: order o-18 of 'bob' is gone")
    assert same("E: 01m82sn1pzhn1aava5p1fbzpqe.tk6m late", "E: 01m82sn1pzhn1aava5p1fbzpq0.abcd late")
    assert not same("E: the bank is closed", "E: the bank is full")
    assert not same("E: gone", "F: gone")
    assert same("E: one\n    at a.f:3 < b.g:9", "E: two\n    at a.f:4 < b.g:7")
    assert not same("E: one\n    at a.f:3 < b.g:9", "E: one\n    at a.f:3 < b.h:9")
    assert not same("E: one\n    at a.f:3", "F: one\n    at a.f:3")
    assert fingerprint("bank.pay", "E: gone") != fingerprint("bank.void", "E: gone")


def test_groups_of_another_version_of_the_fingerprint_are_other_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    now = fingerprint("bank.pay", "E: gone")
    monkeypatch.setattr("callboard.letters.FINGERPRINT", 2)
    after = fingerprint("bank.pay", "E: gone")
    assert (now[:2], after[:2]) == ("1-", "2-")
    assert now[2:] != after[2:]
