"""The tutorial is true: its diffs apply, its commands print what stands there, its pictures are what is drawn."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.pages import ROOT
from tests.tutorial_page import PAGES, PICTURES, picture, played

ANEW = "python -m tests.tutorial_page"
CHECK, SIMULATE = PAGES
COUNTS = re.compile(r"^shop: .*", re.MULTILINE)


@pytest.mark.slow
def test_each_step_of_the_check_prints_what_stands_there(tmp_path: Path) -> None:
    text = CHECK.read_text("utf-8")
    assert told(played(text, tmp_path)) == told(text), ANEW
    assert COUNTS.findall(text)[-1].startswith("shop: 1 note")
    assert "that is examples/showcase/checked.py" in text


@pytest.mark.slow
def test_each_bug_of_the_simulation_prints_the_story_that_stands_there(tmp_path: Path) -> None:
    text = SIMULATE.read_text("utf-8")
    assert told(played(text, tmp_path)) == told(text), ANEW
    found = re.findall(r"^FAILED  seed \d+   ([a-z-]+):", text, re.MULTILINE)
    assert found == ["stuck", "wall-clock", "module-state", "outside-twice", "outside-left", "invariant"]
    assert text.count("nothing broke") == 2
    assert "that is examples/showcase/mended.py" in text


def told(text: str) -> str:
    """The page without what says only how much was looked at, and without the ids that are made in a world."""
    text = re.sub(r"^\d+ seeds?, .*|^faults, by .*|^no seed has reached: .*", "", text, flags=re.MULTILINE)
    text = re.sub(r"in [\d,]+ states|shrunk \d+ deviations|in \d+ runs", "", text)
    return re.sub(r"\b[0-9a-z]{26}\b", "ID", text)


def test_the_timeout_is_the_diagram_and_a_few_lines(tmp_path: Path) -> None:
    text = CHECK.read_text("utf-8")
    first = next(re.finditer(r"^```diff\n.*?^```$", text, re.MULTILINE | re.DOTALL)).group()
    shutil.copy(ROOT / "examples" / "showcase" / "diagram.py", tmp_path / "shop.py")
    played(first, tmp_path)
    assert (tmp_path / "shop.py").read_text("utf-8") == (ROOT / "examples/showcase/timeout.py").read_text("utf-8")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_is_drawn(name: str) -> None:
    assert PICTURES[name].read_text("utf-8") == picture(name), ANEW
