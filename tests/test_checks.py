"""Each check fires on the lines that teach it, and not on the same lines mended as its fix says."""

from collections.abc import Sequence

import pytest

from callboard.check import Check, Finding
from callboard.checks.catalogue import CHECKS, check
from callboard.checks.subject import Subject
from callboard.checks.world import step_of
from callboard.contracts.reading import read
from callboard.contracts.writing import write
from tests.fragments import choreography

BROKERS = {"CB601": "kafka"}


def checked(code: str, lines: str) -> Sequence[Finding]:
    """The findings in these lines; where they are two versions or two files, in both together."""
    if code == "CB503":
        before, now = map(choreography, lines.split("# this version"))
        return check(now, against=write(before)).findings
    if code == "CB502":
        stock, parcels = map(choreography, lines.split("# the file of parcels"))
        files = [write(stock, "stock"), write(parcels, "parcels")]
        return check(read(files), files=files).findings
    return check(choreography(lines), broker=BROKERS.get(code)).findings


def test_the_catalogue_has_every_code() -> None:
    groups = {1: 7, 2: 6, 3: 6, 4: 2, 5: 3, 6: 2}
    assert list(CHECKS) == [f"CB{group}{1 + number:02}" for group, size in groups.items() for number in range(size)]


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_finds_what_its_example_breaks(code: str) -> None:
    one: Check = CHECKS[code]
    found = checked(code, one.broken)
    assert code in {each.code for each in found}


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_finds_nothing_once_its_example_is_mended(code: str) -> None:
    one: Check = CHECKS[code]
    found = checked(code, one.mended)
    assert [each for each in found if each.severity == "error" or each.code == code] == []


def test_a_dead_letter_after_the_verdict_stalls_nothing() -> None:
    lines = """
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@desk.reaction
def note(held: Held) -> None: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
"""
    (finding,) = checked("CB305", lines)
    assert "a dead letter of stock.hold leaves" in finding.title


def test_an_undo_that_overtakes_is_told_with_what_goes_wrong_at_each_step() -> None:
    found = next(each for each in checked("CB203", CHECKS["CB203"].broken) if each.code == "CB203")
    assert "(both change Shelf)" in found.title
    assert [(each.reaction, each.note) for each in found.steps if each.service] == [
        ("", ""),
        ("charge", ""),
        ("release", "hold has not run yet"),
        ("hold", "after its undo: nobody undoes it now"),
    ]


ROUNDS = """
@desk.reaction
def offer(asked: Ordered | Declined) -> Held: ...

@desk.reaction({options})
def lapse(held: Held) -> Declined: ...

@desk.reaction(once="end")
def close(paid: Paid) -> Closed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, timeout=timedelta(hours=1))]
incoming = Paid | Declined
"""


def test_a_timer_that_the_first_round_of_a_loop_stops_for_good_is_found() -> None:
    armed = "wait=timedelta(minutes=1), unless=Paid | Declined"

    def titles(options: str) -> list[str]:
        return [each.title for each in checked("CB306", ROUNDS.format(options=options)) if each.code == "CB306"]

    assert titles(armed) == [
        "Declined stops the timer of lapse for good: it leads to another Held, which finds it said"
    ]
    assert titles(f'{armed}, per="sku"') == []


UNDO = """
@stock.reaction
def hold(ordered: Ordered, {effect}) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid | Declined | NotSent: ...

@stock.reaction({options})
def release({heard}, {effect}) -> Released: ...

flows, incoming = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Released{fails})], {incoming}
"""
UNDOS: dict[str, tuple[str, str, str | None]] = {  # options, what it hears, words from outside
    "half of a join": ("", "why: Declined | NotSent, held: Held", None),
    "beside a word from outside": ("", "why: Declined | NotSent | Cancelled, held: Held", "Cancelled"),
    "with a prerequisite": ("needs=Held", "why: Declined | NotSent, held: Held", None),
    "with the latest": ("", "why: Declined | NotSent, held: Held | None", None),
}


def undo(options: str, heard: str, incoming: str | None, *, effect: str = "shelf: Shelf", fails: str = "") -> str:
    return UNDO.format(options=options, heard=heard, incoming=incoming, effect=effect, fails=fails)


