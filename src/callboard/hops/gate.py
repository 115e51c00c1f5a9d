"""May this delivery run, and with what? Decided by log order, from the view of its flow; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from callboard.contract import Gathered, Given, holds, types_in
from callboard.event import attribute
from callboard.ledger import NO_EFFECT, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callboard.contract import Contract
    from callboard.event import EventType
    from callboard.hops.deliveries import Delivery, Reader
    from callboard.hops.views import View
    from callboard.ledger import Scatter

UNKNOWN = -1  # an attempt failed, and nobody knows whether its outside call took place


Input = Entry | list[Entry] | None


class Ready(NamedTuple):
    """It may run: the entries of its event parameters, and for a compensation the effects to undo, one run for each."""

    inputs: dict[str, Input]
    effects: list[int] | None = None


class Skip(NamedTuple):
    """It is handled without a run."""

    why: str
    closes: bool = False  # a compensation that was asked closes its reaction even with nothing to undo


class Wait(NamedTuple):
    """It is parked until what is missing was seen."""

    missing: str
    half: bool = False
    came: bool = False  # it is in the log, and only not handled yet: no end of the wait makes a dead letter of it


class Arm(NamedTuple):
    """It is parked until its timer is due."""

    due: int


class Dead(NamedTuple):
    """It cannot be answered: a dead letter at once."""

    why: str


class Seen(NamedTuple):
    """What a gate looks at: the flow's view, how far it may look, and how events are decoded and readers found."""

    view: View
    upto: int
    world: World


class World:
    """What the gates of one process share."""

    def __init__(
        self,
        readers: dict[str, Reader],
        hearers: dict[str, dict[str, list[Reader]]],
        decode: Callable[[Entry], Any],
        type_of: Callable[[Entry], EventType],
    ) -> None:
        self.readers = readers
        self.undoers: dict[str, list[Reader]] = {}  # reaction -> its compensations
        self.pairs: dict[str, list[Reader]] = {}  # reaction -> itself and its compensations
        self.hearers = hearers  # service -> type -> readers
        self.decode = decode
        self.type_of = type_of

    def part(self, entry: Entry, per: str | None) -> str:
        """The part of its flow that an entry belongs to; "" for the whole flow."""
        if per is None:
            return ""
        value = attribute(self.decode(entry), per)
        return "" if value is None else str(value)


Decision = Ready | Skip | Wait | Arm | Dead


def decide(delivery: Delivery, seen: Seen, now: int) -> Decision:
    """What becomes of the delivery now. Asked again whenever something changed that it waits for."""
    contract = delivery.reader.contract
    options = contract.options
    closed = seen.view.remembered("closed", contract.path, delivery.part)
    if options.compensates is None and any(True for _ in closed):
        return Skip("closed")
    if delivery.parked is not None and (asked := _asked_to_undo(delivery, seen)) is not None:
        return Wait(f"the compensation {asked.path}, which was asked")
    if options.once is not None:
        group = f"{contract.service}:{options.once}"
        if any(memory.pos != delivery.trigger.pos for memory in seen.view.remembered("once", group, delivery.part)):
            return Skip("lost once")
    if options.unless is not None:
        first = next(iter(_matching(seen, types_in(options.unless), delivery, before=delivery.entry.pos)), None)
        if first is not None:
            return Skip(f"unless {first.type}")
    if options.wait is not None and delivery.entry is delivery.trigger:
        wait = options.wait if not callable(options.wait) else options.wait(delivery.value)
        return Arm(min(delivery.trigger.time, now) + int(wait.total_seconds() * 1_000_000))
    return _inputs(delivery, contract, seen)


def _inputs(delivery: Delivery, contract: Contract, seen: Seen) -> Decision:
    inputs = _triggers(delivery, contract, seen)
    if not isinstance(inputs, dict):
        return inputs
    if (missing := _missing(delivery, contract, seen)) is not None:
        return missing
    effects = delivery.effects
    if contract.options.compensates is not None and effects is None:
        asked = _asked(delivery, contract, seen)
        if not isinstance(asked, list):
            return asked
        effects = asked
    elif effects is not None:
        effects = _left(effects, delivery, contract, seen)
        if not effects:
            return Skip("undone already")
    for given in contract.givens:
        if not _is_effect(contract, given):
            inputs[given.name] = _latest(seen, given.types, delivery)
    return Ready(inputs, effects)


def _triggers(delivery: Delivery, contract: Contract, seen: Seen) -> dict[str, Input] | Decision:
    """What starts the run: its event, both halves of a join, or all parts of a scatter."""
    if contract.gathered is not None and contract.options.gathers is not None:
        gathered = _gather(delivery, contract.gathered, contract.options.gathers, seen)
        return {contract.gathered.name: gathered} if isinstance(gathered, list) else gathered
    if contract.is_join:
        return _join(delivery, contract, seen)
    return {contract.triggers[0].name: delivery.trigger}


