"""The fix of a finding names the reaction and the event, and what is typed then mends what was broken.

Where a fix leaves a choice, what is typed is one of its ways, and a line that it says nothing of may go with it: a
`once=` beside a dropped end. Word for word is what tests/mutants/fixes.py types.
"""

import re
from collections.abc import Sequence
from contextlib import suppress

import pytest

from callboard.check import Finding
from callboard.checks.catalogue import CHECKS, check
from callboard.errors import ContractError
from tests.any_choreography import Drawn
from tests.fragments import choreography

SHOP = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held | SoldOut: ...

@stock.reaction(compensates=hold)
def release(why: Declined | Refunded, held: Held | None, shelf: Shelf) -> Released: ...

@money.reaction
def charge(held: Held, bank: Bank) -> Paid | Declined: ...

@money.reaction(compensates=charge)
def refund(why: NotSent | ReactionFailed[Held], paid: Paid | None, bank: Bank) -> Refunded: ...

@parcels.reaction(pivot=True)
def send(paid: Paid, carrier: Carrier) -> Sent | NotSent: ...

@parcels.reaction(compensates=send)
def call_off(late: FlowTimedOut[Ordered], sent: Sent | None, carrier: Carrier) -> Sent | NotSent | None: ...

@desk.reaction(once="end")
def complete(sent: Sent) -> Closed: ...

@desk.reaction(once="end")
def cancel(why: SoldOut | Released) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled, timeout=timedelta(hours=1))]
"""
RIDE = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold)
def release(why: Cancelled, held: Held, shelf: Shelf) -> None: ...

@desk.reaction(once="end", needs=Held)
def complete(packed: Packed) -> Closed: ...

@desk.reaction(once="end")
def cancel(why: SoldOut) -> Cancelled: ...

@desk.reaction(once="end")
def expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...

@parcels.reaction
def look(ordered: Ordered) -> SoldOut | None: ...

flows, incoming = [
    Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled, timeout=timedelta(hours=1))], Packed
"""
TIMER = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold)
def release(why: Cancelled, held: Held, shelf: Shelf) -> None: ...

@desk.reaction(once="end", needs=Held)
def complete(packed: Packed) -> Closed: ...

@desk.reaction(once="end", wait=timedelta(minutes=9), unless=Packed)
def lapse(held: Held) -> Cancelled: ...

@desk.reaction(once="end")
def expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...

flows, incoming = [
    Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled, timeout=timedelta(hours=1))], Packed
"""
PARTS = """
@stock.reaction
def split(ordered: Ordered) -> list[Packed] | SoldOut: ...

@money.reaction(per="sku", once="work")
def work(packed: Packed) -> Paid: ...

