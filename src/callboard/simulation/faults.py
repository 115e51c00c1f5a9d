"""The faults of a world: each a named option with a unit, and how often it strikes where it can."""

import re
from collections.abc import Collection

from msgspec import Struct

from callboard.errors import CallboardError


class UnknownFault(CallboardError):
    """A fault was named that there is not."""


class Fault(Struct, frozen=True):
    """One kind of trouble. `told` is what the story says of it: see `sentence`."""

    name: str
    rate: float  # of the places where it can strike, before the swarm scales it
    amounts: tuple[float, ...]  # one of these, drawn
    unit: str
    told: str

    @property
    def is_counted(self) -> bool:
        """Whether its amount says how often it strikes in one place, one time after the other."""
        return not self.unit.startswith("seconds")


_ALL = (
    Fault("crash", 0.008, (0.5, 0.5, 5, 60, 600), "seconds down", "{first} dies {rest}, and starts again {by} later"),
    Fault("late", 0.03, (0.5, 5, 60, 600, 1800, 3600), "seconds", "{what} reaches {to} {by} late"),
    Fault("drop", 0.03, (30,), "seconds until again", "{what} is lost on its way to {to}, and comes again {by} later"),
    Fault("duplicate", 0.04, (0, 0.5, 30, 600), "seconds later", "{what} reaches {to} once more, {by} later"),
    Fault("lost-ack", 0.03, (0.5, 30), "seconds until again",
          "{to} acknowledges {what}, the broker never hears it, and delivers it again {by} later"),
    Fault("partition", 0.02, (1, 30, 300), "seconds", "{first} cannot reach the broker {rest}, for {by}"),
    Fault("slow", 0.03, (5, 50, 90, 600), "seconds", "{where} takes {by} longer"),
    Fault("skew", 0.15, (-900, -60, 60, 900), "seconds", "the clock of {where} is {by} {side}"),
    Fault("busy", 0.03, (1,), "tries", "{where} finds the lock of its ledger taken"),
    Fault("full", 0.01, (1,), "tries", "{first} finds the disk full when it commits {rest}"),
    Fault("fail", 0.04, (1,), "calls", "{where} fails before it takes place"),
    Fault("lose", 0.03, (1,), "answers", "{where} takes place, and its answer is lost"),
    Fault("refuse", 0.06, (1,), "answers", "{where} is answered with None or False"),
    Fault("cancel", 0.05, (0.1, 10, 600), "seconds after", "somebody calls off {first} #{rest}, {by} after its start"),
)  # fmt: skip
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
SWARM = (0.0, 0.0, 1.0, 4.0, 8.0)  # each seed scales each kind by one of these


def named(names: Collection[str]) -> tuple[str, ...]:
    """These faults, in our order. Raises UnknownFault."""
    for name in names:
        if name not in FAULTS:
            raise UnknownFault(f"there is no fault {name!r}: there are {', '.join(FAULTS)}")
    return tuple(name for name in FAULTS if name in names)


def sentence(key: str, amount: float) -> str:
    """A deviation in words. "late Paid#o-1 -> orders (2)", 1800: Paid#o-1 reaches orders 30 min late, the 2nd time."""
    fault, _, rest = key.partition(" ")
    where, count = rest, ""
    if visit := re.fullmatch(r"(.*) \((\d+)\)", rest):
        where, count = visit[1], f", the {_ordinal(int(visit[2]))} time"
    if fault not in FAULTS:
        return f"{where} is published{count}"
    count += f", {amount:g} times in a row" if FAULTS[fault].is_counted and amount > 1 else ""
    first, _, after = where.partition(" ")
    what, _, to = where.partition(" -> ")
    return (
        FAULTS[fault].told.format(
            where=where,
            first=first,
            rest=after,
            what=what,
            to=to,
            by=span(abs(amount)),
            side="behind" if amount < 0 else "ahead",
        )
        + count
    )


def _ordinal(number: int) -> str:
    ends = {} if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{ends.get(number % 10, 'th')}"


def span(seconds: float) -> str:
    """How long that is: `0.5 s`, `30 min`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
