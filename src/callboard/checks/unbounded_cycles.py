"""CB402: a loop that may be left, and nobody counts."""

from collections.abc import Iterator
from typing import get_type_hints

from callboard.check import Check, Finding
from callboard.checks.endless_cycles import exits, inside
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract
from callboard.event import EventType


def find(subject: Subject) -> Iterator[Finding]:
    """Cycles in which no reaction that may leave has a memory: no state, and no number in the events."""
    for cycle in subject.paths.cycles():
        around = inside(subject, cycle)
        leaving = [each for each in around if exits(each, cycle)]
        if any(each.options.once or each.options.unless for each in around) or not leaving:
            continue
        if not any(_remembers(each) for each in leaving) and not any(_counts(kind) for kind in cycle):
            yield at_reaction(
                leaving[0],
                CHECK,
                f"{leaving[0].name} may go on with {named(cycle)} without end: it has nothing to count with",
                f"let {leaving[0].name} keep a count in a state of the flow, or carry one in the event",
                about=named(cycle),
            )


def _remembers(contract: Contract) -> bool:
    return bool(contract.states) or any(given.optional for given in contract.givens)


def _counts(kind: EventType) -> bool:
    if kind.inner is not None:
        return False
    return any(hint is int for hint in get_type_hints(kind.cls).values())


CHECK = Check(
    code="CB402",
    name="cycle without a bound",
    severity="warning",
    find=find,
    meaning="Events cause each other in a circle that a reaction may leave, but that reaction has no state, and the "
    "events no number: it cannot know how often it went round. If what it asks for does not change, the flow "
    "goes round for ever.",
    broken="""
@stock.reaction
def hold(ordered: Ordered | Restocked) -> Held | SoldOut: ...

@stock.reaction
def restock(why: SoldOut) -> Restocked | Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=Cancelled)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered | Restocked) -> Held | SoldOut: ...

@stock.reaction
def restock(why: SoldOut, tries: Note) -> Restocked | Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=Cancelled)]
""",
)