@desk.reaction(gathers=Packed)
def gather(paid: list[Paid]) -> Closed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=SoldOut, timeout=timedelta(hours=1))]
"""
BOTH = """
@desk.reaction
def close(ordered: Ordered) -> tuple[Closed, Cancelled]: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Cancelled, timeout=timedelta(hours=1))]
"""
EXPIRE = '@desk.reaction(once="end")\ndef expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...\n'
CANCEL = '@desk.reaction(once="end")\ndef cancel(why: SoldOut | Released) -> Cancelled: ...\n'
COMPLETE = '@desk.reaction(once="end")\ndef complete(sent: Sent) -> Closed: ...\n'

# of each: the text, what is planted (there, and instead), the first finding, its fix or how that begins, what is typed
CASES: dict[str, tuple[str, tuple[str, str], str, str, tuple[str, str]]] = {
    "a failure that its undo does not hear": (
        SHOP, ("Declined | Refunded", "Refunded"),
        "CB102", "let release hear Declined too", ("why: Refunded", "why: Refunded | Declined"),
    ),
    "an undo that the next undo does not hear": (
        SHOP, ("Declined | Refunded", "Declined"),
        "CB101", "let release hear Refunded too", ("why: Declined", "why: Declined | Refunded"),
    ),
    "a failure with nothing done before it": (
        SHOP, ("SoldOut | Released", "Released"),
        "CB102", "let cancel hear SoldOut too", ("why: Released", "why: Released | SoldOut"),
    ),
    "a failure after the pivot": (
        SHOP, ("-> Closed", "-> Closed | Failed"),
        "CB102", "let a reaction hear Failed and emit Closed: after send, a pivot, a flow can only succeed", (
            "flows =", "@desk.reaction\ndef typed(heard: Failed) -> Closed: ...\n\nflows ="),
    ),
    "a dropped end": (
        SHOP, (CANCEL, ""),
        "CB101", "let a reaction hear Released and emit Cancelled: order waits for it", (
            "flows =", "@desk.reaction(once='end')\ndef typed(heard: Released | SoldOut) -> Cancelled: ...\n\nflows ="),
    ),
    "a dropped success": (
        SHOP, (COMPLETE, ""),
        "CB104", "let a reaction hear Sent and emit Closed, or take Closed out of order", (
            "flows =", "@desk.reaction\ndef typed(heard: Sent) -> Closed: ...\n\nflows ="),
    ),
    "an effect under another name": (
        SHOP, ("-> Paid | Declined", "-> Packed | Declined"),
        "CB101", "emit Paid instead if that is meant: refund and send wait for it", ("-> Packed |", "-> Paid |"),
    ),
    "a body that says more": (
        SHOP, ("-> Closed: ...", "-> Closed:\n    return Noted()"),
        "CB501", "write `-> Closed | Noted` if it is meant", ("    return Noted()", "    return Closed()"),
    ),
    "an end that says nothing": (
        SHOP, ("-> Cancelled", "-> Cancelled | None"),
        "CB301", "let cancel emit Cancelled there too", ("-> Cancelled | None", "-> Cancelled"),
    ),
    "an undo that is skipped where nothing was done": (
        SHOP, ("paid: Paid | None", "paid: Paid"),
        "CB301", "let refund take `Paid | None`: it then runs there too, and says Refunded", (
            "paid: Paid", "paid: Paid | None"),
    ),
    "a pivot that does not say so": (
        SHOP, ("(pivot=True)", ""),
        "CB205", "say pivot=True on send", ("@parcels.reaction\n", "@parcels.reaction(pivot=True)\n"),
    ),
    "a dropped deadline": (
        SHOP, ("late: FlowTimedOut[Ordered]", "late: FlowCancelled[Ordered]"),
        "CB305", "let call_off hear FlowTimedOut[Ordered] too: then the flow ends by itself", (
            "late: FlowCancelled", "late: FlowTimedOut[Ordered] | FlowCancelled"),
    ),
    "a flow that cannot fail": (
        SHOP, (", fails=Cancelled", ""),
        "CB101", "name Cancelled in fails= of order", ("succeeds=Closed", "succeeds=Closed, fails=Cancelled"),
    ),
    "an undo without its port": (
        SHOP, ("paid: Paid | None, bank: Bank", "paid: Paid | None"),
        "CB203", "let refund take the port Bank", ("paid: Paid | None", "paid: Paid | None, bank: Bank"),
    ),
    "a word from outside that is not named": (
        RIDE, ("], Packed", "], None"),
        "CB103", "name Packed in incoming= if it comes from outside; or let a reaction emit it", (
            "], None", "], Packed"),
    ),
    "who decides does not hear of a failure": (
        RIDE, ("def cancel(why: SoldOut)", "def cancel(why: Declined)"),
        "CB102", "let cancel hear SoldOut too", ("why: Declined", "why: SoldOut"),
    ),
    "an undo that is asked beside who decides": (
        RIDE, ("why: Cancelled", "why: Cancelled | SoldOut"),
        "CB205", "let cancel hear SoldOut instead of release, and let release hear Cancelled", (
            "why: Cancelled | SoldOut", "why: Cancelled"),
    ),
    "an end outside the group": (
        RIDE, ('(once="end")\ndef expire', "\ndef expire"),
        "CB205", 'let desk.complete and desk.expire share a group, once="end": the first of them wins', (
            "\ndef expire", '(once="end")\ndef expire'),
    ),
    "an event that stands beside what ends the flow": (
        RIDE, ("held: Held, shelf: Shelf) -> None", "held: Held, shelf: Shelf) -> Noted"),
        "CB101", "name Noted in outgoing= if somebody outside hears it, or take Noted out of the return of release", (
            "], Packed", "], Packed\noutgoing = Noted"),
    ),
    "a dropped deadline of who decides": (
        RIDE, (EXPIRE, ""),
        "CB305", "let cancel hear FlowTimedOut[Ordered] too: then the flow ends by itself", (
            "why: SoldOut", "why: SoldOut | FlowTimedOut[Ordered]"),
    ),
    "a dropped deadline beside a timer": (
        TIMER, (EXPIRE, ""),
        "CB305", 'let a reaction of desk, once="end", hear FlowTimedOut[Ordered] and emit Cancelled', (
            "flows,", EXPIRE + "\nflows,"),
    ),
    "an effect that its undo takes under another name": (
        TIMER, ("held: Held, shelf", "held: Noted, shelf"),
        "CB103", "take Held if that is meant, which hold emits", ("held: Noted", "held: Held"),
    ),
    "parts that are taken for one": (
        PARTS, ('per="sku", ', ""),
        "CB104", "say per= on work, with the field that tells one Packed from the next", (
            'once="work"', 'per="sku", once="work"'),
    ),
    "both ends at once": (
        BOTH, ("", ""),
        "CB302", "let desk.close emit one or the other", ("tuple[Closed, Cancelled]", "Closed | Cancelled"),
    ),
    "a slip in a name": (
        RIDE, ("def look(ordered: Ordered)", "def look(ordered: Order)"),
        "CB103", "take Ordered if that is meant", ("ordered: Order)", "ordered: Ordered)"),
    ),
}  # fmt: skip


def found(lines: str) -> Sequence[Finding]:
    return [each for each in check(choreography(lines)).findings if each.severity != "information"]


@pytest.mark.parametrize("lines", [SHOP, RIDE, TIMER, PARTS])
def test_they_are_clean(lines: str) -> None:
    assert found(lines) == []


@pytest.mark.parametrize("name", CASES)
def test_a_fix_names_what_is_to_be_typed_and_mends_it(name: str) -> None:
    lines, planted, code, fix, typed = CASES[name]
    assert planted[0] in lines
    broken = lines.replace(*planted, 1)
    first = found(broken)[0]
    assert (first.code, first.fix[: len(fix)]) == (code, fix)
    assert typed[0] in broken
    assert found(broken.replace(*typed, 1)) == []


def test_a_timer_that_nothing_stops_is_told_what_could() -> None:
    finding = found(CHECKS["CB306"].broken)[0]
    assert finding.fix == "name Paid in unless=, or what else leaves it nothing to say"


def test_a_list_that_may_be_empty_and_ends_nothing_then_is_told_so() -> None:
    lines = PARTS.replace("list[Packed] | SoldOut", "list[Packed]")
    (finding,) = [each for each in found(lines) if each.code == "CB301"]
    assert finding.fix == "let split say so where its list is empty: write `-> list[Packed] | SoldOut`"


def test_a_failure_after_a_pivot_is_told_where_there_is_no_flow() -> None:
    lines = """
