"""What a run, or a decision not to run, writes: events, rows, memories, parked deliveries, notes."""

from __future__ import annotations

from datetime import timedelta
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.errors import CodecError, PublishInReaction, TooLarge, TransactionRefused
from callboard.event import ReactionFailed
from callboard.hops.attempt import Attempt, UndeclaredReturn, emissions, id_of, scatters_of
from callboard.hops.gate import UNKNOWN, entries_of
from callboard.hops.group import Outcome
from callboard.hops.limits import encoded, few_enough, shallow_enough
from callboard.ids import child
from callboard.ledger import NO_EFFECT, Entry, Memory, Note, Parked, Scatter, shown_batch

if TYPE_CHECKING:
    from callboard.hops.deliveries import Delivery
    from callboard.hops.work import Work
    from callboard.ledger import Why

_NOT_THEIRS = {"callboard", "asyncio", "concurrent"}  # whose frames tell nothing of the cause
# running it again gives the same
_NO_MORE_ATTEMPTS = (UndeclaredReturn, CodecError, PublishInReaction, TooLarge, TransactionRefused)


def micros(duration: timedelta) -> int:
    """A duration in microseconds."""
    return round(duration.total_seconds() * 1_000_000)


def succeeded(work: Work, attempt: Attempt, now: int, stamp: int) -> Outcome:
    """The run is kept: what it emitted, the rows it changed, what is to be remembered.

    Raises what makes it a failure.
    """
    delivery = attempt.delivery
    contract = delivery.reader.contract
    outcome = Outcome(delivery, attempt)
    found = emissions(contract, attempt.result)
    few_enough(len(found), contract.path)
    if found:
        shallow_enough(delivery.trigger.id)
    outcome.entries = _entries(work, attempt, found, now)
    only_failures = bool(found) and all(emission.kind.failure for emission in found)
    outcome.writes = attempt.session.changes(work.private if only_failures else None, stamp)
    outcome.loads = attempt.session.loads
    trigger = delivery.trigger
    if contract.options.once is not None and found:
        group = f"{contract.service}:{contract.options.once}"
        outcome.memories.append(Memory(trigger.flow, "once", group, delivery.part, trigger.pos))
    if not found and contract.path in work.silent_effects:
        outcome.memories.append(Memory(trigger.flow, "effect", contract.path, delivery.part, trigger.pos))
    if contract.options.compensates is not None:
        _undone(work, outcome, attempt, now)
    _complete(outcome, attempt)
    return outcome


def _entries(work: Work, attempt: Attempt, found: list[Any], now: int) -> list[Entry]:
    delivery = attempt.delivery
    trigger = delivery.trigger
    inherited = trigger.scatters
    gathers = delivery.reader.contract.options.gathers
    if gathers is not None:
        inherited = _below(inherited, gathers.name)
    ids = [id_of(attempt, ordinal) for ordinal in range(len(found))]
    frames = scatters_of(found, inherited, ids[0]) if found else []
    places = {entry.pos for entry in entries_of(attempt.inputs)}
    if isinstance(attempt.effect, Entry):
        places.add(attempt.effect.pos)
    causes = tuple(sorted(places))
    entries: list[Entry] = []
    for event_id, emission, scatters in zip(ids, found, frames, strict=True):
        kind = emission.kind
        key = getattr(emission.event, kind.key) if kind.key is not None else None
        entry = Entry(
            0, event_id, kind.name, trigger.flow, now, encoded(work.codec, emission.event),
            None if key is None else str(key), trigger.pos, delivery.reader.path, scatters,
            causes if len(causes) > 1 else (), version=kind.version,
            value=emission.event if kind.immutable else None,
        )  # fmt: skip
        entries.append(entry)
    return entries


def _below(frames: tuple[Scatter, ...], kind: str) -> tuple[Scatter, ...]:
    """The frames under the innermost one of this type: a gather closes it."""
    for place in range(len(frames) - 1, -1, -1):
        if frames[place].type == kind:
            return frames[:place]
    return frames