def about_effects(lines: str) -> list[tuple[str, str]]:
    return [(each.code, each.about) for each in checked("CB203", lines) if each.code in ("CB201", "CB203")]


@pytest.mark.parametrize("effect", ["shelf: Shelf", "bank: Bank"])
@pytest.mark.parametrize("name", UNDOS)
def test_an_undo_that_takes_the_effect_and_does_not_say_so_is_told_as_that(name: str, effect: str) -> None:
    options, heard, incoming = UNDOS[name]
    assert about_effects(undo(options, heard, incoming, effect=effect)) == [("CB203", "stock.release")]
    assert about_effects(undo(f"compensates=hold, {options}", heard, incoming, effect=effect)) == []


def test_the_fix_of_an_undo_that_takes_the_effect_says_what_becomes_of_that() -> None:
    (found,) = [each for each in checked("CB203", undo(*UNDOS["half of a join"])) if each.code == "CB203"]
    assert found.severity == "error"
    assert "it takes Held, and both change Shelf" in found.title
    assert found.fix.startswith(
        "write @stock.reaction(compensates=hold) above release: Held is then the effect that it"
    )
    assert "one more parameter" not in found.fix
    assert 'say keeps="<reason>" on release' in found.fix


def test_an_effect_with_an_undo_that_does_not_say_so_and_is_not_asked_points_at_that() -> None:
    lines = undo("", "why: Declined, held: Held", None, fails=" | NotSent")
    (found,) = [each for each in checked("CB201", lines) if each.code == "CB201"]
    assert found.about == "stock.hold"
    assert found.title.endswith("stays: release, which looks like its undo, does not run")
    assert found.fix == "write compensates=hold on release, and let it hear NotSent too"
    mended = undo("compensates=hold", "why: Declined | NotSent, held: Held", None)
    assert about_effects(mended) == []


TWO_UNDOS = """
@stock.reaction
def pack(ordered: Ordered, shelf: Shelf) -> Packed: ...

@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(held: Held, packed: Packed) -> Paid | Declined: ...

@stock.reaction({holding})
def release(why: Declined, held: Held, shelf: Shelf) -> Released: ...

@stock.reaction({packing})
def unpack(why: Declined, packed: Packed, shelf: Shelf) -> Restocked: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=tuple[Released, Restocked])]
"""


def test_of_two_reactions_on_one_state_an_undo_is_that_of_the_one_whose_event_it_takes() -> None:
    found = checked("CB203", TWO_UNDOS.format(holding="", packing=""))
    fixes = [each.fix.partition(":")[0] for each in found if each.code == "CB203"]
    assert fixes == [
        "write @stock.reaction(compensates=hold) above release",
        "write @stock.reaction(compensates=pack) above unpack",
    ]
    assert about_effects(TWO_UNDOS.format(holding="compensates=hold", packing="compensates=pack")) == []


SECOND_BANK = """
@money.reaction
def charge(ordered: Ordered, bank: Bank) -> Paid | Declined: ...

@desk.reaction
def note(ordered: Ordered) -> Noted: ...

@money.reaction
def charge_again(why: Declined, noted: Noted, bank: Bank) -> Paid | NotSent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=NotSent)]
"""


def test_another_try_that_takes_nothing_of_the_first_is_no_undo() -> None:
    assert about_effects(SECOND_BANK) == []


JOINED = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid | Declined | NotSent: ...

@desk.reaction
def tell(why: Declined | NotSent, held: Held) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Cancelled)]
"""


def test_a_join_is_told_with_the_events_that_came() -> None:
    (found,) = [each for each in checked("CB201", JOINED) if each.code == "CB201"]
    assert [each.heard for each in found.steps if each.reaction == "tell"] == ["Declined + Held"]


GATHERED = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> list[Held] | SoldOut: ...

@money.reaction(per="sku")
def charge(held: Held) -> Paid | Declined: ...

@desk.reaction(gathers=Held)
def tell(parts: list[Paid | Declined]) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled | SoldOut)]
"""


