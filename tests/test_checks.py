"""Each check fires on the lines that teach it, and not on the same lines mended as its fix says."""

import pytest

from callboard.check import Check
from callboard.checks.catalogue import CHECKS, check
from tests.fragments import choreography

BROKERS = {"CB601": "kafka"}


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_finds_what_its_example_breaks(code: str) -> None:
    one: Check = CHECKS[code]
    found = check(choreography(one.broken), broker=BROKERS.get(code)).findings
    assert code in {each.code for each in found}


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_finds_nothing_once_its_example_is_mended(code: str) -> None:
    one: Check = CHECKS[code]
    found = check(choreography(one.mended), broker=BROKERS.get(code)).findings
    assert [each for each in found if each.severity == "error" or each.code == code] == []
