"""What mends a break in the chain of events: which reaction should hear what, and which event was meant by another."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from callboard.checks import deciding
from callboard.checks.paths import named
from callboard.checks.subject import Subject, wanted_by
from callboard.contract import Contract, holds, types_in, ways
from callboard.event import EventType, FlowTimedOut
from callboard.flow import Flow

ALIKE = 0.8  # two names, of which one may be a slip of the other


def hear(subject: Subject, kind: EventType, flow: Flow | None = None) -> str:
    """What should become of an event that nobody goes on from (in this flow): the best that can be said, if any is."""
    instead = "emit {} instead" if subject.emitters(kind) else "name {} in incoming= instead"
    meant = _near(subject, kind, subject.unsaid) or _effect_meant(subject, kind)
    if meant is not None:
        return f"{instead.format(meant)} if that is meant: {_waiting(subject, meant)} for it"
    bad = kind in subject.paths.bad
    wanted = next(iter(_wanted(subject, kind, failed=bad)), None)
    goal = "" if wanted is None else f" and emit {wanted}: {_waiting(subject, wanted)} for it"
    doers = _done_before(subject, kind) if bad else ()
    doer = next((each for each in doers if subject.flows or not each.options.pivot), None)  # no end, no pivot
    if doer is not None and doer.options.pivot:
        return _go_on_after(subject, doer, kind)
    undos = list(subject.effects.undos(doer)) if doer is not None else []
    undos = [each for each in undos if not deciding.excludes(subject, [kind], each)]
    if doer is not None and not undos:
        waits = "" if wanted is None else f": {_waiting(subject, wanted)} for {wanted}"
        return f"undo {doer.name}: {undo(subject, doer, [kind], wanted)}{waits}"
    if goal and not bad:
        return f"let a reaction{deciding.group(subject, wanted, [kind])} hear {kind}{goal}; or {instead.format(wanted)}"
    asker = deciding.asker(subject, undos[0]) if undos else None
    listeners = [*([asker] if asker is not None else []), *undos]
    listeners += _closers(subject, kind) if bad else _hearers_instead(subject, kind)
    listeners = [each for each in listeners if _can_hear(subject, each, kind)]
    if listeners:
        return f"let {listeners[0].name} hear {kind} too" + "".join(
            f", or {instead.format(one)}, for which it waits" for one in listeners[0].hears if one in subject.unsaid
        )
    if goal:
        return f"let a reaction hear {kind}{goal}"
    end = f"name {kind} in fails= of {(flow or _flows(subject, kind)[0]).name}" if bad and subject.flows else ""
    return f"{end}, or let a reaction undo what was done before it" if end else ""


def _go_on_after(subject: Subject, pivot: Contract, kind: EventType) -> str:
    """How a flow ends that can only succeed: with what is said instead of that, or by nobody yet."""
    ends = [end for flow in _flows(subject, kind) for end in types_in(flow.succeeds)]
    open_ends = {*subject.unsaid, *(one for each in subject.emitters(kind) for one in each.emits)}
    meant = next((each for each in ends if each in open_ends), ends[-1])
    return f"let a reaction hear {kind} and emit {meant}: after {pivot.name}, a pivot, a flow can only succeed"


def _can_hear(subject: Subject, hearer: Contract, kind: EventType) -> bool:
    """Whether it does not yet, does not lead there itself, and would run."""
    knows = kind in hearer.hears or subject.leads(hearer, kind)
    return not knows and not deciding.excludes(subject, [kind], hearer)


def complete(subject: Subject, flow: Flow, said: Collection[EventType]) -> str:
    """What is missing of a completion of several events, of which some were said. Empty if none was begun."""
    shape = flow.fails if subject.paths.bad & set(said) else flow.succeeds
    begun = [way for way in ways(shape) if way & set(said) and way - set(said)] if shape is not None else []
    if not begun:
        return ""
    way = min(begun, key=lambda it: (len(it - set(said)), sorted(map(str, it))))
    missing, last = min(way - set(said), key=str), min(way & set(said), key=str)
    sayers = [each for each in subject.emitters(missing) if len(each.triggers) == 1]
    if (sayer := next((each for each in sayers if _can_hear(subject, each, last)), None)) is not None:
        return f"let {sayer.name} hear {last} too"
    if (sayer := next((each for each in sayers if last in each.hears), None)) is not None:
        return f"let {sayer.name} emit {missing} each time, beside what else it says"
    return f"let a reaction hear {last} and emit {missing}"


def is_late_unheard(subject: Subject, flow: Flow) -> bool:
    """Whether the flow has a deadline, and no reaction runs when it passes."""
    heard = {kind.inner for each in subject.contracts for kind in each.hears if kind.cls is FlowTimedOut}
    return flow.timeout is not None and flow.start not in heard


def end_late(subject: Subject, flow: Flow, wanted: EventType | None = None) -> str:
    """Who should hear that the deadline of a flow passed: the undo of what is done last in it; else who says so, with
    the end that is wanted, if one is.
    """
    late, fails = f"FlowTimedOut[{flow.start}]", _ends(flow, failed=True)
    fails = (wanted,) if wanted in fails else fails
    doers = [each for end in types_in(flow.succeeds) for each in _done_before(subject, end, early=True)]
    firsts = [each for doer in doers for each in subject.effects.undos(doer)[:1]]
    asked = ((each, undo) for undo in firsts if (each := deciding.asker(subject, undo, timers=True)) is not None)
    for decides, asks in asked:
        if decides.options.wait is None:
            return f"let {decides.name} hear {late} too"
        said = deciding.failure_of(subject, decides, asks)
        return f'let a reaction of {decides.service}, once="{decides.options.once}", hear {late} and emit {said}'
    if not doers:
        end = fails[0] if fails else "an event of fails="
        return f"let a reaction{deciding.group(subject)} hear {late} and emit {end}"
    if subject.effects.undos(doers[0]):
        return f"let {firsts[0].name} hear {late} too"
    ends = [*(each for each in fails if each in subject.unsaid), *(each for each in doers[0].emits if each.failure)]
    return f"write {undo(subject, doers[0], [flow.start], next(iter(ends), None), late=True)}"


def undo(
    subject: Subject,
    doer: Contract,
    heard: Collection[EventType],
    emitted: EventType | None = None,
    *,
    late: bool = False,
) -> str:
    """Where and how its compensation is written: what it hears (`late`: that the flow which starts so is late), its
    effect, or None where it took none; what it changed; and what it says, if others wait.

    A row is found by its key: where what is heard has none, the effect has to be there.
    """
    done = [kind for kind in doer.emits if not kind.failure]
    rows = [each.state.key for each in doer.states if each.form in ("row", "maybe")]
    is_needed = any(_all_carry(key, done) and not _all_carry(key, heard) for key in rows)
    taken = [f"done: {' | '.join(map(str, [*done, *([] if is_needed else [None])]))}"] if done else []
    taken += [f"{name}: {kind}" for name, kind in changes(subject, doer, heard, done)]
    takes, emits = f" and takes `{', '.join(taken)}`" if taken else "", f", and emits {emitted}" if emitted else ""
    heard = [each for each in heard if late or each not in done]
    hears = f"FlowTimedOut[{named(heard)}]" if late else named(heard) or "what makes the flow fail"
    return f"a reaction of {doer.service} with compensates={doer.name} that hears {hears}{takes}{emits}"


def changes(subject: Subject, doer: Contract, *given: Collection[EventType]) -> list[tuple[str, str]]:
    """The parameters, and their annotations, through which an undo reaches the states and ports that it changed, by
    the key of one of these.
    """
    form, shared = {"row": "{}", "maybe": "{} | None", "any": "States[{}]"}, subject.effects.shared(doer)
    found: list[tuple[str, str]] = []
    for each in doer.states:
        if each.state in shared and each.form in form:
            is_found = any(_all_carry(each.state.key, kinds) for kinds in given)
            found.append((each.name, form[each.form if is_found else "any"].format(each.state)))
    return found + [(each.name, each.port.__name__) for each in doer.ports]


def _all_carry(key: str, kinds: Collection[EventType]) -> bool:
    return bool(kinds) and all(kind.carries(key) for kind in kinds)


def answer(undo: Contract, effects: Sequence[EventType] = ()) -> str:
    """What lets a compensation run, and say what it says, also where nothing was done."""
    kinds, said = " | ".join(map(str, undo.effect_types or effects)), named(undo.emits)
    return f"let {undo.name} take `{kinds} | None`: it then runs there too{said and f', and says {said}'}"


def _flows(subject: Subject, kind: EventType) -> list[Flow]:
    """Those in which it may be said; all, if a word from outside leads to it."""
    return [flow for flow in subject.flows if subject.paths.leads_to(flow.start, [kind])] or list(subject.flows)


def _wanted(subject: Subject, kind: EventType, *, failed: bool) -> list[EventType]:
    """What nobody says and might come of it: how its flows end, else the only event that is waited for."""
    lacking = [each for each in subject.unsaid if not subject.paths.leads_to(each, [kind])]
    ends = [end for flow in _flows(subject, kind) for end in _ends(flow, failed=failed) if end in lacking]
    may_be_bad = failed or kind in subject.unheard
    return ends or [each for each in lacking if len(lacking) == 1 and (may_be_bad or each not in subject.paths.bad)]


def _effect_meant(subject: Subject, kind: EventType) -> EventType | None:
    """What a compensation takes for the effect of its reaction, which says this instead."""
    for doer in subject.emitters(kind):
        for undo in subject.effects.undos(doer):
            given = [one for each in undo.givens for one in each.types]
            for one in [*given, *(one for one in undo.hears if one in subject.unsaid)]:
                known = {*doer.emits, *types_in(undo.options.needs), *(flow.start for flow in subject.flows)}
                if (
                    one not in known
                    and one.failure is kind.failure
                    and not undo.effect_types
                    and not subject.paths.leads_to(one, [kind])
                ):
                    return one
    return None


def say(subject: Subject, kind: EventType) -> str:
    """How an event comes to be said that nobody says. Empty where nothing is left over that points to it."""
    meant = _near(subject, kind, subject.unheard) or _near(subject, kind, subject.said)
    if meant is not None:
        return f"take {meant} if that is meant"
    left = [each for each in subject.unheard if not subject.paths.leads_to(kind, [each])]
    if kind in subject.ends:
        left = [each for each in left if (each in subject.paths.bad) == (kind in subject.paths.bad)]
    elif len(left) > 1:
        return ""
    heard, group = " | ".join(map(str, left)), deciding.group(subject, kind, left)
    return f"let a reaction{group} hear {heard}, which nobody does, and emit {kind}" if left else ""


def take_instead(subject: Subject, contract: Contract, kind: EventType) -> str:
    """What a reaction meant that takes what nobody says: the effect that it undoes, the deadline, or a loose end."""
    paths, undone = subject.paths, subject.effects.undone(contract)
    if undone is not contract and not contract.effect_types:
        effect = next((each for each in undone.emits if not each.failure), None)
        if effect is not None:
            return f"take {effect} if that is meant, which {undone.name} emits"
    late = [f"FlowTimedOut[{flow.start}]" for flow in subject.flows if is_late_unheard(subject, flow)]
    is_stopped = bool(lacking(contract, subject.said))
    if late and is_stopped and (undone is not contract or set(contract.emits) <= paths.bad):
        return f"take {late[0]} if that is meant, which nobody hears"
    if late and undone is not contract:
        return f"let a reaction{deciding.group(subject)} hear {late[0]}, which nobody does, and emit {kind}"
    if not is_stopped:
        return ""
    ends = subject.ends.union(subject.choreography.outgoing)
    needed = [types_in(each.options.needs) for each in subject.contracts if each.options.needs is not None]
    starts = {flow.start for flow in subject.flows}
    known = paths.bad.union(wanted_by(contract), undone.emits, starts, paths.hearers, *needed)
    loose = [each for each in subject.said - known if not paths.leads_to(each, ends)]
    loose = [each for each in loose if not subject.leads(contract, each)]
    return f"take {loose[0]} if that is meant: nothing else goes on from it" if len(loose) == 1 else ""


def _near(subject: Subject, kind: EventType, others: Collection[EventType]) -> EventType | None:
    """What it may be a slip of. Who takes or says both means two."""
    users = [{*wanted_by(each), *each.emits} for each in subject.contracts]
    both = {kind, *(one for each in users if kind in each for one in each)}
    if kind in subject.ends:
        both |= {flow.start for flow in subject.flows}
    names = {str(each): each for each in sorted(others, key=str) if each.failure is kind.failure and each not in both}
    found = get_close_matches(str(kind), names, 1, ALIKE)
    return names[found[0]] if found else None


def _waiting(subject: Subject, kind: EventType) -> str:
    takers = [each.name for each in subject.contracts if kind in wanted_by(each)]
    takers = takers or [flow.name for flow in subject.flows if kind in flow.ends]
    return f"{named(takers)} {'waits' if len(takers) == 1 else 'wait'}"


def _ends(flow: Flow, *, failed: bool) -> tuple[EventType, ...]:
    shape = flow.fails if failed else flow.succeeds
    return () if shape is None else types_in(shape)


def _hearers_instead(subject: Subject, kind: EventType) -> Iterator[Contract]:
    """Of good news: who hears another that could be said instead."""
    bad = subject.paths.bad
    instead = [one for each in subject.emitters(kind) for one in each.emits if one not in bad and one is not kind]
    yield from (each for one in instead for each in subject.hearers(one) if each.options.wait is None)


def _done_before(subject: Subject, kind: EventType, *, early: bool = False) -> Iterator[Contract]:
    """What took effect before an event and is to be undone, the last first; `early`: also if its undo leads there."""
    seen, todo, is_late = {kind}, [kind], False
    while todo:
        causes = [subject.effects.undone(each) for each in subject.emitters(todo.pop(0))]
        before = [one for each in causes for one in sorted(wanted_by(each, unless=False), key=str)]
        late = [one.inner for one in before if one.cls is FlowTimedOut]  # then all may have been done, or a part
        before += [end for flow in subject.flows if flow.start in late for end in types_in(flow.succeeds)]
        before = [one for one in before if one not in seen]
        is_late = is_late or bool(late)
        seen |= set(before)
        todo += before
        for doer in [each for one in before for each in subject.emitters(one)]:
            is_asked = any(_is_asked(subject, each, kind) for each in subject.effects.undos(doer))
            is_pivot = bool(doer.options.pivot)
            is_open = early or (doer not in causes and (not is_late if is_pivot else not is_asked))
            if is_open and subject.effects.is_effect(doer):
                yield doer


def _is_asked(subject: Subject, undo: Contract, kind: EventType) -> bool:
    """Whether it is asked where this event is said: by it, by what caused it, or since it comes before it."""
    causes = [one for one in undo.hears if one in subject.paths.bad]
    return subject.leads(undo, kind) or any(subject.paths.leads_to(one, [kind]) for one in causes)


def goes_on_beside(subject: Subject, contract: Contract) -> bool:
    """Whether what it hears ends the flow, or leads there by another reaction too, whatever it says itself."""
    if not subject.ends.isdisjoint(contract.hears):
        return True
    others = [each for kind in contract.hears for each in subject.hearers(kind) if each is not contract]
    return any(not subject.goes_on.isdisjoint(each.emits) for each in others)


def _closers(subject: Subject, kind: EventType) -> Iterator[Contract]:
    """The reactions that say, of one event of bad news, that a flow failed."""
    bad = subject.paths.bad
    for flow in subject.flows:
        ends = set(_ends(flow, failed=True))
        for each in subject.contracts:
            fits = set(each.hears) <= bad and not ends.isdisjoint(each.emits) and not subject.leads(each, kind)
            if fits and len(each.triggers) == 1 and each.options.compensates is None:
                yield each


def _root(subject: Subject, kind: EventType, said: Collection[EventType]) -> tuple[Contract, EventType] | None:
    """Why it is never said: the first event on the way to it that no reaction comes to say, and who waits for it."""
    seen, todo = {kind}, [kind]
    while todo:
        for each in subject.emitters(todo.pop(0)):
            for one in lacking(each, said):
                if not any(lacking(other, said) for other in subject.emitters(one)):
                    return each, one
                todo += [one] if one not in seen else []
                seen.add(one)
    return None


def upstream(subject: Subject, kind: EventType, said: Collection[EventType]) -> str:
    """What is to be mended first for an event to be said, where that lies further up. Empty if it does not."""
    found = _root(subject, kind, said)
    if found is None:
        return ""
    waiter, lost = found
    return f"mend what comes before it: {waiter.name} waits for {lost}, which is never said"


def lacking(contract: Contract, said: Collection[EventType]) -> Sequence[EventType]:
    """What a reaction waits for in vain, if only these are said."""
    needs = contract.options.needs
    told = {kind for each in contract.triggers for kind in each.types if kind.inner is not None}  # by the tracker
    found = [kind for each in contract.triggers if not set(each.types) & {*said, *told} for kind in each.types]
    return found + ([] if needs is None or holds(needs, set(said)) else [k for k in types_in(needs) if k not in said])
