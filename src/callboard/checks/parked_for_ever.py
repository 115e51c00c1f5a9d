"""CB303: a reaction waits for something that does not come any more, and the flow has no verdict."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.unfinished_flows import blocking, stuck


def find(subject: Subject) -> Iterator[Finding]:
    """Flows that end in nothing because a join, a gather or a prerequisite waits."""
    for world in subject.worlds:
        for flow in world.flows:
            state = stuck(world, flow, parked=True)
            if state is not None:
                contract, what = blocking(world, flow, state)[0]
                yield at_reaction(
                    contract,
                    CHECK,
                    f"{contract.name} waits for {what}, which does not come any more, and {flow.name} has no verdict",
                    f"let somebody say {what} or a failure on every way, and let the flow end with that; "
                    f"or let a reaction to FlowTimedOut[{flow.start}] end it",
                    about=f"{contract.path} {what}",
                    **told(world, state),
                )


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
