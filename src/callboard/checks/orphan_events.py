"""CB101: an event that is emitted, and nobody does anything with it."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding
from callboard.checks import mending
from callboard.checks.subject import Subject, at_choreography, at_reaction
from callboard.contract import types_in
from callboard.event import EventType


def find(subject: Subject) -> Iterator[Finding]:
    """Events that no reaction takes, no flow ends with, and no one outside is said to hear.

    One that only stops a timer is told too, as a warning: whoever says it expects that something goes on.
    """
    stops = {kind for each in subject.contracts if each.options.unless for kind in types_in(each.options.unless)}
    for contract in subject.contracts:
        for kind in contract.emits:
            if kind in subject.unheard and not kind.failure:
                text = _text(subject, kind, f"nobody hears {kind}, which {contract.name} emits", stops)
                yield at_reaction(contract, CHECK, *text, **_more(contract.path, kind, stops))
    for kind in subject.choreography.incoming:
        if kind in subject.unheard:
            text = _text(subject, kind, f"nobody hears {kind}, which the world outside says", stops)
            yield at_choreography(subject, CHECK, *text, **_more("incoming", kind, stops))


def _text(subject: Subject, kind: EventType, title: str, stops: Collection[EventType]) -> tuple[str, str]:
    first = mending.hear(subject, kind) or f"react to {kind}"
    if kind in stops:
        return f"{title}: it only stops a timer", f"{first}; or end the flow with it"
    sayers, outside = subject.emitters(kind), f"name {kind} in outgoing= if somebody outside hears it"
    is_clear = not first.endswith(" too") and not first.startswith(("react", "name"))
    if sayers and not is_clear and mending.goes_on_beside(subject, sayers[0]):
        return title, f"{outside}, or take {kind} out of the return of {sayers[0].name}"
    if sayers and not is_clear and len(sayers[0].emits) > 1 and kind not in subject.paths.bad:
        first = f"take {kind} out of the return of {sayers[0].name}, or {first}"
    return title, f"{first}; or {outside}"


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
