"""CB103: a reaction waits for an event that nobody says."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding, Severity
from callboard.checks import mending
from callboard.checks.subject import Subject, at_reaction, wanted_by
from callboard.contract import Contract, holds, types_in
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed


def find(subject: Subject) -> Iterator[Finding]:
    """Events that a reaction takes, and that no reaction, flow or world outside says."""
    for contract in subject.contracts:
        for kind in sorted(wanted_by(contract), key=str):
            if kind not in subject.said and not _is_told(subject, contract, kind):
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{contract.name} waits for {kind}, which nobody says",
                    _fix(subject, contract, kind),
                    about=f"{contract.path} {kind}",
                    severity=_severity(contract, kind, subject.said),
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


def _severity(contract: Contract, kind: EventType, said: Collection[EventType]) -> Severity:
    needs = contract.options.needs
    is_needed = needs is not None and kind in types_in(needs) and not holds(needs, set(said))
    return "error" if kind in contract.hears or is_needed else "warning"


def _fix(subject: Subject, contract: Contract, kind: EventType) -> str:
    if kind.cls is FlowTimedOut:
        return f"give the flow that starts with {kind.inner} a timeout=, or do not wait for it"
    if kind.cls is FlowCancelled:
        return f"declare a Flow that starts with {kind.inner}, or do not wait for it"
    if kind.cls is ReactionFailed:
        return f"take {kind} out of {contract.name}, or let a reaction of {contract.service} hear {kind.inner}"
    first = mending.say(subject, kind) or mending.take_instead(subject, contract, kind)
    outside = f"name {kind} in incoming= if it comes from outside"
    if first:
        return f"{first}; or {outside}"
    takers = [each for each in subject.contracts if kind in wanted_by(each)]
    if len(takers) == 1 and not mending.lacking(contract, subject.said):
        return f"take {kind} out of {contract.name}, let a reaction emit it, or name it in incoming="
    return f"{outside}; or let a reaction emit it"


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
