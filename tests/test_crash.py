"""The kill loop in short: a few kill -9 among three workers on one file. `make crash-test` has the long form."""

import sys
from pathlib import Path

import pytest

from tests.crash.play import Play, play


@pytest.mark.slow  # `make crash-test` plays more of it
async def test_workers_that_are_killed_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    crew = ("a", "standby", "p")
    wanted = Play(scene="depot", folder=tmp_path / "depot", seed="everyday", kills=3, seconds=4, rest=60, crew=crew)
    report = await play(wanted, lambda text: print(text, file=sys.stderr))
    assert {counter: told for counter, told in report.found.items() if told} == {}
    assert report.landed
