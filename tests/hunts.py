"""Hunts for planted bugs: `make hunts`. How many seeds until each is found, and how small its story becomes.

python -m tests.hunts                       twenty hunts for each, and a thousand seeds without faults
python -m tests.hunts 2 50 dual_write       two hunts, and fifty seeds without faults, for this one
"""

import importlib.util
import sys
import time
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import NamedTuple

from callboard.simulation.guiding import guided
from callboard.simulation.hunt import hunt, shrink
from callboard.simulation.world import Scene, World

PLANTED = Path(__file__).parent.parent / "examples" / "showcase" / "planted"
ENOUGH = 200  # seeds within which a hunt finds its bug, in the mean
FEW = 3  # deviations that its story needs, with what was published
GUIDED = 10  # ways of the model that are gone
APART = 10_000  # seeds between the beginnings of two hunts


class Bug(NamedTuple):
    """What finds it, and what is not asked because it would find the same thing sooner."""

    oracle: str
    ignored: frozenset[str] = frozenset()


BUGS = {
    "dual_write": Bug("stuck"),
    "missing_deduplication": Bug("invariant"),
    "late_compensation": Bug("invariant"),
    "unsettled_outcome": Bug("outside-left"),
    "two_verdicts": Bug("two-verdicts"),
    "missing_key": Bug("outside-twice"),
    "reordering_retry": Bug("invariant", frozenset({"outside-twice"})),
    "surviving_timer": Bug("invariant"),
    "lost_prerequisite": Bug("stuck", frozenset({"module-state"})),
    "skewed_clocks": Bug("stuck"),
    "module_variable": Bug("module-state"),
}


class Found(NamedTuple):
    """What came of the hunts for one bug."""

    name: str
    seeds: list[int]  # of each hunt, until it was found
    lost: int  # hunts that did not find it
    deviations: list[int]  # of each smallest story
    others: set[str]  # oracles that spoke although they should not
    calm: int | None  # seeds without faults until it was found; None: it was not
    seconds: float

    @property
    def is_good(self) -> bool:
        """Found each time, soon enough, by what should find it; and what is left is small, in every story."""
        return not (self.lost or self.others or max(self.deviations) > FEW or mean(self.seeds) > ENOUGH)


def load(name: str) -> ModuleType:
    """One of the planted choreographies."""
    found = importlib.util.spec_from_file_location(f"planted_{name}", PLANTED / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def scene(name: str, *, faults: bool) -> Scene:
    module = load(name)
    keepers = getattr(module, "keepers", list)
    usual = Scene(module.planted, keepers, ignored=BUGS[name].ignored)
    return usual if faults else Scene(module.planted, keepers, faults=(), ignored=BUGS[name].ignored)


def seek(name: str, hunts: int, calm: int) -> Found:
    """Hunt for one bug so many times, and look at so many worlds without faults."""
    began, seeds, deviations, others, lost = time.monotonic(), list[int](), list[int](), set[str](), 0
    hunted = scene(name, faults=True)
    for number in range(hunts):
        for count, seed in enumerate(range(number * APART, number * APART + 5 * ENOUGH), 1):
            ending = World(hunted, seed).run()
            if ending.violations:
                failure = shrink(hunted, ending)
                seeds.append(count)
                deviations.append(len(failure.deviations))
                others |= {each.oracle for each in failure.violations[:1]} - {BUGS[name].oracle}
                break
        else:
            lost += 1
    without = hunt(scene(name, faults=False), range(calm))
    return Found(
        name, seeds, lost, deviations, others, without.seeds if without.failures else None, time.monotonic() - began
    )


def line(found: Found, calm: int) -> str:
    seeds = f"{mean(found.seeds):.1f} ({min(found.seeds)} to {max(found.seeds)})" if found.seeds else "-"
    calmly = f"not in {calm}" if found.calm is None else f"seed {found.calm}"
    small = f"{min(found.deviations)} to {max(found.deviations)}" if found.deviations else "-"
    trouble = [f"not found by {found.lost}"] if found.lost else []
    trouble += [f"found by {', '.join(sorted(found.others))}"] if found.others else []
    told = "; ".join(trouble) or ("ok" if found.is_good else "TOO MUCH")
    oracle = BUGS[found.name].oracle
    return f"{found.name:<22} {oracle:<14} {seeds:<18} {small:<10} {calmly:<12} {found.seconds:6.1f}  {told}"


def main(options: list[str]) -> int:
    numbers = [int(each) for each in options if each.isdecimal()]
    hunts, calm = numbers or (20, 1000)
    wanted = [each for each in BUGS if each in options] or list(BUGS)
    print(f"{'planted':<22} {'found by':<14} {f'seeds, of {hunts}':<18} {'deviations':<10} {'no faults':<12} seconds")
    table: list[Found] = []
    for name in wanted:
        table.append(seek(name, hunts, calm))
        print(line(table[-1], calm), flush=True)
    walked = "late_compensation" not in wanted
    if not walked:
        ways = guided(scene("late_compensation", faults=True), GUIDED)
        told = ", ".join(f"found in run {each.runs}" for each in ways.failures) or f"not found in {GUIDED} runs"
        walked = bool(ways.failures)
        print(f"{'late_compensation':<22} --guided: {told}")
    missed = [each.name for each in table if each.calm is None]
    print(f"without faults {len(missed)} of {len(table)} are not found: {', '.join(missed)}")
    return int(not all(each.is_good for each in table) or not walked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
