"""What a commit makes durable (``Ledger``) and what a crash takes away (``Memory``)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .plan import Plan
from .shop import REACTIONS, Call, Emitted, Event, Shelf, Steps

Delivery = tuple[str, int]  # (reaction, seq)


@dataclass(frozen=True, slots=True)
class Parked:
    """The one home of a delivery that is neither open nor settled."""

    why: Literal["behind", "retry", "timer", "running", "dead", "settled"]
    due: int = 0
    attempts: int = 0
    replays: int = 0
    tried: bool = False  # it may have reached the outside; attempts may be forgiven, this never
    reason: str = ""


class FlowRow(NamedTuple):
    """What the tracker knows of a flow."""

    deadline: int
    seen: str = ""  # the end that was read from the log
    verdict: Literal["", "succeeded", "failed"] = ""
    at: int = 0  # head of the log at the verdict
    leaked: tuple[str, ...] = ()
    timed_out: bool = False
    early: bool = False  # the verdict came before an asked compensation was done (for the judge alone)


@dataclass(slots=True)
class Ledger:
    """The tables. A copy is the draft of a transaction."""

    shelves: dict[str, Shelf]
    position: dict[str, int]  # per reaction; below it everything is settled but what is open or parked
    open: dict[str, frozenset[int]]
    log: list[Event] = field(default_factory=list[Event])
    parked: dict[Delivery, Parked] = field(default_factory=dict[Delivery, Parked])
    memory: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])  # (flow, what, name)
    once: dict[tuple[str, str], Delivery] = field(default_factory=dict[tuple[str, str], Delivery])
    skipped: list[tuple[Delivery, str]] = field(default_factory=list[tuple[Delivery, str]])
    status: dict[str, str] = field(default_factory=dict[str, str])
    supplied: set[str] = field(default_factory=set[str])
    flows: dict[str, FlowRow] = field(default_factory=dict[str, FlowRow])
    tracked: int = 0

    @classmethod
    def new(cls, plan: Plan) -> "Ledger":
        """Fill the shelves, and nothing else."""
        return cls(
            {sku: Shelf(free) for sku, free in plan.stock.items()},
            dict.fromkeys(REACTIONS, 0),
            dict.fromkeys(REACTIONS, frozenset()),
        )

    def copy(self) -> "Ledger":
        """Begin a transaction."""
        return Ledger(
            self.shelves.copy(),
            self.position.copy(),
            self.open.copy(),
            self.log.copy(),
            self.parked.copy(),
            self.memory.copy(),
            self.once.copy(),
            self.skipped.copy(),
            self.status.copy(),
            self.supplied.copy(),
            self.flows.copy(),
            self.tracked,
        )

    def event(self, seq: int) -> Event:
        """The event with this number."""
        return self.log[seq - 1]

    def of(self, flow: str) -> Iterator[Event]:
        """The events of a flow, in log order."""
        return (event for event in self.log if event.flow == flow)

    def parked_of(self, name: str, flow: str) -> dict[Delivery, Parked]:
        """What is parked of a reaction in a flow."""
        return {one: row for one, row in self.parked.items() if one[0] == name and self.event(one[1]).flow == flow}


@dataclass(slots=True, eq=False)
class Run:
    """One attempt, from its claim to its settlement, on a private copy of its row."""

    delivery: Delivery
    effect: Event | None
    row: str = ""
    shelf: Shelf | None = None
    free: int = 0  # what the shelf had when it was loaded
    steps: Steps | None = None
    call: Call | None = None
    emitted: Emitted | None = None
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it can be settled."""
        return self.emitted is not None or bool(self.error)


@dataclass(slots=True)
class Memory:
    """The process. A copy goes with the draft of a transaction."""

    read: int
    open: dict[str, set[int]]
    running: dict[Delivery, Run] = field(default_factory=dict[Delivery, Run])
    touched: set[str] = field(default_factory=set[str])  # reactions whose position the commit writes

    @classmethod
    def of(cls, ledger: Ledger) -> "Memory":
        """What an opening process knows."""
        return cls(min(ledger.position.values()), {name: set(seqs) for name, seqs in ledger.open.items()})

    def copy(self) -> "Memory":
        """Begin a transaction."""
        return Memory(self.read, {name: seqs.copy() for name, seqs in self.open.items()}, self.running.copy())

    def runs(self, ledger: Ledger, name: str, flow: str) -> bool:
        """Whether a run of this reaction in this flow is not settled."""
        return any(one == name and ledger.event(seq).flow == flow for one, seq in self.running)
