"""The rows of the table, one module each: what is compared, what it is to reach, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure import Pair, Side, Spread, pairs, spread


def _silent(_: str) -> None:
    return None


@dataclass
class Options:
    """How a row is to be measured."""

    short: bool = False  # only to see that it works
    count: int = 9  # pairs
    tell: Callable[[str], None] = _silent

    def size(self, usual: int, short: int = 0) -> int:
        """So many orders in one run."""
        return (short or max(64, usual // 20)) if self.short else usual


@dataclass
class Answer:
    """What was measured: one value for each pair, the same by CPU where that says something, and what else to tell."""

    values: list[float]
    by_cpu: list[float] = field(default_factory=list[float])
    lines: list[str] = field(default_factory=list[str])
    drawn: dict[str, Any] = field(default_factory=dict[str, Any])  # for the picture


@dataclass
class Row:
    """One row of the table."""

    name: str
    what: str
    reach: float | None
    aim: float | None
    measure: Callable[[Options], Answer]
    at_least: bool = True  # or at most
    form: str = ".2f"
    unit: str = "×"
    alone: bool = False  # too long for the short form
    peers: bool = False  # needs the venv of the peers


def compare(options: Options, ours: Side, theirs: Side) -> Answer:
    """Our rate over theirs, by the clock and by the CPU time of an order."""
    found = pairs(ours, theirs, options.count, tell=options.tell)
    return Answer(
        [a["rate"] / b["rate"] for a, b in found],
        [(b["cpu"] + b["server cpu"]) / (a["cpu"] + a["server cpu"]) for a, b in found],
        tell_rates((ours, theirs), found),
    )


def tell_rates(sides: tuple[Side, Side], found: list[Pair]) -> list[str]:
    """A line for each side."""
    lines: list[str] = []
    for side, figures in zip(sides, zip(*found, strict=True), strict=True):
        rate, cpu = spread([each["rate"] for each in figures]), spread([each["cpu"] for each in figures])
        server = spread([each["server cpu"] for each in figures]).median
        beside = f" and {server:,.0f} of its server" if server else ""
        lines.append(f"{side.name}: {rate:,.0f} orders/s, {cpu:,.0f} µs of CPU an order{beside}")
    return lines


def median(values: list[float]) -> Spread:
    """The spread of the values of a row."""
    return spread(values)
