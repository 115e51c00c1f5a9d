"""A defect that is planted in a clean choreography is found, but for those that change nothing anybody could see."""

import pytest

from callboard.checks.catalogue import check
from tests.mutants.run import CLEAN, EXPLAINED, mutants


@pytest.mark.parametrize("where", CLEAN)
def test_what_is_clean_has_no_errors_and_no_warnings(where: str) -> None:
    assert [each for each in check(CLEAN[where]).findings if each.severity != "information"] == []


@pytest.mark.parametrize("where", ["shop", "media"])
def test_each_planted_defect_is_found_or_explained(where: str) -> None:
    missed = [each.name for each in mutants(where) if each.missed]
    assert sorted(missed) == sorted(EXPLAINED[where])


@pytest.mark.slow
def test_each_defect_planted_in_the_trip_is_found_or_explained() -> None:
    missed = [each.name for each in mutants("trip") if each.missed]
    assert sorted(missed) == sorted(EXPLAINED["trip"])