def _undone(work: Work, outcome: Outcome, attempt: Attempt, now: int) -> None:
    """A compensation ran: the effect is undone, its reaction closed."""
    delivery = attempt.delivery
    contract = delivery.reader.contract
    undone = f"{contract.service}.{contract.options.compensates}"
    effect = attempt.effect.pos if isinstance(attempt.effect, Entry) else (attempt.effect or NO_EFFECT)
    outcome.memories.append(Memory(delivery.trigger.flow, "undone", undone, delivery.part, effect))
    close(work, outcome, delivery, now)


def close(work: Work, outcome: Outcome, delivery: Delivery, now: int) -> None:
    """The compensated reaction takes no effect in this flow (and part) any more; what of it is parked is superseded."""
    contract = delivery.reader.contract
    undone = work.readers[f"{contract.service}.{contract.options.compensates}"]
    flow, part, pos = delivery.trigger.flow, delivery.part, delivery.trigger.pos
    outcome.memories.append(Memory(flow, "closed", undone.path, part, pos))
    outcome.memories.append(Memory(flow, "answered", contract.path, part, pos))
    for row in sorted(undone.flow_rows.get(flow, ())):
        parked = undone.rows[row]
        if part and parked.line != f"{flow}/{part}":
            continue
        outcome.drops.append((undone, parked))
        if parked.attempts and undone.outside and pos != parked.pos:
            outcome.memories.append(Memory(flow, "unknown", undone.path, part, parked.pos))
        outcome.notes.append(
            Note(parked.pos, undone.path, flow, "superseded", f"{parked.why}, closed by {contract.path}", now)
        )


def skipped(work: Work, delivery: Delivery, why: str, now: int, *, closes: bool = False) -> Outcome:
    """It is handled without a run, and the log of exceptions says why."""
    outcome = Outcome(delivery)
    outcome.notes.append(Note(delivery.entry.pos, delivery.reader.path, delivery.entry.flow, "skipped", why, now))
    if closes:
        close(work, outcome, delivery, now)
    return outcome


def parked(
    delivery: Delivery, why: Why, *, due: int | None = None, missing: str | None = None, error: str | None = None,
    effect: int = 0,
) -> Outcome:  # fmt: skip
    """It waits in the ledger; `attempts` says how many runs it had."""
    outcome = Outcome(delivery)
    before = delivery.parked
    row = Parked(
        delivery.reader.path, delivery.entry.pos, effect, delivery.entry.flow, delivery.line, why, due,
        delivery.attempts,
        error or (before.error if before else None), missing, None, before.data if before else None,
    )  # fmt: skip
    outcome.parks.append((delivery.reader, row))
    return outcome


def refused(delivery: Delivery, why: str, now: int) -> Outcome:
    """What an operator asked for is not done: the dead letter is as it was."""
    outcome = Outcome(delivery)
    row = delivery.parked
    assert row is not None
    assert row.asked is not None
    outcome.parks.append((delivery.reader, replace(row, asked=None, due=None)))
    why = f"{why}; asked by {row.asked.by}{shown_batch(row.asked.batch)}"
    outcome.notes.append(Note(row.pos, row.reaction, row.flow, "not replayed", why, now))
    return outcome


def _text_of(error: BaseException) -> str:
    """What an error says, as it can be written: it may hold half of a character, or be unable to say anything."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = f"{type(error).__name__}, and it failed to say what it is"
    return text.encode(errors="replace").decode()[:2000]


def _place_of(error: BaseException) -> str:
    """Where in the user's code an error was raised, outermost first: what tells dead letters of one cause together."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    named = [(frame.f_globals.get("__name__") or "?", frame.f_code.co_name, frame.f_lineno) for frame in frames]
    mine = [f"{name}.{function}:{line}" for name, function, line in named if name.partition(".")[0] not in _NOT_THEIRS]
    return f"\n    at {' < '.join([*mine[:1], *mine[1:][-3:]])}" if mine else ""


