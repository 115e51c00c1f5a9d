"""CB105: a reaction never runs, whatever happens."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract
from callboard.event import EventType

TOGETHER = "what it waits for comes only after it, or never together: take that out of its signature or options"


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions that hear something which is said in a flow, and run in no order of what may happen."""
    if any(world.exploration.bounded for world in subject.worlds):
        return
    reached = {slot.path for world in subject.worlds for slot in world.extraction.instances.slots}
    for contract in subject.contracts:
        if contract.path in reached and contract.path not in subject.runs:
            missing = mending.lacking(contract, subject.ever_said)
            why = f": {named(missing)} {'is' if len(missing) == 1 else 'are'} never said" if missing else ""
            fix = _fix(subject, contract, missing[0], subject.ever_said) if missing else TOGETHER
            kept, let = deciding.never_runs(subject, contract)
            if kept and not missing:
                why, fix = f": {kept}", let
            yield at_reaction(contract, CHECK, f"{contract.name} never runs{why}", fix)


def _fix(subject: Subject, contract: Contract, missing: EventType, said: Collection[EventType]) -> str:
    sayers = [each.name for each in subject.emitters(missing)]
    if not sayers:
        return f"let a reaction say {missing}, or take it out of {contract.name}"
    return mending.upstream(subject, missing, said) or (
        f"let a reaction say {missing} that comes to it: {named(sayers)} could, and never did"
    )


CHECK = Check(
    code="CB105",
    name="dead reaction",
    severity="warning",
    find=find,
    meaning="A reaction is there and its event is said, but in no order of what may happen does it run: its "
    "prerequisites wait for each other in a circle, or exclude each other.",
    broken="""
@stock.reaction(needs=Paid)
def hold(ordered: Ordered) -> Held: ...

@money.reaction(needs=Held)
def charge(ordered: Ordered) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@money.reaction(needs=Held)
def charge(ordered: Ordered) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
)
