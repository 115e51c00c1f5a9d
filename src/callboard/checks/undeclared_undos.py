"""CB203: an undo that does not say what it undoes, or does not undo all of it."""

import re
from collections.abc import Iterator
from itertools import islice
from linecache import getline
from typing import Any

from msgspec import structs

from callboard.check import Check, Finding, Severity, Step
from callboard.checks import mending
from callboard.checks.effects import answers
from callboard.checks.effects_left_behind import MANY
from callboard.checks.net import union
from callboard.checks.paths import named
from callboard.checks.subject import Subject, at_reaction, told
from callboard.contract import Contract
from callboard.event import EventType
from callboard.options import Options


def find(subject: Subject) -> Iterator[Finding]:
    """Undos without compensates=, and compensations that are asked about an outside call they cannot settle."""
    for path, doers in subject.effects.undeclared.items():
        for doer in doers:
            yield _undeclared(subject, subject.choreography.contracts[path], doer)
    for path, undoers in subject.effects.compensations.items():
        doer = subject.choreography.contracts[path]
        for undoer in undoers:
            lacking = [each.port.__name__ for each in doer.ports if each.port not in {it.port for it in undoer.ports}]
            if lacking and answers(undoer):
                yield at_reaction(
                    undoer,
                    CHECK,
                    f"{undoer.name} runs where nobody knows what {doer.name} did, and has no {lacking[0]} to settle it",
                    f"let {undoer.name} take the port {lacking[0]}, and take back there what the call under "
                    f"ctx.key_of({doer.name}) may have done",
                    about=f"{undoer.path} {lacking[0]}",
                )
            elif not _touches(subject, undoer, doer):
                yield _idle(subject, undoer, doer)


def _touches(subject: Subject, undoer: Contract, doer: Contract) -> bool:
    """Whether it can undo anything: outside, in what others see, or through another that hears it. Or it need not."""
    shared, is_kept = subject.effects.shared, not undoer.emits or not all(kind.failure for kind in undoer.emits)
    need_not = not subject.effects.is_effect(doer) or doer.options.pivot or undoer.options.keeps is not None
    told = [it for kind in undoer.emits for it in subject.hearers(kind) if not shared(it).isdisjoint(shared(doer))]
    goes_on = bool(told) or not set(undoer.emits).isdisjoint(subject.choreography.outgoing)
    return need_not or bool(undoer.ports) or (is_kept and bool(shared(undoer))) or goes_on


def _idle(subject: Subject, undoer: Contract, doer: Contract) -> Finding:
    changed = subject.effects.shared(doer)
    what = named(subject.effects.names(changed))
    written = ", ".join(map(": ".join, mending.changes(subject, doer, undoer.hears, undoer.effect_types)))
    why, fix = f"it takes no {what} to change", f"take `{written}`, and take back there what {doer.name} did"
    if subject.effects.shared(undoer):
        why, fix = "of a run that says only failures no change is kept", "emit an event that is no failure"
    return at_reaction(
        undoer,
        CHECK,
        f"{undoer.name} is to undo {doer.name}, and changes nothing that {doer.name} did: {why}",
        f"let {undoer.name} {fix}",
        about=f"{undoer.path} changes nothing",
    )


def _undeclared(subject: Subject, undoer: Contract, doer: Contract) -> Finding:
    taken = subject.effects.taken(undoer, doer)
    fix = _fix(undoer, doer, taken)
    others = [each.name for each in subject.effects.undeclared[undoer.path] if each is not doer]
    if others:
        fix += f". It undoes {named(others)} too: write a reaction of its own for that, with its compensates="
    both = ", ".join(subject.effects.names(subject.effects.shared(doer) & subject.effects.shared(undoer)))
    for world in subject.worlds:
        for part in world.extraction.parts(doer.path):
            bit = world.bits.get("leaked", doer.path, part)
            state = world.first(bit) if bit else None
            if state is not None and any(each.contract is undoer for each in world.happenings(state)):
                title = (
                    f"{undoer.name} looks like the undo of {doer.name} (both change {both}) and can run before it: "
                    f"what {doer.name} does afterwards is never undone"
                )
                early = world.bits.get("early", doer.path, part)
                found = at_reaction(undoer, CHECK, title, fix, **told(world, state, bit | early))
                return structs.replace(found, steps=_noted(found.steps, undoer, doer))
    looks = f"{undoer.name} looks like the undo of {doer.name}"
    if taken:
        title = (
            f"{looks} (it takes {named(taken)}, and both change {both}) and is not declared as it: a flow that fails "
            f"is recorded with {doer.name} not undone"
        )
        goes_on = any(subject.paths.leads_to(kind, subject.paths.successes()) for kind in undoer.emits)
        severity: Severity = "warning" if goes_on else "error"
        return at_reaction(undoer, CHECK, title, fix, severity=severity, **_recorded(subject, undoer, doer))
    title = f"{looks} (both change {both}) and is not declared as it: only its body can keep it from undoing twice"
    return at_reaction(undoer, CHECK, title, fix, severity="warning")