def failed(
    work: Work, delivery: Delivery, error: BaseException, now: int, *, attempt: Attempt | None = None
) -> Outcome:
    """The run is dropped: it is tried again later, or it is a dead letter and ReactionFailed tells of it in the same
    commit.
    """
    effect = attempt.effect if attempt is not None else (delivery.parked.effect if delivery.parked else 0)
    place = effect.pos if isinstance(effect, Entry) else (effect or 0)
    text = _text_of(error)
    retry = delivery.reader.contract.options.retry
    wait = (
        None
        if isinstance(error, _NO_MORE_ATTEMPTS)
        else retry.wait_after(delivery.attempts, error, work.chance.random())
    )
    if wait is not None and not delivery.wished:
        outcome = parked(delivery, "retry", due=now + micros(wait), error=text, effect=place)
    else:
        outcome = dead(work, delivery, text, now, effect=place)
    outcome.attempt = attempt
    outcome.parks[0][1].error = f"{text}{_place_of(error)}"
    why = f"attempt {delivery.attempts}: {text}"
    outcome.notes.append(Note(delivery.entry.pos, delivery.reader.path, delivery.entry.flow, "failed", why, now))
    if delivery.reader.contract.options.compensates is not None:
        close(work, outcome, delivery, now)
    if attempt is not None:
        _complete(outcome, attempt)
    return outcome


def _complete(outcome: Outcome, attempt: Attempt) -> None:
    """A join or gather is complete: the part that waited for the others waits no more."""
    reader = attempt.delivery.reader
    contract = reader.contract
    if not (contract.is_join or contract.gathered):
        return
    for entry in entries_of(attempt.inputs):
        row = reader.rows.get((entry.pos, 0))
        if row is not None and row.why == "half":
            outcome.drops.append((reader, row))


def dead(work: Work, delivery: Delivery, why: str, now: int, *, effect: int = 0) -> Outcome:
    """A dead letter. Whoever hears `ReactionFailed` of its event is told in the same commit."""
    outcome = parked(delivery, "dead", error=why, effect=effect)
    trigger = delivery.trigger
    if trigger.type.startswith("callboard.ReactionFailed[") or trigger.type not in work.types:
        return outcome
    kind = f"callboard.ReactionFailed[{trigger.type}]"
    try:
        event = work.value(delivery.logged or trigger)  # an edited payload reaches nobody else
        told = ReactionFailed(event=event, reaction=delivery.reader.path, error=why, attempts=delivery.attempts)
        written = work.codec.encode(told)
    except CodecError:
        return outcome  # bytes that nobody can read are kept, and told by the dead letter alone
    event_id = child(trigger.id, delivery.reader.tag, 0, ("failed", str(delivery.attempts), str(effect)))
    view = work.views.get(trigger.flow)
    if view is not None and any(seen.id == event_id for seen in view.entries):
        return outcome  # told already: it was asked for again, and did not come to a further attempt
    entry = Entry(
        0, event_id, kind, trigger.flow, now, written, None, trigger.pos, delivery.reader.path, trigger.scatters,
    )  # fmt: skip
    outcome.entries.append(entry)
    return outcome


def wait_for(work: Work, delivery: Delivery, missing: str, now: int, *, half: bool) -> Outcome:
    """It is parked until what is missing was seen, at most as long as `within=` says."""
    within = delivery.reader.contract.options.within
    if within is None:
        timeouts = [flow.timeout for flow in work.choreography.flows.values() if flow.timeout is not None]
        within = (
            max(timeouts, default=timedelta(0)) + work.longest_wait
        )  # a verdict after the deadline still comes first
    before = delivery.parked
    due = before.due if before is not None and before.why in ("waiting", "half") else now + micros(within)
    return parked(delivery, "half" if half else "waiting", due=due, missing=missing)


__all__ = [
    "NO_EFFECT", "UNKNOWN", "close", "dead", "failed", "micros", "parked", "refused", "skipped", "succeeded",
    "wait_for",
]  # fmt: skip
