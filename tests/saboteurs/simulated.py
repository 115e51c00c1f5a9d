"""Some whole choreographies under seeded faults; a build with a break in it is caught if anything is wrong in one.

Run by `run.py --simulated` on a broken copy of the source, with how many seeds and of which scenes. Prints the oracle
that found it, and the seed.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

from callboard.simulation.world import World  # noqa: E402  # found only once the root is on the path
from tests.saboteurs.scenes import SAME_EACH_TIME, SCENES  # noqa: E402


def main(seeds: int, names: list[str]) -> int:
    """1 if something is wrong in a world of the these scenes, 0 if nothing is."""
    logging.disable(logging.CRITICAL)
    for name in names:
        for seed in range(2 if name in SAME_EACH_TIME else seeds):
            try:
                violations = World(SCENES[name](), seed).run().violations
            except Exception as error:  # however a broken build ends a world, it is noticed
                print(f"{type(error).__name__}, seed {seed} of {name}")
                return 1
            if violations:
                print(f"{violations[0].oracle}, seed {seed} of {name}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
