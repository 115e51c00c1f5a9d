"""`assert_checked`: what it lets pass, and what it says of the rest."""

import pytest

from callboard.checks.catalogue import CHECKS
from callboard.testing.checked import assert_checked
from shop import shop
from tests.fragments import choreography


def test_what_has_no_errors_passes() -> None:
    assert_checked(shop, strict=True)


def test_an_error_is_told_with_its_way_and_its_fix() -> None:
    with pytest.raises(AssertionError) as told:
        assert_checked(choreography(CHECKS["CB201"].broken))
    text = str(told.value)
    assert "CB201" in text
    assert "money charge Held -> Declined" in text
    assert "fix: undo it: a reaction of stock with compensates=hold" in text


def test_a_warning_fails_only_if_it_is_asked_for() -> None:
    warned = choreography(CHECKS["CB305"].broken)
    assert_checked(warned)
    with pytest.raises(AssertionError, match="CB305"):
        assert_checked(warned, strict=True)
    assert_checked(warned, strict=True, ignore={"CB305"})


def test_an_exploration_that_stopped_is_no_proof() -> None:
    with pytest.raises(AssertionError, match="bounded"):
        assert_checked(shop, limit=10)
