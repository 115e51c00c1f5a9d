"""What docs/pattern.md and docs/incidents.md show runs, and prints what stands there."""

import re
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, play, write_files

DOCS = ROOT / "docs"
PATTERN, INCIDENTS = ((DOCS / page).read_text("utf-8") for page in ("pattern.md", "incidents.md"))

# The parts of the pattern, in the order in which it is usually told.
PARTS = [
    "## The Essence",
    "## Intuition: The Jazz Band Analogy",
    "## Choreography vs Orchestration",
    "## Implementation Patterns",
    "### 1. Event-Driven Choreography",
    "### 2. Service Implementation",
    "### 3. Saga Pattern with Choreography",
    "### 4. Event Correlation",
    "## Failure Modes & Mitigation",
    "### 1. Event Loss Prevention",
    "### 2. Handling Out-of-Order Events",
    "## Design Decisions",
    "## Real-World Examples",
    "## When to Use vs Avoid",
    "## Related Patterns",
    "### Event Sourcing and CQRS",
]


def test_every_part_of_the_pattern_is_told_in_its_order() -> None:
    prose = re.sub(r"^```.*?^```$", "", PATTERN, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^##+ .*$", prose, re.MULTILINE) == PARTS


def test_every_promise_that_is_named_is_one() -> None:
    promised = re.findall(r"^## (\d+)\. (.*)$", (DOCS / "guarantees.md").read_text("utf-8"), re.MULTILINE)
    anchors = {f"{number}-" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for number, title in promised}
    assert set(re.findall(r"guarantees\.md#([^)]+)\)", PATTERN)) <= anchors


@pytest.mark.slow
def test_the_pattern_prints_what_it_says(tmp_path: Path) -> None:
    write_files(PATTERN, tmp_path)
    expected, printed = play(blocks(PATTERN, "console"), tmp_path)
    assert printed == expected


FIRST, *REST = re.split(r"^## ", INCIDENTS, flags=re.MULTILINE)
PLAYED = [each for each in REST if blocks(each, "console")]


@pytest.mark.slow
@pytest.mark.parametrize("incident", PLAYED, ids=[each.partition("\n")[0] for each in PLAYED])
def test_an_incident_is_as_it_is_told(incident: str, tmp_path: Path) -> None:
    write_files(INCIDENTS, tmp_path)
    expected, printed = play(blocks(FIRST, "console") + blocks(incident, "console"), tmp_path)
    assert printed == expected
