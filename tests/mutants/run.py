"""Plants every defect in every clean choreography, and tells how many are found. `make mutants`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

# ruff: noqa: E402 - what is tested lies on a path of its own
from callboard import Choreography
from callboard.checks.catalogue import check
from callboard.errors import ContractError
from media import media
from shop import shop
from tests.mutants.defects import changed, defects
from tests.mutants.draft import built, draft
from trip import rides

CLEAN: dict[str, Choreography] = {"shop": shop, "media": media, "trip": rides}

DEADLINE = "may say nothing: the deadline ends the flow all the same, so no way is without an end"
JOINED = "without needs=: the parameter becomes a trigger of a join, which waits for it just so"
NARROWER = "never emits one of its outcomes: a narrower contract, and nothing says that the outcome was wanted"
WORLD = "a word from outside may come at any time, so the flow can still end well without the step that asks for it"
EQUAL = "changes nothing: what is left excludes, parts or keeps the same"
LATER = "the deadline does, later, what the reaction did at once"

# What is planted and not found, and why there is nothing to find for a check that sees no bodies.
EXPLAINED: dict[str, dict[str, str]] = {
    "shop": {
        "orders.complete without once=": EQUAL,
        "inventory.reserve may say nothing": DEADLINE,
        "payments.charge may say nothing": DEADLINE,
        "shipping.ship may say nothing": DEADLINE,
        "payments.charge without needs=": JOINED,
        "payments.refund does not hear ReactionFailed[ItemsReserved]": LATER,
        "shipping.ship never emits ShippingFailed": NARROWER,
        "shipping.call_off never emits OrderShipped": NARROWER,
    },
    "media": {
        "encoder.encode never emits ChunkLost": NARROWER,
        "drop encoder.give_up": "told as a note (CB305): the flow has a deadline, and all its effects may stay",
        "encoder.give_up without per=": EQUAL,
        "mailer.tell without needs=": JOINED,
        "fails= without OwnerTold": "the letter stays on purpose (keeps=), so a failure need not wait for it",
    },
    "trip": {
        "drop dispatch.search": WORLD,
        "dispatch.search never emits RideOffered": WORLD,
        "dispatch.search never emits NoDriverFound": NARROWER,
        "dispatch.offer_again never emits NoDriverFound": NARROWER,
        "dispatch.offer_again never emits None": NARROWER,
        "dispatch.assign never emits OfferLapsed": NARROWER,
        "dispatch.assign never emits None": NARROWER,
        "dispatch.search may say nothing": DEADLINE,
        "dispatch.lapse may say nothing": DEADLINE,
        "pricing.quote may say nothing": DEADLINE,
        "trips.complete may say nothing": DEADLINE,
        "trips.cancel may say nothing": DEADLINE,
        "billing.collect may say nothing": DEADLINE,
        "dispatch.assign without needs=": JOINED,
        "dispatch.free without needs=": JOINED,
        "billing.collect without needs=": JOINED,
        "billing.receipt without needs=": JOINED,
        "trips.complete without needs=": "a trip may then be completed without a driver: only the body could say no",
        "dispatch.lapse without per=": EQUAL,
        "dispatch.lapse unless= without OfferAccepted": "the timer then lapses an offer that was taken: seen in no end",
        "dispatch.lapse unless= without OfferDeclined": "the timer then lapses an offer twice: a loop is not counted",
        "billing.collect without pivot=": EQUAL,
        "billing.receipt without keeps=": EQUAL,
    },
}


class Mutant(NamedTuple):
    """What became of one defect: refused when the choreography was built, found by these checks, or missed."""

    where: str
    name: str
    refused: str
    codes: tuple[str, ...]

    @property
    def missed(self) -> bool:
        return not self.refused and not self.codes


def mutants(where: str) -> Iterator[Mutant]:
    """Every defect in one choreography."""
    known = draft(CLEAN[where])
    for name, plant in defects(known):
        try:
            made = built(changed(known, plant))
        except ContractError as error:
            yield Mutant(where, name, error.fix, ())
            continue
        found = [each.code for each in check(made, ignore={"CB501"}).findings if each.severity != "information"]
        yield Mutant(where, name, "", tuple(sorted(set(found))))


def main() -> int:
    missed: list[Mutant] = []
    for where in sys.argv[1:] or CLEAN:
        seen = list(mutants(where))
        planted = [each for each in seen if not each.refused]
        lost = [each for each in seen if each.missed]
        missed += lost
        share = 100 * (len(planted) - len(lost)) / len(planted)
        print(
            f"{where}: {len(seen)} defects, {len(seen) - len(planted)} refused when built, "
            f"{len(planted) - len(lost)} of {len(planted)} found by check ({share:.1f} %)"
        )
        for each in lost:
            print(f"   missed: {each.name}: {EXPLAINED[where].get(each.name, 'not explained')}")
    return int(any(each.name not in EXPLAINED[each.where] for each in missed))


if __name__ == "__main__":
    sys.exit(main())
