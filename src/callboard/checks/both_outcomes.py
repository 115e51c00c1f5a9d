"""CB302: a flow is told to have succeeded and to have failed."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding
from callboard.checks.net import union
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow, told
from callboard.checks.world import World
from callboard.contract import ways
from callboard.event import EventType
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Flows in which what was said satisfies a success and a failure."""
    for world in subject.worlds:
        for flow in world.flows:
            for good in ways(flow.succeeds):
                for bad in ways(flow.fails) if flow.fails is not None else ():
                    if (found := _finding(subject, world, flow, good, bad)) is not None:
                        yield found


def _finding(
    subject: Subject, world: World, flow: Flow, good: frozenset[EventType], bad: frozenset[EventType]
) -> Finding | None:
    both = union(map(world.extraction.seen, good | bad))
    state = world.first(both)
    if state is None:
        return None
    sayers = [each for kind in (*good, *bad) for each in subject.emitters(kind) if kind is not flow.start]
    names = sorted({each.path for each in sayers})
    way = list(world.happenings(state))
    lost = next((it for it in way if any(each.kind in bad for each in it.emitted)), None)
    says_both = lost is not None and lost.contract is not None and any(each.kind in good for each in lost.emitted)
    names = [lost.contract.path] if lost is not None and lost.contract is not None and says_both else names
    fix = f"let one service say how {flow.name} ends, in reactions that share once=; today {' and '.join(names)} do"
    if len(names) < 2:
        fix = (
            f"let {names[0]} emit one or the other"
            if names
            else f"let a reaction hear both, and say how {flow.name} ends"
        )
    first = "succeeded" if world.verdict(flow, state) else "failed"
    return at_flow(
        flow,
        CHECK,
        f"{flow.name} may end both ways: {named(good)} and {named(bad)} (recorded: {first})",
        deciding.apart(world, state, good, lost) or fix,
        about=f"{flow.name} {named(good)} {named(bad)}",
        **told(world, state, both),
    )


CHECK = Check(
    code="CB302",
    name="both outcomes",
    severity="error",
    find=find,
    meaning="What was said in one flow satisfies succeeds= and fails=. The first is recorded, but both were "
    "published, and others have acted on them: the customer holds a ticket and a refund.",
    broken="""
@money.reaction
def charge(ordered: Ordered) -> Paid: ...

@money.reaction
def expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Cancelled, timeout=timedelta(hours=1))]
""",
    mended="""
@money.reaction(once="end")
def charge(ordered: Ordered) -> Paid: ...

@money.reaction(once="end")
def expire(late: FlowTimedOut[Ordered]) -> Cancelled: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Cancelled, timeout=timedelta(hours=1))]
""",
)
