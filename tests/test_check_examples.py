"""What the check says of every example: what is right has no errors, and the rest is what it deserves."""

from pathlib import Path

import pytest

from callboard.checks.catalogue import check
from callboard.cli.discovery import load_app

EXAMPLES = Path(__file__).parent.parent / "examples"

# No deadline: one dead letter, and nobody is ever told.
WITHOUT_DEADLINE = ["CB305"]
DESERVED = {
    "01_one_reaction/greet.py:house": WITHOUT_DEADLINE,
    "02_state_and_refusal/shelf.py:shop": WITHOUT_DEADLINE,
    "03_two_services/kitchen.py:restaurant": [],
    "04_compensation/holiday.py:holidays": WITHOUT_DEADLINE,
    "05_outside_call/texting.py:logins": WITHOUT_DEADLINE,
    "06_unknown_outcome/charge.py:box_office": WITHOUT_DEADLINE,
    "07_deadline/rehearsal.py:theatre": [],
    "08_word_from_outside/invoice.py:invoices": [],
    "09_two_programs/mill.py:mill": [],
    "10_trip/rides.py:rides": [],
    "11_media/media.py:media": [],
    "12_sql_of_your_own/ledger_book.py:company": WITHOUT_DEADLINE,
    "order_fulfilment/shop.py:shop": [],
    "showcase/textbook.py:shop": ["CB102", "CB102", "CB301", "CB203", "CB305"],
    "showcase/diagram.py:shop": ["CB203", "CB203", "CB305"],
    "showcase/timeout.py:shop": ["CB203", "CB203", "CB302", "CB401", "CB304", "CB304", "CB304", "CB306"],
    "showcase/checked.py:shop": [],
    "showcase/mended.py:shop": [],
}
ALLOWED = {"03_two_services/kitchen.py:restaurant": ["CB303"], "11_media/media.py:media": ["CB301"]}


@pytest.mark.parametrize("name", DESERVED)
def test_an_example_has_the_findings_that_it_deserves(name: str) -> None:
    report = check(load_app(name, EXAMPLES))
    assert [each.code for each in report.findings if each.severity != "information"] == DESERVED[name]
    assert [each.code for each in report.allowed] == ALLOWED.get(name, [])
    assert not report.notes
    assert not report.bounded


def test_every_example_is_checked() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if list(path.glob("*.py"))}
    assert {name.partition("/")[0] for name in DESERVED} == folders