@parcels.reaction(pivot=True)
def send(paid: Paid, carrier: Carrier) -> Sent: ...

@desk.reaction
def note(sent: Sent) -> Noted | Failed: ...

flows, incoming, outgoing = [], Paid, Noted
"""
    (finding,) = found(lines)
    assert (finding.code, finding.fix) == ("CB102", "react to Failed, or take it away")


KIND = r"[A-Z]\w*(?:\[\w+\])?"
HEARS = re.compile(rf"let (\w+) hear ({KIND}(?:(?:, | and | [|] ){KIND})*) (?:too|instead)")
BRIDGES = re.compile(r"hear ([A-Z]\w*)(?:, which nobody does,)? and emit ([A-Z]\w*)")
ALREADY = {
    "hears it": """
@stock.reaction
def split(ordered: Ordered) -> Noted | list[Held]: ...

@desk.reaction
def note(noted: Noted) -> None: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Ordered])]
""",
    "emits it": """
@stock.reaction
def hold(ordered: Ordered | Held) -> Held | Noted | Closed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed)]
""",
    "is its own end": """
flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Ordered, Held])]
""",
    "was asked and lost its group": """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold, once="end")
def release(why: Failed, held: Held, shelf: Shelf) -> Released: ...

@stock.reaction(once="end")
def pack(ordered: Ordered) -> Packed: ...

