"""The real thing does what the model does. `make agree` plays many more schedules."""

from pathlib import Path

import pytest

from .agree import disagreements


@pytest.mark.parametrize("first", range(30, 60, 15))
async def test_the_model_and_the_real_thing_agree(first: int, tmp_path: Path) -> None:
    found = {number: await disagreements(number, tmp_path) for number in range(first, first + 15)}
    assert {number: told for number, told in found.items() if told} == {}
