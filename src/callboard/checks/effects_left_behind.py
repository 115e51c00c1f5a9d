"""CB201: a flow fails, and what was done for it stays done."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.world import World
from callboard.contract import Contract
from callboard.event import EventType


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions whose effect stands, or may stand, when their flow has failed."""
    for world in subject.worlds:
        for contract in subject.contracts:
            if subject.effects.is_effect(contract) and not contract.options.pivot:
                yield from _of(subject, world, contract)


def _of(subject: Subject, world: World, contract: Contract) -> Iterator[Finding]:
    for what in ("applied", "unknown"):
        for part in world.extraction.parts(contract.path):
            bit = world.bits.get(what, contract.path, part)
            for flow in world.flows if bit else ():
                about = bit | world.extraction.verdict(flow, good=False)
                leaked = world.bits.get("leaked", contract.path, part)  # after its undo: CB203 tells that
                state = next((end for end in world.exploration.ends if end & about == about and not end & leaked), None)
                if state is not None:
                    title, fix = _text(subject, world, contract, what, state)
                    yield at_reaction(contract, CHECK, title, fix, **told(world, state, about))
                    return


def _text(subject: Subject, world: World, contract: Contract, what: str, state: int) -> tuple[str, str]:
    undoers = subject.effects.compensations.get(contract.path, ())
    said = world.said(state)
    why = _why(subject, said)
    if what == "unknown":
        names = " and ".join(each.name for each in undoers) or "its compensation"
        kinds = named(subject.effects.kinds(contract)) or "its event"
        heard = [each for each in undoers if said & set(each.hears)]
        if heard:
            return (
                f"{contract.name} was tried, nobody knows whether it took effect, and nobody settles it",
                f"let {heard[0].name} take `{kinds} | None` and settle the matter with None, under ctx.key_of",
            )
        return (
            f"{contract.name} was tried, nobody knows whether it took effect, and {names} is not asked",
            f"let {names} hear {why} too",
        )
    if undoers:
        return (
            f"the flow fails and what {contract.name} did stays: {undoers[0].name} is not asked",
            f"let {undoers[0].name} hear {why} too",
        )
    if looks := [path.partition(".")[2] for path in sorted(subject.effects.undoers(contract))]:
        return (
            f"the flow fails and what {contract.name} did stays: {looks[0]}, which looks like its undo, does not run",
            f"write compensates={contract.name} on {looks[0]}, and let it hear {why} too",
        )
    return (
        f"the flow fails and what {contract.name} did stays: nothing undoes it",
        f'undo it: compensates={contract.name} on a reaction of {contract.service} that hears {why}; or keeps="why"',
    )


def _why(subject: Subject, said: set[EventType]) -> str:
    """What said that the flow went wrong: the failures on the way, else what ended it."""
    bad = [kind for kind in subject.choreography.events.values() if kind in said and kind in subject.paths.bad]
    failures = [kind for kind in bad if kind.failure or kind.inner is not None]
    return named(failures[-1:] or bad[:1]) or "what makes the flow fail"


CHECK = Check(
    code="CB201",
    name="effect left behind",
    severity="error",
    find=find,
    meaning="The flow fails, and a state that other flows see, or the world behind a port, is as if it had not: "
    "nothing that ran undid it. Also where an attempt failed and nobody knows whether its call outside took "
    "place.",
    broken="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held | SoldOut: ...

@money.reaction
def charge(held: Held) -> Paid | Declined: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=SoldOut | Declined)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held | SoldOut: ...

@money.reaction
def charge(held: Held) -> Paid | Declined: ...

@stock.reaction(compensates=hold)
def release(why: Declined, held: Held, shelf: Shelf) -> Released: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=SoldOut | Released)]
""",
)
