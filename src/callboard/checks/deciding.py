"""What keeps a flow from going two ways: one service that decides between them."""

from collections.abc import Collection

from callboard.checks.extraction import Happening
from callboard.checks.subject import Subject, wanted_by
from callboard.checks.world import World
from callboard.contract import Contract, holds
from callboard.event import EventType


def apart(world: World, state: int, good: Collection[EventType], lost: Happening | None) -> str:
    """What keeps two ways to a state apart, where one service decides both: a once= group of two reactions, those
    nearest to `good`; pivot= where one of them undoes the other. Empty where no service decides both.
    """
    way = list(world.happenings(state))
    won = _reactions(way, next((it for it in way if any(each.kind in good for each in it.emitted)), None))
    gone = _reactions(way, lost)[::-1]
    pairs = [(one, other) for one in won for other in gone if one.service == other.service and one is not other]
    follows = world.extraction.paths.follows
    pairs = [pair for pair in pairs if pair[1].options.compensates == pair[0].name or not follows(*pair)]
    if not pairs:
        return ""
    one, other = min(pairs, key=lambda pair: all(each.options.once is None for each in pair))  # a group that is there
    if other.options.compensates == one.name:
        if one.options.pivot:
            return f"let {other.name} emit nothing where {one.name} has taken its effect"
        if any(map(world.extraction.effects.is_effect, won[: won.index(one)])):
            return ""
        return f"say pivot=True on {one.name}: {other.name} then undoes it no more once it has taken effect"
    if one.options.once is not None and one.options.once == other.options.once:
        return f"let {other.name} emit something each time: else it leaves its once= group to others"
    group, names = one.options.once or other.options.once or "end", sorted((one.path, other.path))
    return f'let {" and ".join(names)} share a group, once="{group}": the first of them wins'


def _reactions(way: list[Happening], last: Happening | None) -> list[Contract]:
    return [each.contract for each in causes(way, last) if each.contract is not None]


def causes(way: list[Happening], last: Happening | None) -> list[Happening]:
    """What led to it, one by one, and it: the last first."""
    found: list[Happening] = []
    while last is not None:
        found.append(last)
        heard = last.heard
        last = next((it for it in way if heard is not None and heard in it.emitted), None)
    return found


def through_asker(subject: Subject, undo: Contract, asks: Happening | None) -> str:
    """Who decides that the flow failed asks for the undo, not what asks for it now. Empty if nobody decides that."""
    if asks is None or asks.heard is None:
        return ""
    decides = asker(subject, undo)
    if decides is None or asks.heard.kind in decides.emits:
        return ""
    said = failure_of(subject, decides, undo)
    return f"let {decides.name} hear {asks.heard.kind} instead of {undo.name}, and let {undo.name} hear {said}"


def asker(subject: Subject, undo: Contract, *, timers: bool = False) -> Contract | None:
    """Who says, in one once= group with what leads to success, that a flow failed; the undo does not come before it."""
    ends = subject.paths.successes()
    for each in subject.contracts:
        if len(each.triggers) == 1 and (timers or each.options.wait is None) and not subject.leads(each, *ends):
            goes_on = any(subject.leads(one, *ends) for one in rivals(subject, each))
            if goes_on and failure_of(subject, each, undo) is not None:
                return each
    return None


def group(subject: Subject, kind: EventType | None = None, heard: Collection[EventType] = ()) -> str:
    """Where it is decided whether a flow succeeds, as part of a sentence: the once= group of what leads to the other
    end than this event (None: than the deadline). Empty if none is, or if that says what is heard, or waits for it.
    """
    good = subject.paths.successes()
    is_good = kind is not None and subject.paths.leads_to(kind, good)
    for each in [it for it in subject.contracts if it.options.once is not None and subject.leads(it, *subject.ends)]:
        members = (each, *rivals(subject, each))
        is_in_line = any(subject.leads(one, *heard) or kind in wanted_by(one) for one in members)
        if subject.leads(each, *good) is not is_good and not is_in_line:
            return f' of {each.service}, once="{each.options.once}",'
    return ""


def failure_said(subject: Subject, undo: Contract, said: Collection[EventType]) -> list[EventType]:
    """Of what was said: how the one who decides told of the failure."""
    decides = asker(subject, undo)
    kind = None if decides is None else failure_of(subject, decides, undo)
    return [kind] if kind is not None and kind in said else []


def failure_of(subject: Subject, decides: Contract, undo: Contract) -> EventType | None:
    """How it says that the flow failed, of what the undo does not come before."""
    bad = [kind for kind in decides.emits if kind in subject.paths.bad]
    return next((kind for kind in bad if not subject.leads(undo, kind)), None)


def rivals(subject: Subject, contract: Contract) -> list[Contract]:
    """The others of its once= group."""
    mine, once = [each for each in subject.contracts if each.service == contract.service], contract.options.once
    return [each for each in mine if each.options.once == once and each is not contract] if once is not None else []


def kept_out(
    subject: Subject, contract: Contract, ran: Collection[str], said: Collection[EventType]
) -> tuple[str, str]:
    """Whether once= or unless= kept a reaction out where these ran and that was said, and what lets it run; else ""."""
    first = next((each for each in rivals(subject, contract) if each.path in ran and contract.path not in ran), None)
    if first is not None:
        out = f'take once="{contract.options.once}" out of {contract.name}'
        return f"{first.name}, of the same once= group, ran first", out
    unless = contract.options.unless
    if unless is not None and holds(unless, set(said)):
        return f"unless= keeps it out once {unless} was said", f"take unless= out of {contract.name}"
    return "", ""


def never_runs(subject: Subject, contract: Contract) -> tuple[str, str]:
    """The same, of one that never runs though all that it hears is said somewhere."""
    worlds = [each for each in subject.worlds if each.ever_said.issuperset(contract.hears)]
    if contract.path in subject.runs or contract.is_join or not worlds:  # the parts of a join may never come together
        return "", ""
    return kept_out(subject, contract, worlds[0].runs, worlds[0].ever_said)


def excludes(subject: Subject, kinds: Collection[EventType], hearer: Contract) -> bool:
    """Whether who says one of these, or led to it, keeps this one from running: a once= group lets one run."""
    if hearer.options.once is None:
        return False
    sayers = [each for kind in kinds for each in subject.emitters(kind)]
    return hearer in sayers or any(subject.leads(each, *kinds) for each in rivals(subject, hearer))
