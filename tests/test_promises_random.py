"""Everything at once, drawn from seeds: failures, lost answers, crashes, foreign commits, takeovers, replays."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .support.company import ShopScene
from .support.fair import FairScene
from .support.play import Play, Scene

SCENES: dict[str, Callable[[], Scene]] = {"shop": ShopScene, "fair": FairScene}
SEEDS, AT_ONCE = 45, 15
MANY, MANY_AT_ONCE = 4_000, 400


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
@pytest.mark.parametrize("name", SCENES)
async def test_everything_is_right_at_the_end_whatever_fails(name: str, first: int, tmp_path: Path) -> None:
    await _judge(SCENES[name], range(first, first + AT_ONCE), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10_000, 10_000 + MANY, MANY_AT_ONCE))
@pytest.mark.parametrize("name", SCENES)
async def test_everything_is_right_at_the_end_of_many_more_plays(name: str, first: int, tmp_path: Path) -> None:
    await _judge(SCENES[name], range(first, first + MANY_AT_ONCE), tmp_path)


async def _judge(scene: Callable[[], Scene], seeds: range, folder: Path) -> None:
    """Play these seeds. One that fails is told with the promises that it broke."""
    found = {seed: faults for seed in seeds if (faults := await Play(scene(), seed, folder).run())}
    assert found == {}
