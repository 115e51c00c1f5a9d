"""CB104: a flow cannot end in a way that it declares."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow
from callboard.checks.world import World
from callboard.contract import ways
from callboard.event import EventType
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Completions with an event that is never said in the flow, and flows that never succeed."""
    for world in subject.worlds:
        for flow in world.flows:
            yield from _of(world, flow)


def _of(world: World, flow: Flow) -> Iterator[Finding]:
    said = {each.kind for happening in world.happened for each in happening.emitted}
    if world.exploration.bounded:  # beyond, what may be said by types alone
        said = {each.kind for each in world.extraction.instances.found}
    lacking = False
    for shape, word in ((flow.succeeds, "succeed"), (flow.fails, "fail")):
        for way in ways(shape) if shape is not None else ():
            if missing := way - said:
                lacking = True
                yield _finding(flow, way, word, missing)
    if not lacking and not world.exploration.bounded and not _is_given(world, flow, good=True):
        yield at_flow(
            flow,
            CHECK,
            f"{flow.name} never succeeds",
            f"no run of the flow ends with `{flow.succeeds}` before it has failed: see what its failures exclude",
            about=f"{flow.name} succeeds",
        )


def _finding(flow: Flow, way: frozenset[EventType], word: str, missing: frozenset[EventType]) -> Finding:
    return at_flow(
        flow,
        CHECK,
        f"{flow.name} cannot {word} by {named(way)}: {named(missing)} is never said in it",
        f"let a reaction of this flow emit {named(missing)}, or take it out of the completion",
        about=f"{flow.name} {word} {named(way)}",
    )


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
