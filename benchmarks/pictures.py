"""Draw what was measured: `build/bench/venv/bin/python benchmarks/pictures.py build/bench/table.json docs/pictures`."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

plt.switch_backend("svg")
plt.rcParams |= {"svg.hashsalt": "callboard", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}

BLUE, GREY, RED, GREEN = "#2b6cb0", "#a0aec0", "#c0392b", "#2f855a"


def table(rows: dict[str, Any], path: Path) -> None:
    """How far each row is from what it is to reach: 1 is reached, to the right of it is better."""
    wanted = [row for row in rows.values() if row.get("values") and row["reach"]]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(wanted) + 0.9))
    for place, row in enumerate(reversed(wanted)):
        for values, shift, alpha in (("values", 0.17, 1.0), ("by cpu", -0.17, 0.45)):
            found = [_nearness(row, value) for value in row[values]]
            if not found:
                continue
            middle = statistics.median(found)
            low, _, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else (middle,) * 3
            colour = GREEN if middle >= 1 else RED
            axes.plot(
                [low, high], [place + shift] * 2, color=colour, lw=4, alpha=0.35 * alpha + 0.1, solid_capstyle="butt"
            )
            axes.plot([middle], [place + shift], "o", color=colour, ms=6 if values == "values" else 4, alpha=alpha)
        if row["aim"]:
            axes.plot([_nearness(row, row["aim"])], [place], "|", color=GREY, ms=10)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(wanted)), [row["name"] for row in reversed(wanted)])
    axes.set_xlabel("of what is to be reached (1): by the clock, below it paler by CPU; bar: quartiles; | the aim")
    _write(figure, path / "performance-table.svg")


def _nearness(row: dict[str, Any], value: float) -> float:
    return max(value, 1e-3) / row["reach"] if row["at_least"] else row["reach"] / max(value, 1e-3)


def stages(rows: dict[str, Any], path: Path) -> None:
    """The CPU time of an order by stage."""
    found = rows["stages"]["drawn"]["stages"]
    figure, axes = plt.subplots(figsize=(8, 0.26 * len(found) + 0.7))
    names = list(reversed(found))
    axes.barh(names, [found[name] for name in names], color=[GREY if "SQLite" in name else BLUE for name in names])
    axes.set_xlabel(f"µs of CPU an order, {sum(found.values()):.0f} in all; grey: in SQLite's statements")
    _write(figure, path / "performance-stages.svg")


def guarantees(rows: dict[str, Any], path: Path) -> None:
    """What an order would cost without each guarantee."""
    found = rows["guarantees"]["drawn"]["guarantees"]
    names = sorted(found, key=lambda name: found[name][1])
    figure, axes = plt.subplots(figsize=(8, 0.26 * len(names) + 0.7))
    for place, name in enumerate(names):
        low, middle, high = found[name][:3]
        axes.plot([low, high], [place, place], color=BLUE, lw=4, alpha=0.35, solid_capstyle="butt")
        axes.plot([middle], [place], "o", color=BLUE)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("CPU of an order with everything on / without this; bar: quartiles")
    _write(figure, path / "performance-guarantees.svg")


def growth(rows: dict[str, Any], path: Path) -> None:
    """The cost of a reaction, an order or an event against what grows."""
    curves: dict[str, Any] = {}
    for row in ("growth", "million"):
        curves |= rows.get(row, {}).get("drawn", {}).get("growth", {})
    figure, all_axes = plt.subplots(2, 3, figsize=(8, 4.4))
    for axes, (name, points) in zip(all_axes.flat, curves.items(), strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=BLUE, ms=4)
        axes.set_xscale("linear" if "log" in name else "log")
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize=9)
    for axes in all_axes.flat[len(curves) :]:
        axes.axis("off")
    all_axes[0][0].set_ylabel("µs of CPU")
    all_axes[1][0].set_ylabel("µs of CPU")
    _write(figure, path / "performance-growth.svg")


def _write(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", lw=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    text = "\n".join(line.rstrip() for line in path.read_text().splitlines())
    path.write_text(text + "\n")
    plt.close(figure)


def main() -> None:
    """Each picture whose rows there are."""
    rows = json.loads(Path(sys.argv[1]).read_text())["rows"]
    path = Path(sys.argv[2])
    table(rows, path)
    for draw in (stages, guarantees, growth):
        if draw.__name__ in rows:
            draw(rows, path)


if __name__ == "__main__":
    main()
