"""CB304: a flow is told to be over while something is still to be done for it."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import effects_left_behind
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.world import World
from callboard.contract import Contract, types_in, ways
from callboard.flow import Flow


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions that take their effect after the verdict, and were waiting when it was given."""
    for world in subject.worlds:
        for contract in subject.contracts:
            for part in world.extraction.parts(contract.path):
                bit = world.bits.get("late", contract.path, part)
                state = world.first(bit) if bit else None
                if state is not None:
                    flow = next((it for it in world.flows if world.verdict(it, state) is not None), world.flows[0])
                    title = f"{flow.name} may be over before {contract.name} has taken its effect"
                    yield at_reaction(
                        contract, CHECK, title, _fix(subject, world, flow, contract, state), **told(world, state)
                    )
                    break


def _fix(subject: Subject, world: World, flow: Flow, contract: Contract, state: int) -> str:
    """After a success the flow has to wait; a failed one waits for the compensations that were asked."""
    if world.verdict(flow, state) is False:
        if subject.paths.on_failure(contract) and not contract.options.pivot:
            return f'say keeps="<reason>" on {contract.name}, if it may run once the flow has failed'
        undo = effects_left_behind.undo_of(subject, contract, world.said(state))
        return f"{undo}: that also keeps {contract.name} from running once the flow has failed"
    alone = {kind for way in ways(flow.fails or flow.succeeds) if len(way) == 1 for kind in way}
    kinds = [kind for kind in contract.emits if not kind.failure and kind not in {*alone, *types_in(flow.succeeds)}]
    if not kinds:
        return f"let {contract.name} emit an event of its own, and let {flow.name} wait for that too"
    return f"let {flow.name} wait for {named(kinds)} too: succeeds=tuple[..., {' | '.join(map(str, kinds))}]"


CHECK = Check(
    code="CB304",
    name="completed too early",
    severity="warning",
    find=find,
    meaning="The verdict is given while a reaction with an effect is still to run for this flow. Whoever waited for "
    "the flow believes that all is done. (Compensations are no such case: a failed verdict waits for those "
    "that were asked.)",
    broken="""
@desk.reaction
def confirm(ordered: Ordered) -> Closed: ...

@parcels.reaction(pivot=True)
async def send(ordered: Ordered, carrier: Carrier) -> Sent: ...

flows, outgoing = [Flow("order", key="order", starts=Ordered, succeeds=Closed)], Sent
""",
    mended="""
@desk.reaction
def confirm(ordered: Ordered) -> Closed: ...

@parcels.reaction(pivot=True)
async def send(ordered: Ordered, carrier: Carrier) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Closed, Sent])]
""",
)
