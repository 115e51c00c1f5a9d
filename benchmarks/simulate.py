"""How many worlds a second: `python benchmarks/simulate.py [seeds]`. The order choreography, 4 orders each, all faults.

One core. The time is that of this process on the processor, the least of several rounds over the same seeds, since a
neighbour can only make it longer; beside it the time on the wall of that round.
"""

import sys
import time
from importlib import import_module
from pathlib import Path

from callboard.simulation.hunt import hunt
from callboard.simulation.world import Scene

_ROUNDS = 5


def main(seeds: int) -> None:
    """Print the rate, and the digest that tells that every round lived the same worlds."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "order_fulfilment"))
    scene = Scene(import_module("shop").shop)
    hunt(scene, range(2))  # what is made once for all seeds
    rounds: list[tuple[float, float]] = []
    digests: set[str] = set()
    for _ in range(_ROUNDS):
        used, passed = time.process_time(), time.perf_counter()
        found = hunt(scene, range(seeds), most=seeds)
        rounds.append((time.process_time() - used, time.perf_counter() - passed))
        digests.add(found.digest)
        if found.failures or found.unsteady or len(digests) > 1:
            sys.exit(f"not the same or not safe: {found.failures} {found.unsteady} {digests}")
    used, passed = min(rounds)
    print(f"{seeds / used:.0f} seeds/s on the processor, {seeds / passed:.0f} on the wall; digest {digests.pop()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
