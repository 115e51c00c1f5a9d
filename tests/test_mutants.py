"""A defect that is planted in a clean choreography is found, but for those that change nothing anybody could see."""

import pytest

from callboard.checks.catalogue import check
from tests.mutants import fixes
from tests.mutants.defects import changed, hint
from tests.mutants.draft import built, draft
from tests.mutants.equal import can_do_the_same
from tests.mutants.run import CLEAN, EXPLAINED, mutants


@pytest.mark.parametrize("where", CLEAN)
def test_what_is_clean_has_no_errors_and_no_warnings(where: str) -> None:
    assert [each for each in check(CLEAN[where]).findings if each.severity != "information"] == []


@pytest.mark.parametrize("where", ["theatre", "invoices", "mill", "media"])
def test_each_planted_defect_is_found_or_explained(where: str) -> None:
    seen = list(mutants(where))
    missed = {f"{where}: {each.name}" for each in seen if each.is_counted and not each.codes}
    assert missed == {each for each in EXPLAINED if each.startswith(f"{where}: ")}


def test_what_is_proven_to_change_nothing_does_and_what_drops_a_reaction_does_not() -> None:
    known = draft(CLEAN["mill"])
    assert can_do_the_same(CLEAN["mill"], built(known))
    path = next(iter(known.steps))
    assert not can_do_the_same(CLEAN["mill"], built(changed(known, hint(path, "return", None))))


@pytest.mark.parametrize(("where", "mended"), [("theatre", 26), ("invoices", 18), ("mill", 10), ("orders", 98)])
def test_a_fix_that_is_typed_word_for_word_takes_its_finding_away(where: str, mended: int) -> None:
    every = list(fixes.play(where))
    assert [each.log for each in every if not each.held] == []
    left = [each.name for each in every if each.left]
    assert len(every) - len(left) >= mended, "; ".join(left)
