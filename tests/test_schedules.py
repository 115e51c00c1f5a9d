"""Every schedule that may break a promise is played by tests that exist, or its decision is written down."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from callboard.simulation.world import World
from tests.saboteurs.plans import SABOTEURS
from tests.saboteurs.scenes import SCENES

HERE = Path(__file__).parent
_PAGE = HERE / "schedules.md"
_ROW = re.compile(r"^## (?:(\d+)\. )?(\S.*)$")


@cache
def names() -> frozenset[str]:
    """The names of all tests, here and in the folders below."""
    trees = [ast.parse(file.read_text()) for file in sorted(HERE.rglob("test_*.py"))]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, functions))


def rows() -> Iterator[tuple[str, list[str]]]:
    """Each schedule with the lines below it."""
    name, told = "", list[str]()
    for line in _PAGE.read_text().splitlines():
        if line.startswith("#"):
            if name:
                yield name, told
            name, told = (line.removeprefix("## ") if line.startswith("## ") else ""), []
        elif line.startswith("* "):
            told.append(line.removeprefix("* "))
    yield name, told


ROWS = list(rows())


@pytest.mark.parametrize(("name", "told"), ROWS, ids=[name for name, _ in ROWS])
def test_a_schedule_is_played_by_tests_that_exist_or_decided(name: str, told: list[str]) -> None:
    assert told, "nothing plays it"
    decisions = re.sub(r"\s+", " ", (HERE.parent / "docs" / "decisions.md").read_text())
    for line in told:
        if line.startswith("decided: "):
            assert f"**{line.removeprefix('decided: ')}" in decisions
        else:
            assert line.partition(" (")[0] in names()


def test_no_schedule_is_left_out() -> None:
    numbers = [int(found[1]) for name, _ in ROWS if (found := _ROW.match(f"## {name}")) and found[1]]
    assert numbers == list(range(1, 49))


def test_every_promise_is_broken_in_three_ways_or_more() -> None:
    """`make saboteurs` sees that each is caught."""
    promises = re.findall(r"(?m)^## (\d+)\. ", (HERE.parent / "docs" / "guarantees.md").read_text())
    planted = Counter(saboteur.promise for saboteur in SABOTEURS)
    assert len(promises) >= 12
    assert {promise: planted[int(promise)] for promise in promises if planted[int(promise)] < 3} == {}


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_wrong_in_the_worlds_of_a_build_in_which_nothing_is_broken(name: str) -> None:
    """Or else `make saboteurs-simulated` would say nothing of what a break changes; the last three rested too soon."""
    seeds = [*range(4), *([6, 34, 39] if name == "yard" else [])]
    assert {seed: found for seed in seeds if (found := World(SCENES[name](), seed).run().violations)} == {}


def test_every_saboteur_fits_the_source_that_it_breaks() -> None:
    source = HERE.parent / "src" / "callboard"
    changes = [change for saboteur in SABOTEURS for change in saboteur.changes]
    assert [(c.file, c.old) for c in changes if (source / c.file).read_text("utf-8").count(c.old) != 1] == []