def _matching(
    seen: Seen, types: Iterable[EventType], delivery: Delivery, *, before: int | None = None
) -> Iterable[Entry]:
    """Entries of these types that count for the delivery's part: those of the part, and those of no part."""
    names = {kind.name for kind in types}
    per = delivery.reader.contract.options.per
    for entry in seen.view.of(names, seen.upto if before is None else before - 1):
        if not delivery.part or seen.world.part(entry, per) in ("", delivery.part):
            yield entry


def _latest(seen: Seen, types: Iterable[EventType], delivery: Delivery) -> Entry | None:
    latest: Entry | None = None
    for entry in _matching(seen, types, delivery):
        latest = entry
    return latest


# joins and gathers: decided at the event that completes them


def _join(delivery: Delivery, contract: Contract, seen: Seen) -> dict[str, Input] | Decision:
    firsts: dict[str, Entry] = {}
    trigger = delivery.trigger
    for parameter in contract.triggers:
        first = next(iter(_matching(seen, parameter.types, delivery, before=trigger.pos + 1)), None)
        if first is not None:
            firsts[parameter.name] = first
    mine = next(p for p in contract.triggers if any(kind.name == trigger.type for kind in p.types))
    if firsts[mine.name].pos != trigger.pos:
        return Skip("late part")
    firsts[mine.name] = trigger  # it may have been edited
    if len(firsts) < len(contract.triggers):
        missing = [" | ".join(k.name for k in p.types) for p in contract.triggers if p.name not in firsts]
        if len(firsts) > 1:
            return Skip("joined")  # the first part waits for all
        came = all(any(True for _ in _matching(seen, p.types, delivery)) for p in contract.triggers)
        return Wait(" and ".join(missing), half=True, came=came)
    return {**firsts}


def _frame(entry: Entry, scattered: str) -> Scatter | None:
    return next((frame for frame in reversed(entry.scatters) if frame.type == scattered), None)


def _gather(delivery: Delivery, gathered: Gathered, scattered: EventType, seen: Seen) -> list[Entry] | Decision:
    frame = _frame(delivery.trigger, scattered.name)
    if frame is None:
        return Dead(f"{delivery.trigger.type} belongs to no scatter of {scattered.name}")
    every: dict[int, Entry] = {}
    for entry in seen.view.of({kind.name for kind in gathered.types}, seen.upto):
        place = _frame(entry, scattered.name)
        if place is not None and place.id == frame.id:
            every.setdefault(place.ordinal, entry)
    parts = {ordinal: entry for ordinal, entry in every.items() if entry.pos <= delivery.trigger.pos}
    if parts[frame.ordinal].pos != delivery.trigger.pos:
        return Skip("late part")
    parts[frame.ordinal] = delivery.trigger  # it may have been edited
    if len(parts) < frame.size:
        if len(parts) > 1:
            return Skip("gathered")
        return Wait(f"{frame.size - 1} more of {frame.size} parts", half=True, came=len(every) == frame.size)
    return [parts[ordinal] for ordinal in sorted(parts)]


# prerequisites


def _missing(delivery: Delivery, contract: Contract, seen: Seen) -> Wait | None:
    """What of `needs=` this service has not finished with in this flow (and part).

    For what it undoes a compensation waits as a barrier, and not here: once asked, it is that which waits.
    """
    needs = contract.options.needs
    if needs is None:
        return None
    aside = (delivery.reader.path, f"{contract.service}.{contract.options.compensates}")
    ready: set[EventType] = set()
    came: set[EventType] = set()
    reasons: list[str] = []
    for kind in types_in(needs):
        entry = _latest(seen, (kind,), delivery)
        if entry is None:
            reasons.append(kind.name)
            continue
        hearers = seen.world.hearers[contract.service].get(kind.name, ())
        behind = next((r for r in hearers if r.path not in aside and not r.finished(entry.pos)), None)
        if behind is None:
            ready.add(kind)
            came.add(kind)
        else:
            parked = behind.rows.get((entry.pos, 0))
            if parked is None or parked.why in ("running", "retry"):
                came.add(kind)
            state = (
                "behind the dead letter of" if parked is not None and parked.why == "dead" else "until it is handled by"
            )
            reasons.append(f"{kind.name}, {state} {behind.path}")
    return None if holds(needs, ready) else Wait(" and ".join(reasons), came=holds(needs, came))


# compensations


def _is_effect(contract: Contract, given: Given) -> bool:
    return bool(contract.effect_types) and all(kind in contract.effect_types for kind in given.types)


def _answers(contract: Contract) -> bool:
    """Whether the compensation takes `E | None`: it answers exactly once, also when there is nothing to undo."""
    return any(given.optional and _is_effect(contract, given) for given in contract.givens)


