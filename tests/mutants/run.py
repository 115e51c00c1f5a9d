"""Plants every defect in every clean choreography, and tells how many are found. `make mutants`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

# ruff: noqa: E402 - what is tested lies on a path of its own
from callboard import Choreography
from callboard.checks.catalogue import check
from callboard.cli.discovery import load_app
from callboard.errors import ContractError
from media import media
from tests.mutants.defects import FORGOTTEN, ON_PURPOSE, UNDECLARED, changed, defects
from tests.mutants.draft import built, draft
from tests.mutants.equal import can_do_the_same
from trip import rides

CLEAN: dict[str, Choreography] = {
    "orders": load_app("examples/order_fulfilment/shop.py:shop", ROOT),
    "journeys": load_app("tests/mutants/journeys.py:journeys", ROOT),
    "theatre": load_app("examples/07_deadline/rehearsal.py:theatre", ROOT),
    "invoices": load_app("examples/08_word_from_outside/invoice.py:invoices", ROOT),
    "mill": load_app("examples/09_two_programs/mill.py:mill", ROOT),
    "media": media,
    "trip": rides,
}

ALLOWED = 0.03  # of the defects, to be missed: in these two by themselves, and in all together
ALONE = ("orders", "journeys")

LATER = "the deadline does, later, what the reaction did at once"
WORLD = "a word from outside may come at any time, so the flow can still end well without the step that asks for it"
TIMER = (
    "the timer then speaks of an offer that was answered: the way of the flow is that of a late answer, seen in no end"
)

# What is planted and not found, and why there is nothing to find for a check that sees no bodies.
EXPLAINED = {
    "orders: payments.refund does not hear ReactionFailed[ItemsReserved]": LATER,
    "journeys: flights.free_seat does not take None": "told as a note (CB305): only where hold_seat gives up is there "
    "no seat to be given, and the flow is then listed as stuck",
    "journeys: rooms.unbook does not hear ReactionFailed[SeatHeld]": LATER,
    "journeys: payments.refund does not hear ReactionFailed[CarHeld]": LATER,
    "theatre: rooms.confirm without needs=": "the room is then held after the success; what can be undone is not late",
    "media: drop encoder.give_up": "told as a note (CB305): the flow has a deadline, and all its effects may stay",
    "media: fails= without OwnerTold": "the letter stays on purpose (keeps=), so a failure need not wait for it",
    "trip: drop dispatch.search": WORLD,
    "trip: dispatch.free without needs=": "it then frees a driver who never was taken, which does nothing",
    "trip: trips.complete without needs=": "a trip may then be completed without a driver: only the body could say no",
    "trip: dispatch.lapse unless= without OfferAccepted": TIMER,
    "trip: dispatch.lapse unless= without OfferDeclined": TIMER,
}


class Mutant(NamedTuple):
    """What became of one defect: no choreography at all, found by these checks, proven to change nothing, or missed."""

    where: str
    name: str
    refused: bool = False
    codes: tuple[str, ...] = ()
    is_equal: bool = False

    @property
    def is_counted(self) -> bool:
        """Whether it is a defect. A return that was changed in body and annotation alike is another contract."""
        return not (self.refused or self.is_equal or self.name.endswith(ON_PURPOSE))


def mutants(where: str) -> Iterator[Mutant]:
    """Every defect in one choreography."""
    known = draft(CLEAN[where])
    for name, plant in defects(known):
        try:
            made = built(changed(known, plant))
        except (ContractError, LookupError):  # refused, or no such return in the body
            yield Mutant(where, name, refused=True)
            continue
        reads_bodies = name.endswith((UNDECLARED, FORGOTTEN))  # elsewhere bodies do not fit what was planted
        report = check(made, ignore=() if reads_bodies else {"CB501"})
        found = sorted({each.code for each in report.findings if each.severity != "information"})
        is_equal = not found and not reads_bodies and can_do_the_same(CLEAN[where], made)
        yield Mutant(where, name, codes=tuple(found), is_equal=is_equal)


def share(found: Sequence[Mutant]) -> str:
    """How many of these are found."""
    lost = sum(not each.codes for each in found)
    return f"{len(found) - lost} of {len(found)} ({100 * (1 - lost / max(len(found), 1)):.1f} %)"


def told(where: str, seen: Sequence[Mutant]) -> None:
    """The figures of one choreography, and what was missed."""
    on_purpose = [each for each in seen if each.name.endswith(ON_PURPOSE) and not (each.refused or each.is_equal)]
    print(
        f"{where}: {share([each for each in seen if each.is_counted])} found; beside them "
        f"{sum(each.refused for each in seen)} refused when built, {sum(each.is_equal for each in seen)} proven to "
        f"change nothing; {share(on_purpose)} of what is changed on purpose is told too"
    )
    for each in seen:
        if each.is_equal:
            print(f"   changes nothing: {each.name}")
        elif each.is_counted and not each.codes:
            print(f"   missed: {each.name}: {EXPLAINED.get(f'{where}: {each.name}', 'not explained')}")


def main() -> int:
    every: list[Mutant] = []
    for where in sys.argv[1:] or CLEAN:
        assert not [each for each in check(CLEAN[where]).findings if each.severity != "information"]
        seen = list(mutants(where))
        told(where, seen)
        every += seen
    counted = [each for each in every if each.is_counted]
    missed = [each for each in counted if not each.codes]
    print(f"together: {share(counted)} found")
    groups = [counted, *([each for each in counted if each.where == where] for where in ALONE)]
    return int(
        any(sum(not each.codes for each in group) > ALLOWED * len(group) for group in groups)
        or any(f"{each.where}: {each.name}" not in EXPLAINED for each in missed)
    )


if __name__ == "__main__":
    sys.exit(main())
