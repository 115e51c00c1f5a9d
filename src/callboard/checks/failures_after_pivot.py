"""CB206: a flow fails after the step that cannot be undone."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.contract import types_in


def find(subject: Subject) -> Iterator[Finding]:
    """Pivots that took effect in a flow that failed."""
    for world in subject.worlds:
        for contract in subject.contracts:
            for part in world.extraction.parts(contract.path) if contract.options.pivot else ():
                bit = world.bits.get("applied", contract.path, part)
                for flow in world.flows if bit else ():
                    about = bit | world.extraction.verdict(flow, good=False)
                    state = world.first(about, ends=True)
                    if state is None:
                        continue
                    bad = [kind for kind in world.said(state) if kind in subject.paths.bad]
                    bad = [kind for kind in bad if kind.failure or kind.inner is not None] or bad
                    ends = types_in(flow.fails) if flow.fails is not None else ()
                    way = list(world.happenings(state))
                    lost = next((it for it in way if any(each.kind in ends for each in it.emitted)), None)
                    yield at_reaction(
                        contract,
                        CHECK,
                        f"{flow.name} fails after {contract.name}, which cannot be undone",
                        deciding.apart(world, state, contract.emits, lost)
                        or f"let what may still fail ({named(bad)}) come before {contract.name}, or "
                        "exclude it with once= in one service",
                        **told(world, state, about),
                    )
                    break


CHECK = Check(
    code="CB206",
    name="failure after the pivot",
    severity="error",
    find=find,
    meaning="pivot=True says that a step cannot be undone, so everything that may fail has to come before it. Here "
    "the flow fails with the pivot done: the parcel is on the road, and the money is given back.",
    broken="""
@parcels.reaction(pivot=True)
async def send(ordered: Ordered, carrier: Carrier) -> Sent: ...

@money.reaction
def charge(sent: Sent) -> Paid | Declined: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Declined)]
""",
    mended="""
@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@parcels.reaction(pivot=True)
async def send(paid: Paid, carrier: Carrier) -> Sent: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Sent, fails=Declined)]
""",
)
