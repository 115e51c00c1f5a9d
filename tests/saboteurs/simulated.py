"""Some whole choreographies under seeded faults; a build with a break in it is caught if anything is wrong in one.

Run by `run.py --simulated` on a broken copy of the source. Prints the oracle that found it, and the seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

from callboard.errors import CallboardError  # noqa: E402  # found only once the root is on the path
from callboard.simulation.world import Scene, World  # noqa: E402
from tests.planted import whole_auction, whole_shop  # noqa: E402
from trip import rides  # noqa: E402


def main(seeds: int) -> int:
    """1 if something is wrong in a world of these choreographies, 0 if nothing is."""
    for seed in range(seeds):
        for choreography in (whole_shop(), whole_auction(), rides):
            try:
                ending = World(Scene(choreography), seed).run()
            except (CallboardError, AssertionError, LookupError, TypeError, AttributeError, ValueError) as error:
                print(f"a world ended with {type(error).__name__}, seed {seed} of {choreography.name}")
                return 1
            if ending.violations:
                print(f"{ending.violations[0].oracle}, seed {seed} of {choreography.name}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
