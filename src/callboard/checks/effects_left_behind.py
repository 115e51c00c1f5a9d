"""CB201: a flow fails, and what was done for it stays done."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.world import World
from callboard.contract import Contract
from callboard.event import EventType, ReactionFailed


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
    said = world.said(state)
    causes = _causes(subject, contract, said)
    if what == "unknown":
        return _unsettled(subject, contract, said, causes)
    undoers = subject.effects.compensations.get(contract.path, ())
    stays = f"the flow fails and what {contract.name} did stays"
    for each in _look_alikes(subject, contract):
        runs = any(it.contract is each for it in world.happenings(state))
        if runs or not undoers:
            is_it = "runs and is not declared as it" if runs else "does not run"
            more = "" if runs else f", and let it hear {_why(causes)} too"
            title = f"{stays}: {each.name}, which looks like its undo, {is_it}"
            return title, f"write compensates={contract.name} on {each.name}{more}"
    asked = next((each for each in undoers if not deciding.excludes(subject, causes, each)), None)
    if asked is not None:
        return f"{stays}: {asked.name} is not asked", f"let {asked.name} hear {_why(causes)} too"
    settled = next((each for each in _rivals(subject, contract) if each.options.pivot), None)
    if settled is not None and subject.paths.on_failure(contract):
        title = f"{stays}; {contract.name} looks like what settles {settled.name}, a pivot"
        return title, f"write compensates={settled.name} on {contract.name}"
    nobody = f"{undoers[0].name} shares a once= group with what fails" if undoers else "nothing undoes it"
    undo = f"undo it: {mending.undo(contract)} that hears {_why(causes)}"
    if subject.paths.on_failure(contract):  # news of the failure, mostly
        return f"{stays}: {nobody}", f'say keeps="why" on {contract.name}, if it is meant to stay; or {undo}'
    return f"{stays}: {nobody}", f'{undo}; or keeps="why"'


def _unsettled(subject: Subject, contract: Contract, said: set[EventType], causes: list[EventType]) -> tuple[str, str]:
    undoers = subject.effects.compensations.get(contract.path, ())
    names = " and ".join(each.name for each in undoers) or "its compensation"
    kinds = named(subject.effects.kinds(contract)) or "its event"
    heard = [each for each in undoers if said & set(each.hears)]
    title = f"{contract.name} was tried, nobody knows whether it took effect, and "
    if heard:
        fix = f"let {heard[0].name} take `{kinds} | None` and settle the matter with None, under ctx.key_of"
        return f"{title}nobody settles it", fix
    return f"{title}{names} is not asked", f"let {names} hear {_why(causes)} too"


def _look_alikes(subject: Subject, contract: Contract) -> list[Contract]:
    """What undoes it and does not say so."""
    undeclared = sorted(path for path, doer in subject.effects.undeclared.items() if doer is contract)
    return [subject.choreography.contracts[path] for path in undeclared]


def _rivals(subject: Subject, contract: Contract) -> list[Contract]:
    """What changes the same in its service."""
    shared = subject.effects.shared(contract)
    mine = [each for each in subject.contracts if each.service == contract.service and each is not contract]
    return [each for each in mine if subject.effects.shared(each) & shared]


def _causes(subject: Subject, contract: Contract, said: set[EventType]) -> list[EventType]:
    """What said that the flow went wrong: the failures on the way, else what ended it. A compensation hears only of
    its own reaction that it gave up.
    """
    bad = [kind for kind in subject.choreography.events.values() if kind in said and kind in subject.paths.bad]
    bad = [kind for kind in bad if kind.cls is not ReactionFailed or kind.inner in contract.hears]
    failures = [kind for kind in bad if kind.failure or kind.inner is not None]
    undos = subject.effects.compensations.get(contract.path, ())
    decided = deciding.failure_said(subject, undos[0], said) if undos else []
    return decided or failures[-1:] or bad[:1]


def _why(causes: list[EventType]) -> str:
    return named(causes) or "what makes the flow fail"


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
