"""The faults of a world: each a named option with a unit, and how often it strikes where it can."""

from collections.abc import Collection

from msgspec import Struct

from callboard.errors import CallboardError


class UnknownFault(CallboardError):
    """A fault was named that there is not."""


class Fault(Struct, frozen=True):
    """One kind of trouble."""

    name: str
    rate: float  # of the places where it can strike, before the swarm scales it
    amounts: tuple[float, ...]  # one of these, drawn
    unit: str
    meaning: str


_ALL = (
    Fault("crash", 0.008, (0.5, 0.5, 5, 60, 600), "seconds down", "a worker dies at a commit, a sending or a call"),
    Fault("late", 0.03, (0.5, 5, 60, 600, 1800, 3600), "seconds", "the broker delivers late, and others overtake"),
    Fault("duplicate", 0.04, (0, 0.5, 30, 600), "seconds later", "the broker delivers once more"),
    Fault("lost-ack", 0.03, (0.5, 30), "seconds until again", "the broker never learns that it was written down"),
    Fault("away", 0.02, (1, 30, 300), "seconds", "a worker cannot reach the broker"),
    Fault("slow", 0.03, (5, 50, 90, 600), "seconds", "a call outside takes long, perhaps longer than its limit"),
    Fault("skew", 0.15, (-900, -60, 60, 900), "seconds", "the clock of a worker is wrong"),
    Fault("busy", 0.03, (1,), "tries", "somebody else holds the ledger's lock"),
    Fault("full", 0.01, (1,), "tries", "the disk is full, and the commit fails"),
    Fault("fail", 0.04, (1,), "calls", "a call outside fails before it takes place"),
    Fault("lose", 0.03, (1,), "answers", "a call outside takes place, and its answer is lost"),
    Fault("refuse", 0.06, (1,), "answers", "a call outside answers None, where its Protocol allows it"),
    Fault("cancel", 0.05, (0.1, 10, 600), "seconds after", "somebody outside calls the flow off"),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
SWARM = (0.0, 0.0, 1.0, 4.0, 8.0)  # each seed scales each kind by one of these


def named(names: Collection[str]) -> tuple[str, ...]:
    """These faults, in our order. Raises UnknownFault."""
    for name in names:
        if name not in FAULTS:
            raise UnknownFault(f"there is no fault {name!r}: there are {', '.join(FAULTS)}")
    return tuple(name for name in FAULTS if name in names)
