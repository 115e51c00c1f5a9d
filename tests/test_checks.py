"""Each check fires on the lines that teach it, and not on the same lines mended as its fix says."""

from collections.abc import Sequence

import pytest

from callboard.check import Check, Finding
from callboard.checks.catalogue import CHECKS, check
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
    assert "(both use Shelf)" in found.title
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
