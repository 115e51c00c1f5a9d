"""CB103: a reaction waits for an event that nobody says."""

from collections.abc import Iterator
from difflib import get_close_matches

from callboard.check import Check, Finding, Severity
from callboard.checks.orphan_events import wanted_by
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract, holds, types_in
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed


def find(subject: Subject) -> Iterator[Finding]:
    """Events that a reaction takes, and that no reaction, flow or world outside says."""
    said = {kind for contract in subject.contracts for kind in contract.emits}
    said |= {*subject.choreography.incoming, *(flow.start for flow in subject.flows)}
    for contract in subject.contracts:
        for kind in sorted(wanted_by(contract), key=str):
            if kind not in said and not _is_told(subject, contract, kind):
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{contract.name} waits for {kind}, which nobody says",
                    _fix(kind, [str(each) for each in said]),
                    about=f"{contract.path} {kind}",
                    severity=_severity(contract, kind, said),
                )


def _is_told(subject: Subject, contract: Contract, kind: EventType) -> bool:
    if kind.cls is FlowTimedOut:
        return any(flow.start is kind.inner and flow.timeout is not None for flow in subject.flows)
    if kind.cls is FlowCancelled:
        return any(flow.start is kind.inner for flow in subject.flows)
    if kind.cls is ReactionFailed:
        pairs = [contract] if contract.options.compensates is None else []
        undone = subject.contracts if pairs else [
            each for each in subject.contracts if each.path == f"{contract.service}.{contract.options.compensates}"
        ]  # fmt: skip
        return any(kind.inner in each.hears for each in undone if each.service == contract.service or kind.inner)
    return False


def _severity(contract: Contract, kind: EventType, said: set[EventType]) -> Severity:
    needs = contract.options.needs
    is_needed = needs is not None and kind in types_in(needs) and not holds(needs, said)
    return "error" if kind in contract.hears or is_needed else "warning"


def _fix(kind: EventType, said: list[str]) -> str:
    if kind.cls is FlowTimedOut:
        return f"give the flow that starts with {kind.inner} a timeout=, or do not wait for it"
    if kind.cls is FlowCancelled:
        return f"declare a Flow that starts with {kind.inner}, or do not wait for it"
    if kind.cls is ReactionFailed:
        return f"let a reaction of this service hear {kind.inner}, or do not wait for its failure"
    near = get_close_matches(str(kind), said, 1, 0.6)
    meant = f"take {near[0]} if that is meant, " if near else ""
    return f"{meant}let a reaction emit {kind}, or name it in incoming= if it comes from outside"


CHECK = Check(
    code="CB103",
    name="event that nobody says",
    severity="error",
    find=find,
    meaning="A reaction takes an event that no reaction emits, that starts no flow and that incoming= does not name. "
    "It never runs; where the event is only looked back for (unless=, `E | None`), that part of it is without "
    "effect.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@money.reaction
def charge(packed: Packed) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
)