@money.reaction
def charge(packed: Packed) -> Paid | Failed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Failed | Released)]
""",
}


def absurd(lines: str) -> list[str]:
    """The fixes that propose what is so already (to hear what it hears or emits, to say the event that is heard), or
    have a hole.
    """
    made = choreography(lines)
    contracts = {each.name: each for each in made.contracts.values()}
    wrong: list[str] = []
    for each in check(made, limit=2_000).findings:
        for name, kinds in HEARS.findall(each.fix):
            known = contracts.get(name)  # `let it hear`: where it is told
            has = set(map(str, (*known.hears, *known.emits))) if known is not None else set[str]()
            wrong += [f"{each.code} {each.fix}"] if has.intersection(re.split(", | and | [|] ", kinds)) else []
        wrong += [f"{each.code} {each.fix}" for heard, said in BRIDGES.findall(each.fix) if heard == said]
        wrong += [f"{each.code} {each.fix}"] if re.search(r"\[\]|``|  |\bNone None\b", each.fix) else []
    return wrong


@pytest.mark.parametrize("name", ALREADY)
def test_no_fix_proposes_what_is_so_already(name: str) -> None:
    assert absurd(ALREADY[name]) == []


def test_no_fix_of_a_choreography_drawn_at_random_does_nor_does_a_check_raise() -> None:
    seen: list[list[str]] = []
    for seed in range(240):
        with suppress(ContractError):  # refused as no choreography
            seen.append(absurd(Drawn(seed).lines))
    assert len(seen) > 50
    assert [each for each in seen if each] == []


GROUP = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold, once="end")
def release(why: Failed, held: Held, shelf: Shelf) -> Released: ...

@stock.reaction(once="end")
def pack(ordered: Ordered) -> Packed: ...

@money.reaction
def charge(packed: Packed) -> Paid | Failed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Failed | Released)]
"""
HOLD = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid | Declined: ...

@stock.reaction(compensates=hold)
def release(why: Declined, held: Held, shelf: Shelf) -> Released: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Released)]
"""
TWO = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction
def pack(held: Held, bank: Bank) -> Packed: ...

@money.reaction
def charge(packed: Packed) -> Paid | Declined: ...

@stock.reaction
def release(why: Declined, held: Held, packed: Packed, shelf: Shelf, bank: Bank) -> Released: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Released)]
"""
TRIED = """
@money.reaction
def charge(ordered: Ordered, bank: Bank) -> Paid: ...

@money.reaction(compensates=charge)
def refund(why: Failed, paid: Paid | None, bank: Bank) -> Refunded: ...

@money.reaction
def cancel(why: ReactionFailed[Ordered]) -> Cancelled: ...

@desk.reaction
def note(paid: Paid) -> Noted | Failed: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Noted, fails=Cancelled | Refunded)]
"""
JOIN = """
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held | SoldOut: ...

@stock.reaction(compensates=hold)
def release(why: Failed, held: Held, shelf: Shelf) -> Released: ...

@money.reaction
def charge(ordered: Ordered, bank: Bank) -> Paid: ...

@money.reaction(compensates=charge)
def refund(why: Failed, paid: Paid | None, bank: Bank) -> Refunded: ...

@parcels.reaction
def send(ordered: Ordered) -> Sent | Failed: ...

@desk.reaction
def cancel(freed: Released, back: Refunded) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid, Sent], fails=Cancelled)]
"""
NOTES = """
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@desk.reaction
def note(packed: Packed) -> Noted: ...

@parcels.reaction
def send(held: Held, noted: Noted) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]
"""
SAYS_NOTHING = """
@stock.reaction
def hold(ordered: Ordered, note: Note) -> None: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
"""