def _asked(delivery: Delivery, contract: Contract, seen: Seen) -> list[int] | Decision:
    """The effects to undo.

    Called when a compensation is asked; its reaction is closed by what follows, whatever follows.
    """
    done = seen.world.readers[f"{contract.service}.{contract.options.compensates}"]
    effects = effects_of(done, contract, delivery, seen)
    unknown = unsettled(done, delivery, seen.view, seen.world)
    if _answers(contract):
        answered = seen.view.remembered("answered", contract.path, delivery.part)
        if any(memory.pos != delivery.trigger.pos for memory in answered):
            return Skip("answered")
        return [*effects, NO_EFFECT] if unknown or not effects else effects
    if unknown:
        return [*effects, UNKNOWN]
    return effects or Skip("nothing to undo", closes=True)


def _left(effects: list[int], delivery: Delivery, contract: Contract, seen: Seen) -> list[int]:
    """What of these effects nobody has undone meanwhile; an unknown one is settled if it can be by now."""
    undone = f"{contract.service}.{contract.options.compensates}"
    settled = {memory.pos for memory in seen.view.remembered("undone", undone, delivery.part)} - {NO_EFFECT}
    known = NO_EFFECT if _answers(contract) else UNKNOWN
    return [known if effect == UNKNOWN else effect for effect in effects if effect not in settled]


def _asked_to_undo(delivery: Delivery, seen: Seen) -> Reader | None:
    """A compensation of this reaction that was asked in the flow and is not done: what was parked waits for it.

    It would take an effect which the compensation, decided on what was known when it was asked, might not undo.
    """
    for reader in seen.world.undoers.get(delivery.reader.path, ()):
        kinds = {kind.name for kind in reader.contract.hears}
        for entry in seen.view.entries:
            if entry.type in kinds and heard(reader, entry, frozenset()) and not reader.finished(entry.pos):
                return reader
    return None


def effects_of(done: Reader, contract: Contract, delivery: Delivery, seen: Seen) -> list[int]:
    """The positions of the effects of `done` in this flow (and part) that nobody has undone or is undoing."""
    settled = {memory.pos for memory in seen.view.remembered("undone", done.path, delivery.part)}
    for reader in seen.world.pairs.get(done.path, ()):  # another compensation may be about to try it again
        for row in reader.flow_rows.get(delivery.trigger.flow, ()):
            if reader is delivery.reader or reader.rows[row].why != "dead":
                settled.add(row[1])
    per = done.contract.options.per
    found: list[int] = []
    kinds = {kind.name for kind in contract.effect_types}
    runs: set[int] = set()
    for entry in seen.view.entries:
        if entry.pos > seen.upto:
            break
        if entry.by != done.path or entry.type.startswith("callboard."):
            continue
        if delivery.part and seen.world.part(entry, per) not in ("", delivery.part):
            continue
        if kinds:
            taken = entry.type in kinds
        else:  # every commit but a failure is one: the first event of each run stands for it
            taken = entry.cause not in runs and not seen.world.type_of(entry).failure
            runs.add(entry.cause)
        if taken and entry.pos not in settled:
            found.append(entry.pos)
    silent = seen.view.remembered("effect", done.path, delivery.part) if not kinds else ()
    found += [memory.pos for memory in silent if memory.pos not in settled]
    return sorted(found)


def unsettled(done: Reader, delivery: Delivery, view: View, world: World) -> set[int]:
    """Where attempts of `done` in this flow (and part) did not commit: their outside calls may have taken place."""
    if not done.outside:
        return set()
    known = {memory.pos for memory in view.remembered("unknown", done.path, delivery.part)}
    flow = delivery.trigger.flow
    parked = [done.rows[row] for row in done.flow_rows.get(flow, ())]
    tried = {p.pos for p in parked if p.attempts > 0 and p.why in ("retry", "dead", "running", "behind", "waiting")}
    tried |= {pos for pos, other in done.open.items() if other.suspect and other.entry.flow == flow}
    if delivery.part:
        per = done.contract.options.per
        tried = {e.pos for e in view.entries if e.pos in tried and world.part(e, per) in ("", delivery.part)}
    return known | tried


def entries_of(inputs: dict[str, Input]) -> list[Entry]:
    """All entries among the inputs of a run, in the order of its parameters."""
    found: list[Entry] = []
    for given in inputs.values():
        if isinstance(given, list):
            found += given
        elif given is not None:
            found.append(given)
    return found


def heard(reader: Reader, entry: Entry, outgoing: frozenset[str]) -> bool:
    """Whether this reaction is meant: ReactionFailed stays in the service that failed, and a compensation hears its
    own only.
    """
    if not entry.type.startswith("callboard.ReactionFailed["):
        return True
    contract = reader.contract
    failed = entry.by or ""
    if contract.options.compensates is not None:
        return failed == f"{contract.service}.{contract.options.compensates}"
    return failed.startswith(f"{contract.service}.") or entry.type in outgoing
