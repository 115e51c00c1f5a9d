"""CB101: an event that is emitted, and nobody does anything with it."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract, types_in
from callboard.event import EventType


def wanted_by(contract: Contract) -> set[EventType]:
    """Every event that a reaction takes in any form."""
    options = contract.options
    shapes = [each for each in (options.needs, options.unless) if each is not None]
    given = {kind for each in contract.givens for kind in each.types}
    return {*contract.hears, *given, *(kind for shape in shapes for kind in types_in(shape))}


def find(subject: Subject) -> Iterator[Finding]:
    """Events that no reaction takes in any form, no flow ends with, and no one outside is said to hear."""
    wanted = {*subject.choreography.outgoing, *(kind for each in subject.contracts for kind in wanted_by(each))}
    for flow in subject.flows:
        wanted |= {*types_in(flow.succeeds), *(types_in(flow.fails) if flow.fails is not None else ())}
    for contract in subject.contracts:
        for kind in contract.emits:
            if kind not in wanted and not kind.failure:
                yield at_reaction(
                    contract,
                    CHECK,
                    f"nobody hears {kind}, which {contract.name} emits",
                    f"react to {kind}, name it in outgoing= if somebody outside hears it, or emit nothing",
                    about=f"{contract.path} {kind}",
                )


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
