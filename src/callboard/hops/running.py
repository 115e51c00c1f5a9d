"""Beginning a run and taking up what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.errors import CallboardError, CodecError, LedgerError, TooLarge, TransactionRefused
from callboard.hops.applying import apply, put_off, rows_held, uncommitted
from callboard.hops.attempt import Attempt, call, event_arguments, other_arguments, row_keys, start, step
from callboard.hops.gate import UNKNOWN, Ready
from callboard.hops.group import Moved
from callboard.hops.limits import TooDeep
from callboard.hops.outcomes import close, dead, failed, parked, succeeded, wait_for
from callboard.hops.rows import NewerShape, Session, Uncommitted
from callboard.ledger import Entry

if TYPE_CHECKING:
    from callboard.hops.deliveries import Delivery, Reader
    from callboard.hops.group import Group, Outcome
    from callboard.hops.work import Work

_NO_ROLLBACK = (
    "its SQL has rolled back the whole transaction: write no ROLLBACK into a conflict clause or trigger, ABORT undoes "
    "the statement and raises"
)


_SHOWN = 20  # reactions of a chain that is told


async def begin_run(work: Work, group: Group, delivery: Delivery, ready: Ready) -> None:
    reader = delivery.reader
    try:
        has_rows = not reader.late_rows or await _late_rows(work, group, delivery, ready)
    except CodecError as error:
        delivery.attempts += 1
        apply(work, group, failed(work, delivery, error, group.now))
        return
    if not has_rows:
        if work.trial is delivery:
            work.trial = None  # whoever has the row may have to be tried first
        return
    if (delivery.attempts or delivery.suspect or delivery.parked is not None) and not delivery.announced:
        _announce(work, group, delivery)
    elif reader.raw:
        _begin_raw(work, group, delivery, ready)
    else:
        await run_effects(work, group, delivery, ready)


def _begin_raw(work: Work, group: Group, delivery: Delivery, ready: Ready) -> None:
    """It has its turn, and keeps it until it runs inside a commit."""
    if (error := delivery.broken) is not None:
        delivery.broken = None
        delivery.attempts += not delivery.announced
        apply(work, group, failed(work, delivery, error, group.now))
        return
    if not delivery.standing:
        work.holds.join(delivery, delivery.keys)
    if group.raws is None:
        work.raws[delivery] = None
    else:
        group.raws.append((delivery, ready))


async def run_effects(work: Work, group: Group, delivery: Delivery, ready: Ready) -> None:
    """Run it: once, or a compensation once for each effect. What goes on beside the groups is collected later."""
    reader = delivery.reader
    effects: list[int | None] = list(ready.effects) if ready.effects is not None else [None]
    before = delivery.attempts
    _keep_apart(group, delivery)
    while effects:
        effect = effects.pop(0)
        delivery.attempts = before if delivery.announced else before + 1
        if effect == UNKNOWN:
            outcome = dead(work, delivery, _unknown(reader), group.now, effect=UNKNOWN)
            close(work, outcome, delivery, group.now)
        else:
            attempt = await _attempt(work, group, delivery, ready, effect)
            if attempt is None:
                return
            if isinstance(attempt.error, Uncommitted | LedgerError):  # nobody's attempt
                delivery.attempts = before
                group.hot.add(reader)
                group.again |= isinstance(attempt.error, Uncommitted)
                put_off(work, delivery)
                return
            if not attempt.finished:
                delivery.effects = [each for each in effects if each is not None] if ready.effects is not None else None
                return
            outcome = await _judged(work, group, attempt)
            await _end_lent(attempt)
        outcome.done = not effects
        apply(work, group, outcome)


def _unknown(reader: Reader) -> str:
    undone = reader.contract.options.compensates
    return (
        f"the outcome of {undone} is unknown: it was tried and never committed; "
        "take its event as `E | None` to settle it"
    )


async def _late_rows(work: Work, group: Group, delivery: Delivery, ready: Ready) -> bool:
    """Rows whose key stands in a given event are held too. False if somebody else has one of them."""
    given: dict[str, Any] = {}
    for name, entry in ready.inputs.items():
        first = entry[0] if isinstance(entry, list) else entry
        given[name] = None if first is None else work.value(first)
    for effect in ready.effects or ():
        entry = _entry_at(work, delivery, effect)
        for parameter in delivery.reader.contract.givens:
            if entry is not None and entry.type in {kind.name for kind in parameter.types}:
                given[parameter.name] = work.value(entry)
    keys = tuple(key for key in rows_held(delivery, given) if key not in delivery.keys)
    if keys:
        await work.rows.fetch((key[1], key[2]) for key in keys)
        if not delivery.standing and work.holds.free((*delivery.keys, *keys)):
            delivery.keys = (*delivery.keys, *keys)
        else:
            work.holds.join(delivery, (*delivery.keys, *keys))
            if not work.holds.first(delivery):
                return False
        if delivery.reader.after_commit and uncommitted(work, group, keys):
            put_off(work, delivery)
            return False
    return True


def _entry_at(work: Work, delivery: Delivery, pos: int) -> Entry | None:
    return next((entry for entry in work.views[delivery.entry.flow].entries if entry.pos == pos), None)


def _announce(work: Work, group: Group, delivery: Delivery) -> None:
    """Write the attempt down before it starts: what kills the process is counted too."""
    delivery.attempts += 1
    most = delivery.reader.contract.options.retry.max_attempts
    if delivery.wished:  # it survives the death of its worker, but does not cause it for ever
        most = 2 * most + 2 if delivery.parked is not None and delivery.parked.why == "running" else delivery.attempts
    if delivery.attempts > most:
        delivery.attempts -= 1
        why = (delivery.parked.error if delivery.parked else None) or "it ended its process each time it ran"
        apply(work, group, dead(work, delivery, why, group.now, effect=delivery.row[1]))
        return
    outcome = parked(delivery, "running", effect=delivery.row[1])
    outcome.done = False
    row = outcome.parks[0][1]
    row.asked = delivery.parked.asked if delivery.parked else None
    put_off(work, delivery)
    apply(work, group, outcome)
    if delivery.parked is None:  # its home is the row now
        delivery.reader.open.pop(delivery.entry.pos, None)
        delivery.reader.done.add(delivery.entry.pos)
    delivery.parked, delivery.announced, delivery.announced_in = row, True, work.groups
    work.active[delivery.reader.path, delivery.row] = delivery


async def _attempt(work: Work, group: Group, delivery: Delivery, ready: Ready, effect: int | None) -> Attempt | None:
    """One run, begun; a plain one is finished, and so is one that could not be begun."""
    reader = delivery.reader
    undone: Entry | int | None = effect
    if effect is not None and effect > 0:
        undone = _entry_at(work, delivery, effect) or effect
    session = Session(work.rows, work.codec, committed=reader.outside)
    attempt = Attempt(delivery, ready.inputs, undone, session, group.now)
    attempt.lent = None if group.tx is None else await group.tx.lend()
    try:
        given = event_arguments(attempt, work.value)
        await work.rows.fetch(row_keys(reader.contract, given))
        given |= other_arguments(attempt, given, work.guards.keepers, work.context)
    except LedgerError:  # nobody's attempt
        raise
    except NewerShape as error:
        await _end_lent(attempt)
        delivery.attempts -= 1  # it has not begun
        apply(work, group, wait_for(work, delivery, str(error), group.now, half=False))
        return None
    except (CallboardError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        attempt.error, attempt.finished = error, True
        return attempt
    _call(work, group, attempt, given)
    return attempt


def _call(work: Work, group: Group, attempt: Attempt, given: dict[str, Any]) -> None:
    delivery = attempt.delivery
    reader = delivery.reader
    options = reader.contract.options
    if not (reader.contract.is_async or options.blocking):
        call(attempt, given)
        return
    if reader.contract.is_async and reader.steps:
        step(attempt, given, work.done)
        if attempt.finished:
            return
    elif reader.contract.is_async:
        start(attempt, reader.reaction.function(**given), work.done)
    else:
        start(attempt, work.in_thread(reader.reaction.function, given), work.done)
    work.holds.join(delivery, delivery.keys)
    delivery.running = True
    reader.running += 1
    for guard in work.guards.of(reader.contract):
        guard.began()
    work.running.add(attempt)
    group.touched.add(reader)


async def _end_lent(attempt: Attempt) -> None:
    """The SQL of a run is kept or taken back with it."""
    lent = attempt.lent
    if lent is not None and not await lent.end(keep=attempt.error is None):
        attempt.delivery.broken = TransactionRefused(_NO_ROLLBACK)
        raise Moved


async def _judged(work: Work, group: Group, attempt: Attempt) -> Outcome:
    """What came of a run: kept, or tried again, or dead."""
    if attempt.error is None:
        try:
            await work.rows.fetch(attempt.session.keys)
            return succeeded(work, attempt, group.now, work.stamp)
        except LedgerError:
            raise
        except TooDeep as error:
            attempt.error = TooLarge(f"{error}: {await _loop(work, group, attempt.delivery)}")
        except Exception as error:
            attempt.error = error
    if isinstance(attempt.error, NewerShape):
        attempt.delivery.attempts -= 1
        return wait_for(work, attempt.delivery, str(attempt.error), group.now, half=False)
    return failed(work, attempt.delivery, attempt.error, group.now, attempt=attempt)


async def _loop(work: Work, group: Group, delivery: Delivery) -> str:
    """The reactions that led here, up to the first that comes again: `a.ping -> b.pong -> a.ping`."""
    path, entry = [delivery.reader.path], delivery.trigger
    while len(path) < _SHOWN and entry.by is not None:
        path.insert(0, entry.by)
        if entry.by in path[1:]:
            break
        caused = [each for each in group.entries if each.pos == entry.cause] or await work.ledger.entries([entry.cause])
        if not caused:
            break
        entry = caused[0]
    return " -> ".join(path)


def _keep_apart(group: Group, delivery: Delivery) -> None:
    """What may have ended its worker is committed before anything runs on its result: or it is blamed for that too."""
    group.fused = group.fused and not delivery.announced


async def collect(work: Work, group: Group) -> None:
    """Runs that went on beside the groups and are finished now."""
    for attempt in sorted(work.finished, key=lambda attempt: attempt.delivery):
        delivery = attempt.delivery
        work.running.discard(attempt)
        if delivery.running:
            delivery.running = False
            delivery.reader.running -= 1
            for guard in work.guards.of(delivery.reader.contract):
                guard.ended(group.now, failed=attempt.error is not None)
        loads = attempt.session.loads
        await work.rows.fetch(loads)
        moved = any(work.rows.current(key).version != seen for key, seen in loads.items())
        if isinstance(attempt.error, LedgerError) or (moved and attempt.error is None):
            work.finished.remove(attempt)
            _again(work, attempt)
            continue
        outcome = await _judged(work, group, attempt)
        _keep_apart(group, delivery)
        work.finished.remove(attempt)
        remaining = delivery.effects if delivery.reader.contract.options.compensates is not None else None
        outcome.done = not remaining
        apply(work, group, outcome)
        if remaining:
            if not delivery.announced:
                delivery.attempts = 0  # each effect has its own
            work.later.append(delivery)


def _again(work: Work, attempt: Attempt) -> None:
    """A row that it looked at has moved: the run is dropped and repeated at once, and counts as no attempt."""
    delivery = attempt.delivery
    delivery.repeats += 1
    if not delivery.announced:
        delivery.attempts -= 1
    if attempt.effect is not None:
        undone = attempt.effect.pos if isinstance(attempt.effect, Entry) else attempt.effect
        delivery.effects = [undone, *(delivery.effects or [])]
    if delivery.repeats >= 2:
        work.alone.setdefault(delivery.reader.contract.service, delivery)
    work.later.append(delivery)
