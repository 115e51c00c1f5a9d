"""CB301: everything has happened that can, and the flow has no verdict."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.extraction import OUTCOME_UNKNOWN
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow, told
from callboard.checks.world import World
from callboard.contract import Contract, types_in
from callboard.flow import Flow


def stuck(world: World, flow: Flow, *, parked: bool) -> int | None:
    """The nearest end without a verdict, in which the world has said all it may; with or without parked deliveries."""
    verdicts = world.extraction.verdicts(flow)
    for state in world.exploration.ends:
        if not state & verdicts and bool(blocking(world, flow, state)) == parked and not world.silent(state):
            return state
    return None


def blocking(world: World, flow: Flow, state: int) -> list[tuple[Contract, str]]:
    """The reactions that wait, and what they wait for, of those that could bring the flow to its end."""
    ending = {*types_in(flow.succeeds), *(types_in(flow.fails) if flow.fails is not None else ())}
    paths = world.extraction.paths
    return [
        (contract, what)
        for contract, what in world.waiting(state)
        if any(paths.leads_to(kind, ending) for kind in contract.emits)
    ]


def find(subject: Subject) -> Iterator[Finding]:
    """Flows that end in nothing, with nobody who still waits for something."""
    for world in subject.worlds:
        for flow in world.flows:
            state = stuck(world, flow, parked=False)
            if state is None:
                continue
            where, fix = _told_where(subject, world, state)
            yield at_flow(flow, CHECK, f"{flow.name} never ends {where}", fix, **told(world, state))


def _told_where(subject: Subject, world: World, state: int) -> tuple[str, str]:
    """After what it stays open, and what would let it end."""
    last = [each for each in world.happenings(state) if each.contract is not None]
    unknown = next((each.contract for each in last if each.note == OUTCOME_UNKNOWN), None)
    if unknown is not None:
        undone = subject.choreography.contracts[f"{unknown.service}.{unknown.options.compensates}"]
        kinds = " | ".join(map(str, unknown.effect_types))
        return (
            f"where nobody knows what {undone.name} did and {unknown.name} is asked to undo it",
            f"let {unknown.name} take `{kinds} | None`: it then runs, and settles the matter under ctx.key_of",
        )
    if last and last[-1].emitted:
        where = f"after {named({each.kind for each in last[-1].emitted})}"
    elif last and last[-1].contract is not None:
        where = f"where {last[-1].contract.name} emits nothing"
    else:
        where = f"after {named(world.said(state))}"
    return where, f"let the flow come to an event of succeeds= or fails= also {where}"


CHECK = Check(
    code="CB301",
    name="flow without an end",
    severity="error",
    find=find,
    meaning="Everything has happened that can, deadlines included, and what was said satisfies neither succeeds= nor "
    "fails=. The flow stays open for good, and whoever waits for it waits for nothing.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held | SoldOut: ...

@desk.reaction
def note(why: SoldOut) -> None: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held | SoldOut: ...

@desk.reaction
def note(why: SoldOut) -> None: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=SoldOut)]
""",
)
