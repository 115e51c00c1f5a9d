"""CB104: a flow cannot end in a way that it declares."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.parked_for_ever import mending_of
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow
from callboard.checks.unfinished_flows import blocking, stopped_after, stuck
from callboard.checks.world import World
from callboard.contract import ways
from callboard.event import EventType
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Completions with an event that is never said in the flow, and flows that never succeed."""
    for world in subject.worlds:
        for flow in world.flows:
            yield from _of(subject, world, flow)


def _of(subject: Subject, world: World, flow: Flow) -> Iterator[Finding]:
    said = world.ever_said
    if world.exploration.bounded:  # beyond, what may be said by types alone
        said = {each.kind for each in world.extraction.instances.found}
    lacking = False
    for shape, word in ((flow.succeeds, "succeed"), (flow.fails, "fail")):
        for way in ways(shape) if shape is not None else ():
            if missing := way - said:
                lacking = True
                fix = _fix(subject, world, flow, missing, way - missing)
                yield _finding(flow, way, word, missing, fix)
    if not lacking and not world.exploration.bounded and not _is_given(world, flow, good=True):
        state = stuck(world, flow, parked=False)
        fix = "" if state is None else mending.complete(subject, flow, world.said(state))
        yield at_flow(
            flow,
            CHECK,
            f"{flow.name} never succeeds",
            fix or f"no run ends with `{flow.succeeds}` before the flow has failed: see what its failures exclude",
            about=f"{flow.name} succeeds",
        )


def _finding(flow: Flow, way: frozenset[EventType], word: str, missing: frozenset[EventType], fix: str) -> Finding:
    return at_flow(
        flow,
        CHECK,
        f"{flow.name} cannot {word} by {named(way)}: {named(missing)} is never said in it",
        fix,
        about=f"{flow.name} {word} {named(way)}",
    )


def _fix(subject: Subject, world: World, flow: Flow, missing: frozenset[EventType], said: frozenset[EventType]) -> str:
    first, bad = min(missing, key=str), subject.paths.bad
    parked = stuck(world, flow, parked=True)
    waits = blocking(world, flow, parked)[0] if parked is not None else None
    if parked is not None and waits is not None and first in waits[0].emits:
        return mending_of(subject, world, flow, parked, waits)
    for each in subject.emitters(first):
        if let := deciding.never_runs(subject, each)[1]:
            return let
    fix = mending.upstream(subject, first, world.ever_said)
    if not fix and first in bad and mending.is_late_unheard(subject, flow):
        return mending.end_late(subject, flow, first)
    fix = fix or (mending.say(subject, first) if first not in subject.said else "")
    stop = stopped_after(subject, world, flow)
    last = sorted(said, key=str) or [each for each in stop if (each in bad) == (first in bad)]
    if last and not fix:
        return f"let a reaction hear {last[0]} and emit {first}, or take {first} out of {flow.name}"
    return fix or f"let a reaction of this flow emit {named(missing)}, or take it out of {flow.name}"


def _is_given(world: World, flow: Flow, *, good: bool) -> bool:
    return bool(world.exploration.ever & world.extraction.verdict(flow, good=good))


CHECK = Check(
    code="CB104",
    name="unreachable completion",
    severity="error",
    find=find,
    meaning="A completion names an event that is never said in this flow, so it never holds; or no order of what may "
    "happen leads to success. Flows that mean to end so are stuck.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@money.reaction
def charge(held: Held) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid])]
""",
)
