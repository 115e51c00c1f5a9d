"""CB102: a step may fail, and nobody hears of it."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import mending
from callboard.checks.subject import Subject, at_flow, at_reaction
from callboard.contract import types_in


def find(subject: Subject) -> Iterator[Finding]:
    """Failures that no reaction hears, and that are in no fails=; and those in succeeds=."""
    for contract in subject.contracts:
        for kind in contract.emits:
            if kind.failure and kind in subject.unheard:
                yield at_reaction(
                    contract,
                    CHECK,
                    f"nobody hears that {contract.name} failed: {kind}",
                    mending.hear(subject, kind) or f"react to {kind}, or take it away",
                    about=f"{contract.path} {kind}",
                )
    for flow in subject.flows:
        for kind in types_in(flow.succeeds):
            if kind.failure:
                yield at_flow(
                    flow,
                    CHECK,
                    f"{flow.name} succeeds by {kind}, a failure",
                    f"name {kind} in fails= of {flow.name} instead, or declare it with @event if it is none",
                    about=f"{flow.name} {kind}",
                )


CHECK = Check(
    code="CB102",
    name="unheard failure",
    severity="error",
    find=find,
    meaning="A reaction may say that its step did not work, and no reaction hears that; nor does fails= name it, "
    "which would make it an end of the flow. What was done before stays done, and the flow never ends.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held | SoldOut: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held | SoldOut: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=SoldOut)]
""",
)