# of each: the text, the code of a finding in it, and a part of its title or of its fix
TOLD: dict[str, tuple[str, str, str]] = {
    "another of the group ran": (GROUP, "CB201", "release does not run: pack, of the same once= group, ran first"),
    "another of the group always runs": (GROUP, "CB105", "release never runs: pack, of the same once= group"),
    "an end that a group keeps out": (GROUP, "CB104", 'take once="end" out of release'),
    "an undo that only reads": (
        HOLD.replace("held: Held, shelf: Shelf", "held: Held, shelf: Read[Shelf]"),
        "CB203", "changes nothing that hold did: it takes no Shelf to change",
    ),
    "an undo that takes nothing": (
        HOLD.replace("held: Held, shelf: Shelf", "held: Held"),
        "CB203", "let release take `shelf: Shelf`, and take back there what hold did",
    ),
    "an undo that says only failures": (
        HOLD.replace("-> Released: ...", "-> Failed: ...").replace("fails=Released", "fails=Failed"),
        "CB203", "changes nothing that hold did: of a run that says only failures no change is kept",
    ),
    "a step that is over when it is to be waited for": (
        """
@desk.reaction(pivot=True)
def confirm(ready: Ordered | Noted) -> Closed: ...

flows, incoming = [Flow("order", key="order", starts=Ordered, succeeds=Closed)], Noted
""", "CB304", "let confirm emit an event of its own, and let order wait for that too",
    ),
    "an undo of two, the first": (TWO, "CB203", "(compensates=hold) above release"),
    "an undo of two, the second": (TWO, "CB203", "It undoes hold too: write a reaction of its own for that"),
    "an undo that an event keeps out": (
        HOLD.replace("compensates=hold", "compensates=hold, unless=Held"), "CB104", "take unless= out of release",
    ),
    "an undo that is kept out where the flow fails": (
        HOLD.replace("compensates=hold", "compensates=hold, unless=Held").replace("fails=", "fails=Declined | "),
        "CB201", "release does not run: unless= keeps it out once Held was said",
    ),
    "an undo that waits": (
        HOLD.replace("compensates=hold", "compensates=hold, needs=Noted").replace("fails=", "fails=Declined | "),
        "CB201", "let release run without Noted",
    ),
    "an effect that nothing undoes": (
        HOLD.replace("compensates=hold", "keeps='it is put back by hand'").replace("held: Held, shelf", "post"),
        "CB201", "compensates=hold that hears Released and takes `done: Held | None, shelf: Shelf`; or say keeps=",
    ),
    "an end with the name of the start": (
        HOLD.replace("succeeds=Paid", "succeeds=Paid | Order"), "CB104", "let a reaction of this flow emit Order",
    ),
    "nothing but the start": (ALREADY["is its own end"], "CB301", "let a reaction hear Ordered and emit Held"),
    "a pivot without a port": (
        HOLD.replace("@stock.reaction\ndef hold(ordered: Ordered, shelf: Shelf)", (
            "@stock.reaction(pivot=True)\ndef hold(ordered: Ordered)")).replace(", held: Held, shelf: Shelf", ""),
        "CB206", "order fails after hold, which cannot be undone",
    ),
    "both ends from one of those who decide": (
        SHOP.replace("-> Closed: ...", "-> tuple[Closed, Cancelled]: ..."), "CB302",
        "let desk.complete emit one or the other",
    ),
    "a call that nobody is asked about": (TRIED, "CB201", "let refund hear ReactionFailed[Ordered] too"),
    "a call that nobody settles": (
        TRIED.replace("why: Failed, paid: Paid | None", "why: Failed | ReactionFailed[Ordered], paid: Paid"),
        "CB201", "let refund take `Paid | None`: it then runs there too, and says Refunded; with None it settles",
    ),
    "a call of which nothing is taken": (
        TRIED.replace("why: Failed, paid: Paid | None,", "why: Failed | ReactionFailed[Ordered],"),
        "CB201", "let refund take `Paid | None`: it then runs there too, and says Refunded; with None it settles",
    ),
    "a step that says nothing": (
        SAYS_NOTHING,
        "CB301", "let hold emit Held, or name what comes before it in a completion of order",
    ),
    "a join with an undo that was skipped": (
        JOIN, "CB303", "let release take `Held | None`: it then runs there too, and says Released",
    ),
    "a join with what is missing further up": (NOTES, "CB303", "mend what comes before it: note waits for Packed"),
    "a timer that only its own event goes on beside": (
        CHECKS["CB306"].broken.replace("paid: Paid", "ordered: Ordered").replace("-> Closed", "-> None"),
        "CB306", "name what goes on beside it in unless=",
    ),
    "an end that an effect stands for": (
        HOLD.replace("fails=Released", "fails=Held").replace("compensates=hold", "keeps='a note'"),
        "CB201", "that hears Declined and takes `done: Held | None, shelf: Shelf`",
    ),
    "a list that is empty, where its event is an end": (
        PARTS.replace("list[Packed] | SoldOut", "list[Packed] | None"), "CB301", "write `-> list[Packed] | SoldOut`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_told_in_its_own_words(name: str) -> None:
    lines, code, part = TOLD[name]
    texts = [f"{each.title}; {each.fix}" for each in check(choreography(lines)).findings if each.code == code]
    assert [each for each in texts if part in each], texts


def test_what_took_the_group_of_an_undo_is_among_the_steps() -> None:
    (finding,) = [each for each in found(GROUP) if each.code == "CB201"]
    assert "pack" in [each.reaction for each in finding.steps]


def test_an_undo_that_takes_the_effect_and_is_not_declared_is_shown_where_the_flow_fails() -> None:
    for finding in [each for each in found(TWO) if each.code == "CB203"]:
        assert [each.reaction for each in finding.steps] == ["", "hold", "pack", "charge", "release"]
        assert finding.end[-1].endswith("is recorded as done and not undone, stock.release as one more effect")


def test_a_pair_that_never_comes_together_is_not_put_down_to_a_group() -> None:
    lines = """
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction(once="end")
def complete(paid: Paid) -> Closed: ...

@desk.reaction(once="end")
def cancel(paid: Paid, why: Declined) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed, fails=Declined | Cancelled)]
"""
    (finding,) = [each for each in found(lines) if each.code == "CB105"]
    assert "group" not in finding.title


def test_a_letter_after_a_refusal_settles_no_pivot() -> None:
    lines = """
@desk.reaction
def look(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction(pivot=True)
def mail(paid: Paid, post: Post) -> Sent: ...

@desk.reaction
def sorry(why: Declined, post: Post) -> Noted: ...

flows, outgoing = [Flow("order", key="order", starts=Ordered, succeeds=Sent, fails=Declined)], Noted
"""
    first, *_ = [each for each in found(lines) if each.code == "CB201"]
    assert first.fix.startswith('say keeps="<reason>" on sorry')


def test_an_undo_that_another_carries_out_is_one() -> None:
    lines = HOLD.replace("held: Held, shelf: Shelf", "held: Held")
    assert "CB203" not in [each.code for each in found(f"{lines}outgoing = Released")]


def test_an_undo_by_a_counter_entry_elsewhere_is_one() -> None:
    assert "CB203" not in [
        each.code for each in found(HOLD.replace("held: Held, shelf: Shelf", "held: Held, bank: Bank"))
    ]