def _recorded(subject: Subject, undoer: Contract, doer: Contract) -> dict[str, Any]:
    """A way on which both run and the flow fails, and what is recorded then; nothing where none is known."""
    for world in subject.worlds:
        applied = union(world.bits.get("applied", doer.path, part) for part in world.extraction.parts(doer.path))
        failed = union(world.extraction.verdict(flow, good=False) for flow in world.flows)
        for state in islice((end for end in world.exploration.ends if end & failed), MANY):
            ran = [it.contract for it in world.happenings(state)]
            if undoer in ran and doer in ran[: ran.index(undoer)]:
                shown = told(world, state, applied | state & failed)
                record = f"{doer.path} is recorded as done and not undone, {undoer.path} as one more effect"
                return {**shown, "end": (*shown["end"], record)}
    return {}


def _fix(undoer: Contract, doer: Contract, taken: list[EventType]) -> str:
    needs, done = undoer.options.needs, [kind for kind in doer.emits if not kind.failure]
    asked = needs is None or bool(set(undoer.hears).difference(taken))  # by what is left to make it run
    given = _given(undoer) if asked else ""
    fix = f"write @{undoer.service}.reaction(compensates={doer.name}{', ' if given else ''}{given}) above {undoer.name}"
    if set(taken) & set(undoer.hears):
        more = "" if asked else f", and {needs} has to be that, as a parameter"
        fix += f": {named(taken)} is then the effect that it undoes, and no trigger{more}"
    fix += f". Each run of {doer.name} is then undone once, and {doer.name} does not run after its undo"
    if done and undoer.emits:
        how = f"give it one more parameter, `done: {done[0]} | None`,"
        fix += (
            f". Where {doer.name} has not run {undoer.name} is skipped: if others wait for {undoer.emits[0]}, "
            f"{f'take `{taken[0]} | None`' if taken else how} and it runs there too, with None"
        )
    return fix + f'. If {undoer.name} undoes nothing, say keeps="<reason>" on {undoer.name}'


def _given(contract: Contract) -> str:
    """What stands between the brackets of its decorator; `...` where that is not to be read."""
    if contract.options == Options():
        return ""
    text, line = "", contract.line
    while line > max(1, contract.line - 12) and not text.startswith("@"):
        line -= 1
        text = getline(contract.file, line).strip() + text
    found = re.fullmatch(r"@[\w.]+\((.*?),?\)", text)
    return found[1] if found else "..."


def _noted(steps: tuple[Step, ...], undoer: Contract, doer: Contract) -> tuple[Step, ...]:
    """The steps, with what goes wrong in the last of the two reactions' runs."""
    notes = {undoer.path: f"{doer.name} has not run yet", doer.path: "after its undo: nobody undoes it now"}
    noted = [structs.replace(it, note=notes.pop(f"{it.service}.{it.reaction}", it.note)) for it in reversed(steps)]
    return tuple(reversed(noted))


CHECK = Check(
    code="CB203",
    name="undo that is not declared",
    severity="error",
    find=find,
    meaning="On a failure path a reaction writes the state, or takes the port, of an earlier reaction of its service, "
    "and does not say compensates=. Nothing keeps it from running first: then it undoes nothing, the earlier "
    "reaction takes effect after it, and that stays for good. Where it waits for an event of the earlier reaction, "
    "a flow that fails is recorded with the effect not undone all the same. With compensates= the two go one at a "
    "time, and undoing closes the other. Also a compensation that is asked with None (`E | None`) and lacks the "
    "port to find out, and one that reaches nothing which its reaction changed.",
    broken="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@stock.reaction
def release(why: Declined, shelf: Shelf) -> Released: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid], fails=Released)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered, shelf: Shelf) -> Held: ...

@money.reaction
def charge(ordered: Ordered) -> Paid | Declined: ...

@stock.reaction(compensates=hold)
def release(why: Declined, held: Held, shelf: Shelf) -> Released: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=tuple[Held, Paid], fails=Released)]
""",
)
