"""CB107: a reaction cannot tell whether it runs because something worked or because it failed."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, wanted_by
from callboard.contract import Contract
from callboard.event import EventType


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions with a choice behind their event, of which nothing that they take tells the outcome."""
    paths = subject.paths
    for kind in subject.choreography.events.values():
        if kind.failure or kind.inner is not None or kind in paths.bad:
            continue
        emitters = [each for each in subject.emitters(kind) if each.options.compensates is None]
        well = {one for each in emitters for one in each.hears if one not in paths.bad}
        badly = {one for each in emitters for one in each.hears if one in paths.bad}
        if not well or not badly:
            continue
        for contract in subject.hearers(kind):
            if _acts(subject, contract) and not _is_informed(subject, contract, kind, well | badly):
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{contract.name} runs on {kind} both after {named(well)} and after {named(badly)}",
                    f"take {named(badly)} as `| None` to tell them apart, or say {kind} after one of them only",
                    about=f"{contract.path} {kind}",
                )


def _acts(subject: Subject, contract: Contract) -> bool:
    return bool(contract.emits or subject.effects.shared(contract))


def _is_informed(subject: Subject, contract: Contract, kind: EventType, causes: set[EventType]) -> bool:
    """It takes a cause, or something that is said only after one of them."""
    looked = wanted_by(contract) - {kind}
    bad_only = subject.paths.bad
    return bool(looked & causes) or any(each in bad_only for each in looked)


CHECK = Check(
    code="CB107",
    name="uninformed reaction",
    severity="warning",
    find=find,
    meaning="A reaction does something on an event that is said both where all went well and where something failed, "
    "and nothing in its signature tells it which. It will thank a customer whose payment was refused.",
    broken="""
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction
def close(paid: Paid | Declined) -> Closed: ...

@desk.reaction(keeps="a letter is a letter")
def thank(closed: Closed, post: Post) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Paid, Noted], fails=tuple[Declined, Noted])]
""",
    mended="""
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction
def close(paid: Paid | Declined) -> Closed: ...

@desk.reaction(keeps="a letter is a letter")
def thank(closed: Closed, declined: Declined | None, post: Post) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Paid, Noted], fails=tuple[Declined, Noted])]
""",
)
