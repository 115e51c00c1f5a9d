"""How far the code of every choreography here goes the ways of its model: `make ways`.

python -m tests.ways 60                     all of them, and 60 seeds of each: none may end as the model says none can
python -m tests.ways 0 targets/media.py:media
"""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from callboard import Choreography
from callboard.cli.discovery import load_app
from callboard.simulation.coverage import foreign, observe
from callboard.simulation.guiding import guided
from callboard.simulation.world import Scene, World

from . import planted
from .test_check_examples import DESERVED, EXAMPLES

TARGETS = Path(__file__).parent / "targets"
PLANTED = sorted((EXAMPLES / "showcase" / "planted").glob("*.py"))
OWN = ("whole_shop", "whole_auction", "no_unless", "no_key", "no_compensation", "module_variable", "wall_clock")
NAMES = [
    *DESERVED,
    *(f"showcase/planted/{file.name}:planted" for file in PLANTED),
    "targets/media.py:media",
    "targets/trip.py:rides",
    *(f"planted.py:{name}" for name in OWN),
]
# where not all ways are gone: how many of how many, and why
LEFT = {
    "10_trip/rides.py:rides": (19, 20, "other inputs are needed"),
    "targets/trip.py:rides": (19, 20, "other inputs are needed"),
    "11_media/media.py:media": (4, 5, "data rules it out"),
    "showcase/planted/module_variable.py:planted": (1, 2, "takes no input from outside"),
    "showcase/planted/skewed_clocks.py:planted": (1, 2, "clocks are right"),
    "planted.py:wall_clock": (9, 10, "data rules it out"),
}
ENDLESS = {"showcase/timeout.py:shop"}  # reactions answer each other in a circle: no seed comes to its end


def the(name: str) -> Choreography:
    """The choreography of this name; two files may be called alike."""
    if name.startswith("planted.py:"):
        made: Callable[[], Choreography] = getattr(planted, name.partition(":")[2])
        return made()
    if not name.startswith("targets/"):
        return load_app(name, EXAMPLES)
    file, _, what = name.removeprefix("targets/").partition(":")
    spec = importlib.util.spec_from_file_location(f"targets_{Path(file).stem}", TARGETS / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    choreography: Choreography = getattr(module, what)
    return choreography


class Walk(NamedTuple):
    """What came of it."""

    ways: int
    gone: int
    runs: int
    seconds: float  # of the processor
    whys: list[str]
    foreign: list[str]  # ends of flows that the model says cannot be, here or under seeds with faults


def walked(name: str, *, seeds: int) -> Walk:
    """All ways of its model, and so many seeds."""
    begun, choreography = time.process_time(), the(name)
    scene = Scene(choreography)
    found = guided(scene, 1000, most=1000)
    spent = time.process_time() - begun
    whys = [f"{way.name}: {way.why}" for way in found.ways if way.why]
    for seed in range(seeds if name not in ENDLESS else 0):
        world = World(scene, seed)
        world.run()
        found.seen |= observe(world)
    told = foreign(choreography, found.seen)
    return Walk(len(found.ways), len(found.ways) - len(whys), found.seeds, spent, whys, told)


def wrong(name: str, walk: Walk) -> list[str]:
    """What is worse than it was."""
    gone, ways, why = LEFT.get(name, (walk.ways, walk.ways, ""))
    found = [f"{walk.gone} of {walk.ways} ways are gone, not {gone} of {ways}"] if walk[:2] != (ways, gone) else []
    found += [told for told in walk.whys if why not in told]
    return found + [f"the model says that this cannot be: {told}" for told in walk.foreign]


def main(seeds: int, names: list[str]) -> int:
    """A line for each; 1 if one is worse than it was."""
    print("| choreography | ways | gone | runs | seconds |\n|---|--:|--:|--:|--:|")
    found: list[str] = []
    for name in names:
        walk = walked(name, seeds=seeds)
        print(f"| {name} | {walk.ways} | {walk.gone} | {walk.runs} | {walk.seconds:.1f} |", flush=True)
        found += [f"{name}: {told}" for told in wrong(name, walk)]
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:] or NAMES))
