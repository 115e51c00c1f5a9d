"""CB202: an event is said twice in a flow, and what it makes happen happens twice."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.instances import Instance
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.world import World


def find(subject: Subject) -> Iterator[Finding]:
    """Events that may come again without a loop, a list or per= that says so, and that would be acted upon again."""
    for world in subject.worlds:
        for instance in world.extraction.instances.found:
            bit = world.bits.get("again", instance)
            state = world.first(bit) if bit else None
            if state is not None:
                yield _finding(subject, world, state, instance)


def _finding(subject: Subject, world: World, state: int, instance: Instance) -> Finding:
    kind = instance.kind
    again = world.extraction.runs_again(instance)
    sayers = list(
        dict.fromkeys(
            happening.contract.path
            for happening in world.happenings(state)
            if happening.contract is not None and any(each.kind is kind for each in happening.emitted)
        )
    )
    emitters = [each for each in subject.emitters(kind) if each.path in sayers] or subject.emitters(kind)
    one_service = len({each.service for each in emitters}) == 1
    fix = (
        f"let {named(each.name for each in emitters)} share a once= group, so that the first of them wins"
        if one_service and len(emitters) > 1
        else f"let {again[0].name} say once=, so that it runs for the first of them only"
    )
    return at_reaction(
        again[0],
        CHECK,
        f"{kind} may be said twice in a flow, and {again[0].name} runs again for the second",
        fix,
        about=str(kind),
        **told(world, state),
    )


CHECK = Check(
    code="CB202",
    name="event said twice",
    severity="error",
    find=find,
    meaning="Two reactions may both say the same event in one flow. They are two events with two ids, so nothing "
    "drops the second, and a reaction that is no compensation and has neither once= nor per= does its work "
    "again.",
    broken="""
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction
def refuse(why: Declined) -> Cancelled: ...

@desk.reaction
def note(why: Declined) -> Cancelled: ...

@parcels.reaction
def tell(cancelled: Cancelled) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Noted)]
""",
    mended="""
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@desk.reaction(once="end")
def refuse(why: Declined) -> Cancelled: ...

@desk.reaction(once="end")
def note(why: Declined) -> Cancelled: ...

@parcels.reaction
def tell(cancelled: Cancelled) -> Noted: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Noted)]
""",
)
