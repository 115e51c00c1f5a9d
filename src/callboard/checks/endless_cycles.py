"""CB401: events that cause each other for ever."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.outcomes import outcomes
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract
from callboard.event import EventType


def exits(contract: Contract, cycle: frozenset[EventType]) -> bool:
    """Whether a run may emit nothing of the cycle."""
    return any(not any(each.kind in cycle for each in outcome) for outcome in outcomes(contract.returns))


def inside(subject: Subject, cycle: frozenset[EventType]) -> list[Contract]:
    """The reactions that keep the cycle going."""
    return [each for each in subject.contracts if not cycle.isdisjoint(each.hears) and not cycle.isdisjoint(each.emits)]


def find(subject: Subject) -> Iterator[Finding]:
    """Cycles that no reaction in them can leave."""
    for cycle in subject.paths.cycles():
        around = inside(subject, cycle)
        if around and not any(exits(each, cycle) or each.options.once or each.options.unless for each in around):
            yield at_reaction(
                around[0],
                CHECK,
                f"{named(cycle)} cause each other for ever"
                if len(cycle) > 1
                else f"{named(cycle)} causes itself for ever",
                f"let {around[0].name} end it: return None, or another event, when it is enough",
                about=named(cycle),
            )


CHECK = Check(
    code="CB401",
    name="cycle without an exit",
    severity="error",
    find=find,
    meaning="Reactions answer each other's events in a circle, and none of them may return anything else. A flow that "
    "comes there never rests: it runs until the limit on causal depth stops it.",
    broken="""
@desk.reaction
def ping(ordered: Ordered | Noted) -> Packed: ...

@parcels.reaction
def pong(packed: Packed) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Packed, Noted])]
""",
    mended="""
@desk.reaction
def ping(ordered: Ordered | Noted, note: Note) -> Packed | Closed: ...

@parcels.reaction
def pong(packed: Packed) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Closed)]
""",
)
