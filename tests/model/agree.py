"""Do the model and the real thing agree? One random schedule after another: `make agree`, `make agree SCHEDULES=200`.

Two plans in three are calm, and have one outcome whatever the schedule: there the events, the state and the verdict of
every flow must be those of the model. In the third anything may fail, and the judge of the model judges the real thing.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .judge import judge
from .plan import Plan
from .real import play
from .world import Outcome, Picture, run

AT_ONCE = 20


def plan_of(number: int) -> Plan:
    """The plan that is played under this number."""
    return Plan.of(number, calm=number % 3 > 0, declining=number % 3 == 1)


async def disagreements(number: int, folder: Path) -> tuple[str, ...]:
    """What the real thing does otherwise than the model, in words."""
    plan = plan_of(number)
    real = await play(plan, number, folder)
    return (*judge(plan, real), *(_differences(plan, real) if plan.calm else ()))


def _differences(plan: Plan, real: Outcome) -> Iterator[str]:
    model = run(plan.seed, plan=plan)
    for flow in plan.orders:
        for name, one, other in zip(
            ("verdict", "events"), _picture(model, flow, plan), _picture(real, flow, plan), strict=True
        ):
            if one != other:
                yield f"{flow}: its {name} should be {one}, not {other}"
    shelves = [{sku: (row.free, row.filled) for sku, row in each.shelves.items()} for each in (model, real)]
    if shelves[0] != shelves[1]:
        yield f"the shelves should be {shelves[0]}, not {shelves[1]}"
    if model.status != real.status:
        yield f"the orders should be {model.status}, not {real.status}"


def _picture(outcome: Outcome, flow: str, plan: Plan) -> Picture:
    """How a flow ended. Whether points were given when it was called off hangs on the schedule."""
    verdict, events = outcome.picture(flow)
    return verdict, frozenset(each for each in events if "earn" not in each) if plan.declining else events


def _play_some(first: int) -> dict[int, tuple[str, ...]]:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="callboard-agree-") as folder:
        return {number: asyncio.run(disagreements(number, Path(folder))) for number in range(first, first + AT_ONCE)}


def main() -> int:
    """Play so many schedules, and tell where the two disagree."""
    count, bad = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000, 0
    with ProcessPoolExecutor() as pool:
        for done, found in enumerate(pool.map(_play_some, range(0, count, AT_ONCE)), 1):
            for number, told in found.items():
                bad += bool(told)
                if told:
                    print(f"{number}: {'; '.join(told)}", flush=True)
            print(f"\r{done * AT_ONCE} of {count} schedules, {bad} disagree", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{-(-count // AT_ONCE) * AT_ONCE} schedules, the model and the real thing disagree in {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
