"""Measure what is promised of speed: `python benchmarks/run.py [--short] [--only ROW] [--json]`.

Every row is a comparison in one run, in pairs (A B, B A), each side in a fresh process: the median, and the quartiles
around it. A row that cannot run here says why, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import PLACES, ROOT, Unavailable
from benchmarks.rows import (
    Options,
    Row,
    chain,
    commits,
    crowd,
    floor,
    growth,
    guarantees,
    idle,
    imports,
    median,
    million,
    neighbour,
    ordinary,
    peers,
    stages,
    tracker,
)

ROWS = {
    row.name: row
    for row in (
        floor.ROW,
        *peers.ROWS,
        commits.ROW,
        idle.ROW,
        million.ROW,
        chain.ROW,
        crowd.ROW,
        neighbour.ROW,
        tracker.ROW,
        million.RESTART,
        imports.ROW,
        imports.HELP,
        ordinary.ROW,
        stages.ROW,
        guarantees.ROW,
        guarantees.TRIES,
        growth.ROW,
    )
}


def measure(row: Row, options: Options) -> dict[str, Any]:
    """What came of one row, or why nothing did."""
    told: dict[str, Any] = {
        "name": row.name, "what": row.what, "reach": row.reach, "aim": row.aim, "at_least": row.at_least,
        "unit": row.unit, "form": row.form, "took": time.time(), "load": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "revision": revision(),
    }  # fmt: skip
    try:
        answer = row.measure(options)
    except Unavailable as error:
        told |= {"why not": str(error), "failed": not row.peers}
    else:
        told |= {"values": answer.values, "by cpu": answer.by_cpu, "lines": answer.lines, "drawn": answer.drawn}
    told["took"] = round(time.time() - told["took"], 1)
    return told


def is_reached(told: dict[str, Any], values: str = "values") -> bool:
    """Whether the median is where it is to be."""
    if told["reach"] is None:
        return True
    middle = median(told[values]).median
    return bool(middle >= told["reach"] if told["at_least"] else middle <= told["reach"])


def tell(told: dict[str, Any]) -> None:
    """Print one row."""
    sign = "≥" if told["at_least"] else "≤"
    wanted = "" if told["reach"] is None else f"{sign} {told['reach']:g} {told['unit']}"
    if "why not" in told:
        print(f"{told['name']:<14} {wanted:<10} not run: {told['why not']}")
        return
    value = format(median(told["values"]), told["form"]) if told["values"] else ""
    mark = "" if told["reach"] is None else "reached" if is_reached(told) else "MISSED"
    count = f"   n = {len(told['values'])}" if told["values"] else ""
    by_cpu = f"   by CPU {format(median(told['by cpu']), told['form'])}" if told["by cpu"] else ""
    print(f"{told['name']:<14} {wanted:<10} {mark:<8} {value}{by_cpu}{count}")
    print(f"               {told['what']}")
    for line in told["lines"]:
        print(f"                 {line}")
    sys.stdout.flush()


def machine() -> dict[str, Any]:
    """Where it was measured."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "msgspec": version("msgspec"),
        "load": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def revision() -> str:
    """The commit that is measured."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="only see that it works: few orders, one pair")
    parser.add_argument(
        "--only", action="append", metavar="ROW", help=f"this row, again for another: {', '.join(ROWS)}"
    )
    parser.add_argument("--pairs", type=int, default=0, help="pairs of runs (9; 1 with --short)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--keep", type=Path, default=PLACES / "table.json", help="the figures, added to those it has")
    given = parser.parse_args()
    if unknown := [name for name in given.only or () if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there is {', '.join(ROWS)}")
    return given


def keep(path: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Add a row to what is kept; all of it."""
    before: dict[str, Any] = json.loads(path.read_text())["rows"] if path.exists() else {}
    rows = {**before, told["name"]: told}
    kept: dict[str, Any] = {"machine": machine(), "rows": {name: rows[name] for name in ROWS if name in rows}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1))
    return kept


def main() -> None:
    """Print the table, or JSON."""
    given = arguments()
    broken: list[str] = []
    kept: dict[str, Any] = {}
    for row in [ROWS[name] for name in given.only or ROWS]:

        def say(text: str, row: Row = row) -> None:
            if sys.stderr.isatty():
                print(f"\r\033[K{row.name}: {text}", end="\r", file=sys.stderr)

        if given.short and row.alone:
            continue
        told = measure(row, Options(given.short, given.pairs or (1 if given.short else 9), say))
        kept = keep(PLACES / "short.json" if given.short else given.keep, told)
        if not given.json:
            tell(told)
        if told.get("failed"):
            broken.append(row.name)
    if given.json:
        print(json.dumps(kept))
    if broken:
        sys.exit(f"bench: {', '.join(broken)} could not be measured")


if __name__ == "__main__":
    main()
