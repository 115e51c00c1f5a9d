"""What a check says: findings, each with where it is, the way that leads there, and what mends it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from callboard.choreography import Choreography
from callboard.contract import Contract
from callboard.flow import Flow

Severity = Literal["error", "warning", "information"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information")


class Place(Struct, frozen=True):
    """Where something is written: a file, a line, and what is declared there: `payments.charge`, `Flow("checkout")`."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Step(Struct, frozen=True):
    """One thing that happens on the way to what was found."""

    service: str  # "(outside)" for the world, "(deadline)" for the tracker
    reaction: str
    heard: str = ""
    emitted: tuple[str, ...] = ()
    note: str = ""  # in plain words, where events do not say it: "reserve has not run yet"
    place: Place | None = None


class Confirmation(Struct, frozen=True):
    """Whether the code itself goes the way of a finding."""

    label: Literal["confirmed", "not reproduced"]
    why: str
    runs: int  # of the code, with other inputs each


class Finding(Struct, frozen=True, kw_only=True):
    """One result of a check. `about` names what it speaks of, without lines, so it stays the same when code moves."""

    code: str
    severity: Severity
    title: str
    about: str
    place: Place
    fix: str
    steps: tuple[Step, ...] = ()
    way: tuple[Step, ...] = ()  # all of them, with those that have no part in it
    end: tuple[str, ...] = ()  # how things stand after the last step
    confirmation: Confirmation | None = None

    @property
    def name(self) -> str:
        """What it is known by in a baseline."""
        return f"{self.code} {self.about}"

    @property
    def text(self) -> str:
        """Everything of it in lines."""
        lines = [self.title]
        number = 0
        for step in self.steps:
            number += bool(step.service)
            words = [f"{number}." if step.service else "…", step.service, step.reaction, step.heard]
            said = f"-> {', '.join(step.emitted)}" if step.emitted else ""
            lines.append(" ".join(each for each in (*words, said, step.note and f"[{step.note}]") if each))
        lines += [f"=> {each}" for each in self.end]
        lines += [f"{self.confirmation.label.upper()}: {self.confirmation.why}"] if self.confirmation else []
        return "\n".join([*lines, f"fix: {self.fix}"])


class Check(Struct, frozen=True, kw_only=True):
    """A property: what it is called, what it finds, and what `--explain` teaches about it.

    `broken` and `mended` are the same few lines of a choreography, with the defect and without; the tests run both.
    """

    code: str
    name: str
    severity: Severity
    find: Callable[[Any], Iterator[Finding]]  # is given the checks.subject.Subject
    meaning: str
    broken: str
    mended: str


class Extent(Struct, frozen=True):
    """How far the exploration went."""

    states: int
    bounded: bool


class Report(Struct, frozen=True):
    """All that was found, and how far it was looked."""

    choreography: Choreography
    findings: Sequence[Finding]
    extents: Sequence[Extent]
    allowed: Sequence[Finding] = ()  # found too, and allowed by a comment that says why
    notes: Sequence[str] = ()  # on the check itself: comments that allow nothing, a search that was cut short
    broker: str | None = None  # that lies between the services, if it was named

    @property
    def states(self) -> int:
        """How many were looked at."""
        return sum(each.states for each in self.extents)

    @property
    def bounded(self) -> bool:
        """There are more, and what lies there was not looked at."""
        return any(each.bounded for each in self.extents)

    def count(self, severity: Severity) -> int:
        """How many findings are so severe."""
        return sum(each.severity == severity for each in self.findings)


def place_of_contract(contract: Contract) -> Place:
    """Where a reaction is written."""
    return Place(contract.file, contract.line, contract.path)


def place_of_flow(flow: Flow) -> Place:
    """Where a flow is declared."""
    return _place(flow.where, repr(flow))


def place_of_choreography(choreography: Choreography) -> Place:
    """Where it is put together."""
    return _place(choreography.where, f"Choreography({choreography.name!r})")


def _place(where: str, name: str) -> Place:
    file, _, line = where.removesuffix(name).strip().rpartition(":")
    return Place(file, int(line) if line.isdigit() else 0, name)
