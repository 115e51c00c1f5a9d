"""``python -m tests.model.table [seeds]``: in how many seeds an invariant breaks, for each set of rules."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from .judge import judge
from .plan import Plan
from .rules import PROPOSED, SABOTEURS, Rules
from .world import run

# Beside each set of rules: what it changes in every plan.
Row = tuple[Rules, Callable[[Plan], Plan]]


def as_drawn(plan: Plan) -> Plan:
    return plan


HOLD: dict[str, Row] = {
    "proposed": (PROPOSED, as_drawn),
    "proposed, every reaction suspends": (PROPOSED, lambda plan: replace(plan, suspends=True)),
    "proposed, poison everywhere": (PROPOSED, lambda plan: replace(plan, poisoned=True)),
    "row order without version check": (replace(PROPOSED, versions=False), lambda plan: replace(plan, locked=True)),
    "version check without row order": (replace(PROPOSED, row_order=False), as_drawn),
}
OUTSIDE = "not ours: a void does not close its key, calls outlive attempts"
BREAK: dict[str, Row] = {name: (rules, as_drawn) for name, rules in SABOTEURS.items()}
BREAK[OUTSIDE] = (PROPOSED, lambda plan: replace(plan, zombies=True, closing=False))


def broken(name: str, seed: int) -> tuple[str, ...]:
    """What broke under these rules in this seed."""
    rules, change = HOLD.get(name) or BREAK[name]
    plan = change(Plan.of(seed))
    return judge(plan, run(seed, rules, plan=plan))


def lines(names: list[str], seeds: int) -> Iterator[str]:
    """One line for each set of rules, over all processors."""
    yield f"{'bad':>5} / {seeds}  {'rules':<72} first seeds"
    with ProcessPoolExecutor() as pool:
        for name in names:
            found = enumerate(pool.map(partial(broken, name), range(seeds), chunksize=25))
            bad = [(seed, what[0]) for seed, what in found if what]
            first = ", ".join(str(seed) for seed, _ in bad[:3])
            yield f"{len(bad):>5} / {seeds}  {name:<72} {first}{'  ' + bad[0][1] if bad else ''}"


if __name__ == "__main__":
    for line in lines([*HOLD, *BREAK], int(sys.argv[1]) if len(sys.argv) > 1 else 1500):
        print(line, flush=True)
