"""Everything at once, drawn from seeds: failures, lost answers, crashes, foreign commits, replays, deadlines."""

from pathlib import Path

import pytest

from .support.play import Play

SEEDS = 200
AT_ONCE = 20


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_stock_money_and_verdicts_are_right_whatever_fails(first: int, tmp_path: Path) -> None:
    await _judge(range(first, first + AT_ONCE), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10_000, 20_000, 500))
async def test_stock_money_and_verdicts_are_right_in_many_more_plays(first: int, tmp_path: Path) -> None:
    await _judge(range(first, first + 500), tmp_path)


async def _judge(seeds: range, folder: Path) -> None:
    found = {seed: faults for seed in seeds if (faults := await Play(seed, folder).run())}
    assert found == {}
