"""The kill loop: `make crash-test`. Ends with a table; exit code 1 if a counter is not 0.

    .venv/bin/python tests/crash/run.py [--seed N] [--kills N] [--minutes N] [--choreography shop|depot|all] [--kind K]

Counted are the kills that land while work of the killed worker is unfinished, by the ledger right after the kill.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT), str(ROOT / "tests" / "targets")]

from tests.crash.judge import COUNTERS  # noqa: E402
from tests.crash.play import KINDS, Play, Report, play  # noqa: E402
from tests.crash.scenes import SCENES  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="kill -9 while work is unfinished; every counter must read 0")
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000), help="of orders, faults and kills")
    parser.add_argument("--kills", type=int, default=100, help="so many that land, over all choreographies")
    parser.add_argument("--minutes", type=float, default=5.5, help="at most so long, over all choreographies")
    parser.add_argument("--choreography", choices=[*SCENES, "all"], default="all")
    parser.add_argument("--kind", choices=KINDS, default="mixed", help="what happens beside the kills")
    parser.add_argument("--keep", action="store_true", help="keep the files although all is well")
    return parser.parse_args()


async def main() -> int:
    options = arguments()
    names = list(SCENES) if options.choreography == "all" else [options.choreography]
    folder = Path(tempfile.mkdtemp(prefix="callboard-crash-"))
    reports: list[Report] = []
    for name in names:
        wanted = Play(
            scene=name,
            folder=folder / name,
            seed=f"{options.seed}/{name}",
            kills=-(-options.kills // len(names)),
            seconds=options.minutes * 60 / len(names),
            kind=options.kind,
        )
        reports.append(await play(wanted, tell))
    print(table(reports, options.seed))
    landed = sum(report.landed for report in reports)
    faults = sum(len(told) for report in reports for told in report.found.values())
    if faults or landed < options.kills:
        print(f"\nFAILED: {faults} faults, {landed} of {options.kills} kills landed")
        print(f"seed {options.seed}, files in {folder}")
        return 1
    if options.keep:
        print(f"\nfiles in {folder}")
    else:
        shutil.rmtree(folder)
    return 0


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def row(name: str, figures: Sequence[int | str]) -> str:
    return f"{name:44}" + "".join(f"{figure:>12}" for figure in figures)


def table(reports: list[Report], seed: str) -> str:
    """What happened, what must read 0, and the first faults of each kind."""
    lines = [row(f"crash test, seed {seed}", [report.scene for report in reports])]
    figures = list(dict.fromkeys(name for report in reports for name in report.figures))
    lines += [row(name, [report.figures.get(name, 0) for report in reports]) for name in figures]
    lines.append("-" * len(lines[0]))
    lines += [row(counter, [len(report.found[counter]) for report in reports]) for counter in COUNTERS]
    for report in reports:
        for counter, told in report.found.items():
            lines += [f"  {report.scene}, {counter}: {each[:600]}" for each in told[:12]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
