"""CB301: everything has happened that can, and the flow has no verdict."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.extraction import ATTEMPT_FAILED, GAVE_UP, ITS_TIME, NOTHING_TO_UNDO, OUTCOME_UNKNOWN, Happening
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_flow, told
from callboard.checks.world import World
from callboard.contract import Contract, EventShape, Many, Nothing, OneOf, types_in
from callboard.event import EventType
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
    paths = world.extraction.paths
    return [
        (contract, what)
        for contract, what in world.waiting(state)
        if any(paths.leads_to(kind, flow.ends) for kind in contract.emits)
    ]


def find(subject: Subject) -> Iterator[Finding]:
    """Flows that end in nothing, with nobody who still waits for something."""
    for world in subject.worlds:
        for flow in world.flows:
            state = stuck(world, flow, parked=False)
            if state is None:
                continue
            where, fix = _told_where(subject, world, flow, state)
            yield at_flow(flow, CHECK, f"{flow.name} never ends {where}", fix, **told(world, state))


def _told_where(subject: Subject, world: World, flow: Flow, state: int) -> tuple[str, str]:
    """Where it stops, and what would let it end."""
    runs = [each for each in world.happenings(state) if each.contract is not None]
    unknown = next((each.contract for each in runs if each.note == OUTCOME_UNKNOWN), None)
    if unknown is not None and unknown.effect_types:
        return (
            f"where nobody knows what {unknown.options.compensates} did and {unknown.name} is asked to undo it",
            f"{mending.answer(unknown)}; with None it settles the matter under ctx.key_of",
        )
    stop = _stop(subject, flow, runs)
    if stop is None:
        return f"after {flow.start}", f"let a reaction hear {flow.start} and emit {_end(flow)}"
    if stop.contract is not None and not stop.emitted:
        return f"where {stop.contract.name} emits nothing", _speak(subject, flow, stop.contract, stop.note)
    said = dict.fromkeys(each.kind for each in stop.emitted)
    last = next((each for each in said if not subject.is_taken(each)), next(iter(said)))
    fix = mending.complete(subject, flow, world.said(state)) or mending.hear(subject, last, flow)
    led = deciding.causes(list(world.happenings(state)), stop)
    failed = [one.kind for each in reversed(led) for one in each.emitted if one.kind in subject.paths.bad]
    if not failed and any(map(subject.paths.on_failure, subject.emitters(last))):
        failed = [last]
    return f"after {named(said)}", fix or _go_on(flow, last, failed)


def stopped_after(subject: Subject, world: World, flow: Flow) -> list[EventType]:
    """The last events of a flow that never ends, where it has such an end."""
    state = stuck(world, flow, parked=False)
    runs = [] if state is None else [each for each in world.happenings(state) if each.contract is not None]
    stop = _stop(subject, flow, runs)
    return [] if stop is None else list(dict.fromkeys(each.kind for each in stop.emitted))


def _stop(subject: Subject, flow: Flow, runs: list[Happening]) -> Happening | None:
    """The first run that says nothing that leads to the end, and should; else the last that said anything."""
    runs = [each for each in runs if each.emitted or each.note not in (ATTEMPT_FAILED, GAVE_UP, ITS_TIME)]
    first = next((each for each in runs if _stops(subject, flow, each)), None)
    for each in reversed(runs):
        if each.emitted and not any(_leads_on(subject, flow, one.kind) for one in each.emitted):
            return first or each
    return first or next((each for each in reversed(runs) if each.emitted), runs[-1] if runs else None)


def _stops(subject: Subject, flow: Flow, each: Happening) -> bool:
    """Whether it could have said something that leads to the end, or nobody hears what it says."""
    kinds = {one.kind for one in each.emitted}
    if each.contract is None or any(_leads_on(subject, flow, one) for one in kinds):
        return False
    could = any(_leads_on(subject, flow, one) for one in each.contract.emits)
    return could or any(not subject.is_taken(one) for one in kinds)


def _leads_on(subject: Subject, flow: Flow, kind: EventType) -> bool:
    """Whether an end may come of it, also with a word from outside for which it is needed."""
    leads_to, after = subject.paths.leads_to, [kind]
    for each in subject.contracts:
        needs = each.options.needs
        after += each.emits if needs is not None and leads_to(kind, types_in(needs)) else ()
    return any(leads_to(one, flow.ends) for one in after)


def _speak(subject: Subject, flow: Flow, contract: Contract, note: str) -> str:
    """How a run that says nothing comes to say what others wait for."""
    said = [each for each in contract.emits if subject.paths.leads_to(each, flow.ends)]
    effects = [each for each in subject.effects.undone(contract).emits if not each.failure]
    if effects and note == NOTHING_TO_UNDO:
        return mending.answer(contract, effects)
    parts = contract.returns.of if isinstance(contract.returns, OneOf) else (contract.returns,)
    if any(isinstance(each, Many) for each in parts):
        known = {flow.start, *(each.type for each in parts if isinstance(each, EventShape))}
        new = next((each for each in types_in(flow.fails or flow.succeeds) if each not in known), _end(flow))
        shape = " | ".join(str(each) for each in parts if not isinstance(each, Nothing))
        return f"let {contract.name} say so where its list is empty: write `-> {shape} | {new}`"
    if said:
        return f"let {contract.name} emit {said[0]} there too"
    return f"let {contract.name} emit {_end(flow)}, or name what comes before it in a completion of {flow.name}"


def _end(flow: Flow) -> EventType:
    """With what it could end, other than what it starts with."""
    return next((each for each in flow.ends if each is not flow.start), flow.start)


def _go_on(flow: Flow, kind: EventType, failed: list[EventType]) -> str:
    """What may come of an event that others hear, but that leads to no end."""
    if failed:
        return f"name {kind if kind not in flow.ends else failed[-1]} in fails= of {flow.name}"
    end = types_in(flow.succeeds)[0]
    return f"let a reaction hear {kind} and emit {end}, or name {kind} in succeeds= of {flow.name}"


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
