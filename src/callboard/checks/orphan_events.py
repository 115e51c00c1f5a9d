"""CB101: an event that is emitted, and nobody does anything with it."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_choreography, at_reaction
from callboard.contract import Contract, types_in
from callboard.event import EventType


def wanted_by(contract: Contract, *, unless: bool = True) -> set[EventType]:
    """Every event that a reaction takes in any form; without those that only keep it from running if so asked."""
    options = contract.options
    shapes = [each for each in (options.needs, options.unless if unless else None) if each is not None]
    given = {kind for each in contract.givens for kind in each.types}
    return {*contract.hears, *given, *(kind for shape in shapes for kind in types_in(shape))}


def find(subject: Subject) -> Iterator[Finding]:
    """Events that no reaction takes, no flow ends with, and no one outside is said to hear.

    One that only stops a timer is told too, as a warning: whoever says it expects that something goes on.
    """
    ends = {*subject.choreography.outgoing}
    ends |= {kind for each in subject.choreography.projections.values() for kind in each.hears}
    for flow in subject.flows:
        ends |= {*types_in(flow.succeeds), *(types_in(flow.fails) if flow.fails is not None else ())}
    stops = {kind for each in subject.contracts if each.options.unless for kind in types_in(each.options.unless)}
    wanted = ends | {kind for each in subject.contracts for kind in wanted_by(each, unless=False)}
    for contract in subject.contracts:
        for kind in contract.emits:
            if kind not in wanted and not kind.failure:
                title = f"nobody hears {kind}, which {contract.name} emits"
                yield at_reaction(contract, CHECK, *_text(kind, title, stops), **_more(contract.path, kind, stops))
    for kind in subject.choreography.incoming:
        if kind not in wanted:
            title = f"nobody hears {kind}, which the world outside says"
            yield at_choreography(subject, CHECK, *_text(kind, title, stops), **_more("incoming", kind, stops))


def _text(kind: EventType, title: str, stops: Collection[EventType]) -> tuple[str, str]:
    if kind in stops:
        return f"{title}: it only stops a timer", f"let a reaction hear {kind} and go on, or end the flow with it"
    return title, f"react to {kind}, name it in outgoing= if somebody outside hears it, or take it away"


def _more(path: str, kind: EventType, stops: Collection[EventType]) -> dict[str, str]:
    return {"about": f"{path} {kind}", "severity": "warning" if kind in stops else CHECK.severity}


CHECK = Check(
    code="CB101",
    name="orphan event",
    severity="error",
    find=find,
    meaning="An event is emitted and no reaction takes it, no flow ends with it, and outgoing= does not name it. "
    "Mostly its name was changed in one place only, or its last hearer was deleted.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> tuple[Held, Noted]: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> tuple[Held, Noted]: ...

flows, outgoing = [Flow("order", key="order", starts=Ordered, succeeds=Held)], Noted
""",
)
