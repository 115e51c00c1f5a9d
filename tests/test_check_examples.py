"""What the check says of every example: what is right has no errors, and the rest is what it deserves."""

import re
from pathlib import Path

import pytest

from callboard.checks.catalogue import check
from callboard.cli.discovery import load_app

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

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
    "showcase/timeout.py:shop": ["CB203", "CB203", "CB302", "CB401", "CB306", "CB304", "CB304", "CB304"],
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


PROGRAM = re.compile(r"```python\n((?:(?!```).)*?import [^\n]*\bChoreography\b.*?)```", re.DOTALL)


def programs() -> list[tuple[str, str]]:
    """Every program of the guide that declares a choreography and takes nothing from another one."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [(page.name, text) for page in pages for text in PROGRAM.findall(page.read_text("utf-8"))]
    return [(name, text) for name, text in found if "= Choreography(" in text and "from shop import" not in text]


@pytest.mark.parametrize(("page", "text"), programs(), ids=[f"{page}-{n}" for n, (page, _) in enumerate(programs())])
def test_a_program_of_the_guide_has_no_errors(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / f"{page.partition('.')[0].replace('-', '_')}_program.py"
    file.write_text(text.partition("\nasyncio.run(")[0], "utf-8")
    report = check(load_app(str(file), tmp_path))
    assert [each for each in report.findings if each.severity == "error"] == []