def test_a_gather_is_told_with_the_parts_that_came() -> None:
    (found,) = [each for each in checked("CB201", GATHERED) if each.code == "CB201"]
    assert [each.heard for each in found.steps if each.reaction == "tell"] == ["Paid#1 + Paid#2"]


def test_a_join_of_which_no_way_is_known_is_told_as_it_is_written() -> None:
    world = Subject(choreography(JOINED)).worlds[0]
    heard = {step_of(each).heard for each in world.happened if each.contract and each.contract.name == "tell"}
    assert heard == {"(Declined | NotSent) + Held"}


OUTSIDE = """
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@desk.reaction(needs=Held, once="end")
def close(paid: Paid) -> Closed: ...

@desk.reaction({lates_needs}once="end")
def expire(late: FlowTimedOut[Ordered] | NotSent) -> Cancelled: ...
{more}
flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled{timeout})]
incoming = Paid | NotSent
"""
HOUR = ", timeout=timedelta(hours=1)"


def losses(lines: str) -> list[tuple[str, str]]:
    return [(each.severity, each.title) for each in checked("CB305", lines) if each.code == "CB305"]


def test_words_from_outside_do_not_hide_a_loss_that_leaves_the_flow_open() -> None:
    broken = OUTSIDE.format(lates_needs="needs=Held, ", timeout=HOUR, more="")
    (found,) = losses(broken)
    assert found[0] == "information"
    assert "a dead letter of desk.expire or stock.hold leaves order without a verdict" in found[1]
    mended = OUTSIDE.format(lates_needs="", timeout=HOUR, more="")
    assert "a dead letter of desk.expire leaves" in losses(mended)[0][1]


def test_without_a_deadline_a_loss_is_a_warning_beside_the_silence_of_the_world() -> None:
    lines = OUTSIDE.format(lates_needs="", timeout="", more="").replace("FlowTimedOut[Ordered] | ", "")
    found = losses(lines)
    assert [severity for severity, _ in found] == ["warning", "warning"]
    assert "a dead letter of desk.close, desk.expire or stock.hold leaves order" in found[0][1]
    assert "order may wait for ever for " in found[1][1]


def test_what_the_silence_of_the_world_explains_is_no_loss() -> None:
    lines = """
@money.reaction
def ask(ordered: Ordered, post: Post) -> None: ...

@desk.reaction
def close(paid: Paid) -> Closed: ...

flows, incoming = [Flow("order", key="order", starts=Ordered, succeeds=Closed)], Paid
"""
    assert [title for _, title in losses(lines)] == [
        "a dead letter of desk.close leaves order without a verdict",
        "order may wait for ever for Paid from outside",
    ]


def test_of_words_from_outside_those_are_told_that_would_still_help() -> None:
    hear = "\n@stock.reaction\ndef look(noted: Noted) -> None: ...\n"
    lines = OUTSIDE.format(lates_needs="needs=Held, ", timeout=HOUR, more=hear).replace("-> Held:", "-> Held | Noted:")
    lines = lines.replace(" | NotSent)", ")") + "\n@desk.reaction\ndef call_off(why: NotSent) -> Cancelled: ...\n"
    assert "order may wait for ever for NotSent from outside" in losses(lines)[1][1]


LAPSING = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold)
def free(why: Noted, held: Held, shelf: Shelf) -> Released: ...

@desk.reaction(needs=Held, once="answer")
def confirm(word: Paid) -> Sent: ...

@desk.reaction(wait=timedelta(minutes=30), unless=Paid{once})
def lapse(held: Held) -> Noted: ...

@desk.reaction
def refuse(why: Released) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent, fails=Cancelled, timeout=timedelta(hours=2))]
incoming = Paid
"""


def test_the_fix_of_two_ends_names_who_decides_them_in_one_service_and_their_group() -> None:
    broken = check(choreography(LAPSING.format(once="")), select=["CB205", "CB302"])
    fix = 'let desk.confirm and desk.lapse share a group, once="answer": the first of them wins'
    assert [(each.code, each.fix) for each in broken.findings] == [("CB205", fix), ("CB302", fix)]
    assert check(choreography(LAPSING.format(once=', once="answer"')), select=["CB205", "CB302"]).findings == []
