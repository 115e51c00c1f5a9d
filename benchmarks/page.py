"""Put the figures of `build/bench/table.json` into docs/performance.md, and draw them: `python benchmarks/page.py`.

What stands between `<!-- figures: NAME -->` and `<!-- end -->` is written anew; the text around it is people's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import PEERS, PLACES, ROOT
from benchmarks.rows import median
from benchmarks.run import is_reached

PAGE = ROOT / "docs" / "performance.md"
TABLE = PLACES / "table.json"


def table(rows: dict[str, Any]) -> str:
    """The rows that have something to reach, and those that only tell."""
    lines = ["| row | what | reach | by the clock | by CPU | n | |", "|---|---|---|---|---|---|---|"]
    for row in rows.values():
        if row.get("drawn") and not row.get("values"):
            continue
        if "why not" in row:
            lines.append(f"| `{row['name']}` | {row['what']} | {_reach(row)} | not run: {row['why not']} | | | |")
            continue
        by_cpu = format(median(row["by cpu"]), row["form"]) if row["by cpu"] else ""
        mark = "" if row["reach"] is None else "reached" if is_reached(row) else "**missed**"
        if row["by cpu"] and row["reach"] is not None and is_reached(row, "by cpu") != is_reached(row):
            mark += ", by CPU " + ("reached" if is_reached(row, "by cpu") else "missed")
        value = format(median(row["values"]), row["form"])
        lines.append(
            f"| `{row['name']}` | {row['what']} | {_reach(row)} | {value} | {by_cpu} | {len(row['values'])} | {mark} |"
        )
    return "\n".join(lines)


def _reach(row: dict[str, Any]) -> str:
    return "" if row["reach"] is None else f"{'≥' if row['at_least'] else '≤'} {row['reach']:g} {row['unit']}"


def sides(rows: dict[str, Any]) -> str:
    """What each row tells beside its ratio."""
    lines: list[str] = []
    for row in rows.values():
        if row.get("values"):
            lines.append(f"{row['name']} ({row['when']} UTC, {row['revision']}, load {row['load']:.0f})")
            lines += [f"    {line}" for line in row["lines"]]
    return "```text\n" + "\n".join(lines) + "\n```"


def lines_of(name: str, rows: dict[str, Any]) -> str:
    """What a row tells that has no ratio."""
    row = rows[name]
    return "```text\n" + "\n".join(line.rstrip() for line in row["lines"]) + "\n```"


def where(machine: dict[str, Any]) -> str:
    """The machine."""
    told = "{cores} cores ({cpu}), Python {python}, SQLite {sqlite}, msgspec {msgspec}"
    return told.format(**machine)


def main() -> None:
    """The page says what was measured."""
    kept = json.loads(TABLE.read_text())
    rows = kept["rows"]
    written = {"machine": where(kept["machine"]), "table": table(rows), "sides": sides(rows)}
    written |= {name: lines_of(name, rows) for name in ("stages", "guarantees", "tries", "growth") if name in rows}

    def put(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- figures: {name} -->\n{written[name]}\n<!-- end -->" if name in written else found[0]

    text = re.sub(r"<!-- figures: (\w+) -->.*?<!-- end -->", put, PAGE.read_text(), flags=re.DOTALL)
    PAGE.write_text(text)
    if PEERS.exists():
        draw = [str(PEERS), "benchmarks/pictures.py", str(TABLE), str(ROOT / "docs" / "pictures")]
        subprocess.run(draw, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
