"""CB205: a flow succeeds although what it stands on was undone."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding
from callboard.checks.extraction import Happening
from callboard.checks.subject import Subject, at_reaction, told
from callboard.contract import Contract, types_in
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions that were undone, by an ask that cannot lead to success, in a flow that succeeded."""
    for world in subject.worlds:
        for contract in subject.contracts:
            for flow in world.flows:
                bit = world.bits.get("hollow", contract.path, flow.name)
                state = world.first(bit) if bit else None
                if state is None:
                    continue
                undoers = subject.effects.undos(contract)
                way = list(world.happenings(state))
                undo, undoer = next((it, each) for it in way for each in undoers if it.contract is each)
                about = world.bits.get("undone", contract.path, ()) | state & world.extraction.verdicts(flow)
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{flow.name} succeeds although what {contract.name} did was undone by {undoer.name}",
                    deciding.apart(world, state, types_in(flow.succeeds), undo)
                    or deciding.through_asker(subject, undoer, undo)
                    or _exclude(flow, way, undo, undoer),
                    about=f"{contract.path} {flow.name}",
                    **told(world, state, bit | about),
                )
                break


def _exclude(flow: Flow, way: list[Happening], undo: Happening, undoer: Contract) -> str:
    ends = types_in(flow.succeeds)
    sayers = [it.contract.path for it in way if it.contract and any(one.kind in ends for one in it.emitted)]
    asks = undo.heard.kind if undo.heard is not None else "what asks it"
    return (
        f"let one service decide between {sayers[-1] if sayers else f'the success of {flow.name}'} and {asks}, in two "
        f"reactions with one once= group: {undoer.name} then runs only where the flow does not succeed"
    )


CHECK = Check(
    code="CB205",
    name="success without the work",
    severity="error",
    find=find,
    meaning="A compensation runs while the flow is still on its way to success, and nothing stops it there: the "
    "parcel is sent, and the stock it was packed from was given back. unless= is decided when the event "
    "comes, so it does not help against an undo that is said later; a shared once= group does, since one of "
    "the two runs and the other is skipped.",
    broken="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold)
def release(late: FlowTimedOut[Ordered], held: Held, shelf: Shelf) -> Released: ...

@stock.reaction
def send(held: Held) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent, fails=Released, timeout=timedelta(hours=1))]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@stock.reaction(compensates=hold, once="end")
def release(late: FlowTimedOut[Ordered], held: Held, shelf: Shelf) -> Released: ...

@stock.reaction(once="end")
def send(held: Held) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent, fails=Released, timeout=timedelta(hours=1))]
""",
)
