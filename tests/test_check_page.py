"""docs/check.md says what is so."""

from tests.check_page import BEGIN, PAGE, assumptions, catalogue


def test_the_page_has_every_check_as_it_is() -> None:
    text = PAGE.read_text("utf-8")
    assert text[text.index(BEGIN) :] == catalogue(), "python -m tests.check_page"


def test_the_page_says_what_is_taken_for_granted() -> None:
    assert assumptions() in PAGE.read_text("utf-8")
