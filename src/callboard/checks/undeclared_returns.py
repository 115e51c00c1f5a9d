"""CB501: the body of a reaction and its annotation do not say the same."""

import inspect
from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.bodies import Body
from callboard.checks.subject import Subject, at_reaction
from callboard.contract import Contract, Nothing, OneOf, allowed


def find(subject: Subject) -> Iterator[Finding]:
    """What is returned and not declared; and what is declared and never returned, where every return can be read."""
    for path, reaction in subject.choreography.reactions.items():
        contract = subject.choreography.contracts[path]
        body = Body(contract, inspect.unwrap(reaction.function))
        if body.is_written:
            yield from _compare(contract, body)


def _compare(contract: Contract, body: Body) -> Iterator[Finding]:
    for event in sorted(body.returned - {None, *contract.emits}, key=str):
        written = f"{contract.returns} | {f'list[{event}]' if event in body.listed else event}"
        yield at_reaction(
            contract,
            CHECK,
            f"the body of {contract.path} returns {event}, and its annotation does not name it",
            f"write `-> {written}` if it is meant: as it is, each such run ends as a dead letter",
            about=f"{contract.path} {event}",
        )
    if None in body.returned and not allowed(contract.returns, []):
        yield at_reaction(
            contract,
            CHECK,
            f"the body of {contract.path} may return nothing, and its annotation does not allow that",
            f"return an event there too, or write `-> {contract.returns} | None` if it is meant: as it is, each such "
            "run ends as a dead letter",
            about=f"{contract.path} None",
        )
    returns = contract.returns.of if isinstance(contract.returns, OneOf) else ()
    declares_none = any(isinstance(each, Nothing) for each in returns)
    if declares_none and body.is_known and not body.may_fall_through and None not in body.returned:
        yield at_reaction(
            contract,
            CHECK,
            f"{contract.path} declares None, and every return in its body is an event",
            "return None where its body should, or take None out of the annotation: nobody may rely on the answer",
            about=f"{contract.path} None",
            severity="warning",
        )
    for event in contract.emits if body.is_known else ():
        if event not in body.returned:
            yield at_reaction(
                contract,
                CHECK,
                f"{contract.path} declares {event}, and no return in its body builds it",
                f"return {event} where its body should, or take {event} out of the annotation: who hears it waits",
                about=f"{contract.path} {event}",
                severity="warning",
            )


CHECK = Check(
    code="CB501",
    name="return that is not declared",
    severity="error",
    find=find,
    meaning="The annotation of a reaction is what everybody else relies on: the graph, the checks and the other teams. "
    "An event that the body returns beside it is refused when it runs, and ends as a dead letter; one that is declared "
    "and never returned makes others wait. The body is read, not run: of your own functions the annotation counts.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> Held:
    return Held(order=ordered.order, sku=ordered.sku) if ordered.sku else SoldOut(order=ordered.order, sku="")

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> Held | SoldOut:
    return Held(order=ordered.order, sku=ordered.sku) if ordered.sku else SoldOut(order=ordered.order, sku="")

@desk.reaction
def tell(why: SoldOut) -> Closed:
    return Closed(order=why.order, sku=why.sku)

flows = [Flow("order", key="order", starts=Ordered, succeeds=Held, fails=Closed)]
""",
)
