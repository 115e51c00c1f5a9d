"""CB101: an event that is emitted, and nobody does anything with it."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject
from callboard.contract import types_in


def find(subject: Subject) -> Iterator[Finding]:
    """Events that no reaction takes in any form, no flow ends with, and no one outside is said to hear."""
    wanted = set(subject.choreography.outgoing)
    for contract in subject.contracts:
        wanted |= {*contract.hears, *(kind for given in contract.givens for kind in given.types)}
        for shape in (contract.options.needs, contract.options.unless):
            wanted |= set(types_in(shape)) if shape is not None else set()
    for flow in subject.choreography.flows.values():
        wanted |= {*types_in(flow.succeeds), *(types_in(flow.fails) if flow.fails is not None else ())}
    for contract in subject.contracts:
        for kind in contract.emits:
            if kind not in wanted and not kind.failure:
                yield subject.finding(
                    contract,
                    CHECK.code,
                    CHECK.severity,
                    f"nobody hears {kind}",
                    about=f"{contract.path} {kind}",
                    fix=f"react to {kind}, name it in outgoing= if somebody outside hears it, or do not emit it",
                )


CHECK = Check(
    code="CB101",
    name="orphan event",
    severity="error",
    find=find,
    meaning="An event is emitted and no reaction takes it, no flow ends with it, and outgoing= does not name it. "
    "Mostly its name was changed in one place only, or its last hearer was deleted.",
    broken="",
    mended="",
)
