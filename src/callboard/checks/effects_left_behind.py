"""CB201: a flow fails, and what was done for it stays done."""

from collections.abc import Iterator
from itertools import islice

from callboard.check import Check, Finding
from callboard.checks import deciding, mending
from callboard.checks.net import union
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.checks.world import World
from callboard.contract import Contract, types_in
from callboard.event import EventType, ReactionFailed

MANY = 12  # ends that are asked for what went wrong


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
                ends = (end for end in world.exploration.ends if end & about == about and not end & leaked)
                states = list(islice(ends, MANY))
                if states:
                    title, fix = _text(subject, world, contract, what, states)
                    about |= _groups(subject, world, contract)
                    yield at_reaction(contract, CHECK, title, fix, **told(world, states[0], about))
                    return


def _groups(subject: Subject, world: World, contract: Contract) -> int:
    """The once= groups of its compensations: who takes them matters."""
    groups = {("once", each.service, each.options.once) for each in subject.effects.undos(contract)}
    return union(bit for name, bit in world.bits.masks.items() if name[:3] in groups)


def _text(subject: Subject, world: World, contract: Contract, what: str, states: list[int]) -> tuple[str, str]:
    state, saids = states[0], list(map(world.said, states))
    said, every = saids[0], set[EventType]().union(*saids)
    causes = list(dict.fromkeys(one for each in saids for one in _causes(subject, contract, each)))
    if what == "unknown":
        return _unsettled(subject, contract, said, causes)
    undoers = subject.effects.undos(contract)
    stays = f"the flow fails and what {contract.name} did stays"
    for each in subject.effects.alike(contract):
        runs = any(it.contract is each for it in world.happenings(state))
        if runs or not undoers:
            is_it = "runs and is not declared as it" if runs else "does not run"
            more = "" if runs else f", and let it hear {_why(causes)} too"
            title = f"{stays}: {each.name}, which looks like its undo, {is_it}"
            return title, f"write compensates={contract.name} on {each.name}{more}"
    heard = [each for each in undoers if said & set(each.hears)]
    if heard:
        title, fix = _kept_out(subject, world, contract, heard[0], state)
        return f"{stays}: {title}", fix
    asked = next((each for each in undoers if not deciding.excludes(subject, causes, each)), None)
    if asked is not None:
        why = _why([each for each in causes if each not in asked.emits])
        return f"{stays}: {asked.name} is not asked", f"let {asked.name} hear {why} too"
    pivots = [each for each in subject.contracts if each.options.pivot and each.service == contract.service]
    shared = subject.effects.shared
    settled = next((each for each in pivots if shared(each) & shared(contract)), None)
    is_late = any(kind.inner is not None for kind in contract.hears)  # a refusal needs no settling
    if settled is not None and is_late and subject.paths.on_failure(contract):
        title = f"{stays}; {contract.name} looks like what settles {settled.name}, a pivot"
        return title, f"write compensates={settled.name} on {contract.name}"
    group = f"{undoers[0].name} shares a once= group with what says {_why(causes)}" if undoers else ""
    keeps, undo = f'say keeps="<reason>" on {contract.name}', undo_of(subject, contract, every)
    if subject.paths.on_failure(contract):  # news of the failure, mostly
        return f"{stays}: {group or 'nothing undoes it'}", f"{keeps}, if it is meant to stay; or {undo}"
    return f"{stays}: {group or 'nothing undoes it'}", f"{undo}; or {keeps}"


def undo_of(subject: Subject, contract: Contract, said: set[EventType]) -> str:
    """How what it did is undone, where nothing is declared to undo it."""
    alike = subject.effects.alike(contract)
    if alike:
        return f"write compensates={contract.name} on {alike[0].name}"
    ends = {kind for flow in subject.flows if flow.fails is not None for kind in types_in(flow.fails)}
    ends -= {*contract.emits, *subject.paths.successes()}
    ways = [kind for kind in subject.choreography.events.values() if kind in said & ends]  # however it came to fail
    return f"undo it: {mending.undo(subject, contract, ways or _causes(subject, contract, said))}"


def _kept_out(subject: Subject, world: World, doer: Contract, undo: Contract, state: int) -> tuple[str, str]:
    """Why an undo that was asked did not run, and what lets it."""
    missing = named(mending.lacking(undo, world.said(state)))
    if missing:
        return f"{undo.name} waits for {missing}", f"let {undo.name} run without {missing}, or say that on every way"
    ran = [it.contract.path for it in world.happenings(state) if it.contract is not None and it.emitted]
    kept, let = deciding.kept_out(subject, undo, ran, world.said(state))
    if kept:
        return f"{undo.name} does not run: {kept}", let
    if undo.options.per != doer.options.per:
        return f"{undo.name} does not undo it in each part", f"give {undo.name} the same per= as {doer.name}"
    return f"{undo.name} is not asked for all of it", f"let {undo.name} hear what the flow fails with, and need no more"


def _unsettled(subject: Subject, contract: Contract, said: set[EventType], causes: list[EventType]) -> tuple[str, str]:
    undoers = subject.effects.undos(contract)
    heard = next((each for each in undoers if said & set(each.hears)), None)
    title = f"{contract.name} was tried, nobody knows whether it took effect, and "
    if heard is not None:
        kinds = [kind for kind in contract.emits if not kind.failure]
        fix = f"{mending.answer(heard, kinds)}; with None it settles the matter under ctx.key_of"
        more = "" if kinds else f"let {contract.name} emit an event, and let {heard.name} take that as `| None`"
        return f"{title}nobody settles it", more or fix
    return (
        f"{title}nobody asks {named(each.name for each in undoers)}",
        f"let {undoers[0].name} hear {_why(causes)} too",
    )


def _causes(subject: Subject, contract: Contract, said: set[EventType]) -> list[EventType]:
    """What said that the flow went wrong: the failures on the way, else what ended it. A compensation hears only of
    its own reaction that it gave up.
    """
    bad = [kind for kind in subject.choreography.events.values() if kind in said and kind in subject.paths.bad]
    bad = [kind for kind in bad if kind.cls is not ReactionFailed or kind.inner in contract.hears]
    failures = [kind for kind in bad if kind.failure or kind.inner is not None]
    undos = subject.effects.undos(contract)
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
