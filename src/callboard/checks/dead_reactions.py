"""CB105: a reaction never runs, whatever happens."""

from collections.abc import Collection, Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction
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
            fix = next(filter(None, (_fix(subject, each, subject.ever_said) for each in missing)), TOGETHER)
            if not missing and (first := deciding.runs_first(subject, contract)) is not None:
                why, fix = (
                    f": {first.name}, of the same once= group, always runs first",
                    deciding.out_of_group(contract),
                )
            yield at_reaction(contract, CHECK, f"{contract.name} never runs{why}", fix)


def _fix(subject: Subject, missing: EventType, said: Collection[EventType]) -> str:
    sayers = named(each.name for each in subject.emitters(missing))
    return mending.upstream(subject, missing, said) or (
        f"let a reaction say {missing} that comes to it: {sayers} could, and never does" if sayers else ""
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
