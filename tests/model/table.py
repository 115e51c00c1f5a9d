"""``python -m tests.model.table [seeds]``: how many seeds break an invariant, for each set of rules."""
import sys
from collections import Counter
from dataclasses import replace

from .judge import judge
from .plan import Plan
from .rules import PROPOSED, SABOTEURS, Rules
from .world import run

ROWS: dict[str, tuple[Rules, dict[str, bool]]] = {
    "proposed": (PROPOSED, {}),
    "every reaction suspends": (PROPOSED, {"suspends": True}),
    "row order without version check": (replace(PROPOSED, versions=False), {"locked": True}),
    "version check without row order": (replace(PROPOSED, row_order=False), {}),
    **{name: (rules, {}) for name, rules in SABOTEURS.items()},
    "a void does not close its key, calls outlive attempts": (PROPOSED, {"zombies": True, "closing": False}),
}


def broken(rules: Rules, seeds: int, **traits: bool) -> list[tuple[int, str]]:
    """The seeds with a broken invariant, each with the first one."""
    found: list[tuple[int, str]] = []
    for seed in range(seeds):
        plan = replace(Plan.of(seed), **traits)
        if verdict := judge(plan, run(seed, rules, plan=plan)):
            found.append((seed, verdict[0]))
    return found


if __name__ == "__main__":
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    for name, (rules, traits) in ROWS.items():
        bad = broken(rules, seeds, **traits)
        kinds = Counter(w.split(":")[0] if not w.startswith("o") else w.split(": ",1)[1] for _, w in bad).most_common(3)
        print(f"{len(bad):5} / {seeds}  {name:75} first {bad[0][0] if bad else '-'} {kinds}", flush=True)
