"""CB303: a reaction waits for something that does not come any more, and the flow has no verdict."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import mending
from callboard.checks.extraction import NOTHING_TO_UNDO
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.unfinished_flows import blocking, stuck
from callboard.checks.world import World
from callboard.contract import Contract
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Flows that end in nothing because a join, a gather or a prerequisite waits."""
    for world in subject.worlds:
        for flow in world.flows:
            state = stuck(world, flow, parked=True)
            if state is not None:
                waits = contract, what = blocking(world, flow, state)[0]
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{contract.name} waits for {what}, which does not come any more, and {flow.name} has no verdict",
                    mending_of(subject, world, flow, state, waits),
                    about=f"{contract.path} {what}",
                    **told(world, state),
                )


def mending_of(subject: Subject, world: World, flow: Flow, state: int, waits: tuple[Contract, str]) -> str:
    """What lets the flow end where this reaction waits for that."""
    contract, what = waits
    skipped = [it.contract for it in world.happenings(state) if it.note == NOTHING_TO_UNDO and it.contract is not None]
    for each in skipped:  # and so said nothing
        if each.effect_types and any(str(kind) in what for kind in each.emits):
            return mending.answer(each)
    for kind in mending.lacking(contract, world.ever_said):
        if fix := mending.upstream(subject, kind, world.ever_said) or (
            kind not in subject.said and mending.say(subject, kind)
        ):
            return fix
    for sayer in subject.emitters(contract.gathered.types[0]) if contract.gathered is not None else ():
        if sayer.options.per is None and sayer.gathered is None and sayer.hears[0].inner is None:
            return f"say per= on {sayer.name}, with the field that tells one {sayer.hears[0]} from the next"
    end = f"let a reaction to FlowTimedOut[{flow.start}] end it"
    return f"let somebody say {what} or a failure on every way, and let the flow end with that; or {end}"


CHECK = Check(
    code="CB303",
    name="parked for ever",
    severity="error",
    find=find,
    meaning="A join, a gather or a prerequisite waits for an event that will not be said any more in this flow, and "
    "nothing else brings a verdict. After within= it becomes a dead letter that says what never came.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@desk.reaction
def note(ordered: Ordered) -> Noted | None: ...

@parcels.reaction
def send(held: Held, noted: Noted) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held: ...

@desk.reaction
def note(ordered: Ordered) -> Noted: ...

@parcels.reaction
def send(held: Held, noted: Noted) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent)]
""",
)
