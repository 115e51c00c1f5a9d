"""React: take what waits, run it, commit all that is finished at once.

One call is one group. It notices what is new, runs what may run, and settles: events, state, positions, parked work and
memories of many runs in one transaction. Nothing is decided twice: what a group left in memory is true of the ledger after its
commit, and is unwound if the commit does not happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.errors import CallboardError, CodecError
from callboard.hops.attempt import Attempt, call, event_arguments, key_of_row, other_arguments, row_keys, start, step
from callboard.hops.deliveries import Delivery
from callboard.hops.gate import UNKNOWN, Arm, Dead, Ready, Seen, Skip, Wait, decide
from callboard.hops.group import Group, Outcome
from callboard.hops.outcomes import dead, failed, parked, skipped, succeeded, wait_for
from callboard.hops.plain import LongWay, rows_of
from callboard.hops.plain import run as run_plain
from callboard.hops.publish import publish
from callboard.hops.rows import NewerShape, Session, Uncommitted
from callboard.hops.settle import Moved, settle
from callboard.hops.work import TIMER
from callboard.ids import child
from callboard.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callboard.hops.deliveries import Key, Reader
    from callboard.hops.work import Work
    from callboard.ledger import Parked

_PAGE = 512  # entries handed out in one round
_LARGEST = 2048  # events that one group emits before it commits


async def react(work: Work) -> int:
    """One group: what was waiting has run and is committed. Returns how much was done; 0 if there was nothing.

    Raises LedgerBusy if the ledger is taken: call again, the group is kept. After any other error nothing of the group
    happened, and what it began is begun again by the next call.
    """
    group = work.group
    if group is None:
        group = work.group = await _begin(work)
        try:
            await _fill(work, group)
        except BaseException:
            unwind(work, group)
            raise
    if group.empty and not group.deadlines and not await _matters(work, group):
        _go_on(work, group)
        return len(group.seen)
    try:
        await settle(work, group)
    except Moved:
        unwind(work, group)
        work.foreign = 16
        return 1
    _go_on(work, group)
    return 1 + len(group.outcomes)


async def _begin(work: Work) -> Group:
    now = work.now()
    if await work.ledger.moved():
        work.head = max(work.head, await work.ledger.head())
        work.moved = True
        await _notice_wishes(work)
    fused = work.fuse and work.foreign <= 0 and work.read + len(work.fresh) >= work.head
    work.foreign = max(0, work.foreign - 1)
    return Group(work.head, work.edits, now, work.read, fused=fused)


async def _notice_wishes(work: Work) -> None:
    """What operators asked for while nobody looked."""
    for wish in await work.ledger.parked(reactions=list(work.readers), asked=True):
        reader = work.readers[wish.reaction]
        known = reader.rows.get((wish.pos, wish.effect))
        if known is not None and known.asked is None:
            known.asked = wish.asked
            known.data = wish.data
            work.due_now.append((reader, known))


async def _fill(work: Work, group: Group) -> None:
    """Everything that can be done now is an outcome of the group, or runs, or waits for something else."""
    await _collect(work, group)
    if not work.draining:
        await _reopen(work, group)
        await _take_due(work, group)
        ready, work.ready = work.ready, []
        await _consider_all(work, group, ready)
        waiting, work.later = work.later, []
        await _consider_all(work, group, waiting)
        await _catch_up(work, group)
        await _hand_out(work, group)
    if work.publications:
        publications = [work.publications.popleft() for _ in range(min(len(work.publications), _PAGE))]
        await publish(work, group, publications)
        _overlay_publications(work, group)
    if group.fused and not work.draining:
        await _fuse(work, group)
    all_read = work.caught_up and work.read >= group.base + len(group.entries)
    group.deadlines = work.watcher is not None and all_read and _due(work.watcher.next_deadline(), group.now)
    group.sealed = True


async def _matters(work: Work, group: Group) -> bool:
    """Whether what was only read must be written down: the tracker decides on it, or much was read."""
    if work.watcher is not None and any(work.watcher.hears(entry.type) for entry in group.seen):
        return True
    return len(group.seen) >= _PAGE


def _due(when: int | None, now: int) -> bool:
    return when is not None and when <= now


def _overlay_publications(work: Work, group: Group) -> None:
    for publication in group.publications:
        for write in publication.writes if publication.error is None else ():
            work.rows.put(write)


# what is new


async def _reopen(work: Work, group: Group) -> None:
    """Deliveries that the process before this one had begun and not finished, in log order."""
    left, work.reopen = work.reopen, []
    if not left:
        return
    entries = {entry.pos: entry for entry in await work.ledger.entries({pos for _, pos in left})}
    opened: list[Delivery] = []
    for reader, pos in left:
        if pos in entries and pos not in reader.open:
            delivery = reader.open[pos] = Delivery(reader, entries[pos])
            delivery.suspect = work.suspects > 0
            group.touched.add(reader)
            opened.append(delivery)
    await _consider_all(work, group, sorted(opened))


async def _hand_out(work: Work, group: Group) -> None:
    if not work.readers and work.watcher is None:
        work.read = work.head  # a process that only publishes and reads has nobody to hand anything to
        work.fresh.clear()
    if not work.fresh and work.read < work.head:
        work.fresh.extend(await work.ledger.read(work.read, limit=_PAGE))
        if not work.fresh:  # the rest of the numbers belongs to nobody
            work.read = work.head
    entries: list[Entry] = []
    while work.fresh and len(entries) < _PAGE and work.fresh[0].pos <= group.base:
        entries.append(work.fresh.popleft())
    if entries:
        await _dispatch(work, group, entries)


async def _fuse(work: Work, group: Group) -> None:
    """Hand out what the group itself has emitted, as long as it grows. Only plain reactions run on it before the commit."""
    handed = 0
    while handed < len(group.entries) < _LARGEST and work.read >= group.base and not work.fresh:
        entries = group.entries[handed:]
        handed = len(group.entries)
        group.ahead = True
        await _dispatch(work, group, entries)
        ready, work.ready = work.ready, []
        await _consider_all(work, group, ready)


async def _dispatch(work: Work, group: Group, entries: Sequence[Entry]) -> None:
    """Every reaction of this process that hears one of these has run, or has a delivery, in log order."""
    turns: list[tuple[Reader, Entry, Delivery | None]] = []
    opened: list[Delivery] = []
    looks_back = work.looks_back
    for entry in entries:
        if looks_back:
            _see(work, entry)
        for reader in work.heard_by(entry):
            if reader.plan is not None and entry.pos > reader.pos and _is_clear(work, reader, entry):
                turns.append((reader, entry, None))
            elif (delivery := _open(work, group, reader, entry)) is not None:
                turns.append((reader, entry, delivery))
                opened.append(delivery)
    work.read = entries[-1].pos
    work.suspects -= len(entries)
    group.seen.extend(entries)
    if opened:
        await _prepare(work, opened)
    await work.rows.fetch(_rows_of_turns(work, turns))
    for reader, entry, delivery in turns:
        if delivery is None and not _ran(work, group, reader, entry):
            delivery = _open(work, group, reader, entry)
            if delivery is not None:
                await _prepare(work, [delivery])
        if delivery is not None:
            await _consider(work, group, delivery)


def _see(work: Work, entry: Entry) -> None:
    view = work.views.get(entry.flow)
    if view is None and entry.pos == entry.flow:
        view = work.views.begin(entry.flow)
    if view is not None:
        view.add(entry)


def _is_clear(work: Work, reader: Reader, entry: Entry) -> bool:
    """Whether nothing of this reaction keeps an event from the short way; asked before rows are fetched."""
    return reader.lag is None and not reader.open and work.suspects <= 0


def _rows_of_turns(work: Work, turns: list[tuple[Reader, Entry, Delivery | None]]) -> Iterable[tuple[str, str]]:
    for reader, entry, delivery in turns:
        if delivery is None and reader.named_rows:
            try:
                value = work.value(entry)
            except CodecError:
                continue
            yield from rows_of(reader.plan, value)


def _ran(work: Work, group: Group, reader: Reader, entry: Entry) -> bool:
    """Run it the short way. False if something stands in its way: nothing was done then."""
    if reader.open or (reader.blocked and (str(entry.flow) if entry.key is None else f"={entry.key}") in reader.blocked):
        return False
    if work.alone and reader.contract.service in work.alone:
        return False
    try:
        value = work.value(entry)
        if work.holds.some and not work.holds.free(tuple(("row", *key) for key in rows_of(reader.plan, value))):
            return False
        run_plain(work, group, reader, entry, value)
    except LongWay:
        return False
    except Exception as error:
        return _raised(work, group, reader, entry, error)
    return True


def _raised(work: Work, group: Group, reader: Reader, entry: Entry, error: Exception) -> bool:
    delivery = _open(work, group, reader, entry)
    if delivery is None:
        return True
    _address(work, delivery)
    delivery.attempts = 1
    _apply(work, group, failed(work, delivery, error, group.now))
    return True


def _open(work: Work, group: Group, reader: Reader, entry: Entry) -> Delivery | None:
    """A delivery of this entry; None if the reaction had it before, or has fallen behind."""
    if entry.pos <= reader.pos or entry.pos in reader.open or reader.lag is not None:
        return None
    if reader.full:
        group.caught.append((reader, None))
        reader.lag = entry.pos - 1
        return None
    delivery = reader.open[entry.pos] = Delivery(reader, entry)
    delivery.suspect = work.suspects > 0 and entry.pos <= work.start_head
    group.opened.append(delivery)
    group.touched.add(reader)
    return delivery


async def _catch_up(work: Work, group: Group) -> None:
    """Reactions that fell behind read what they missed from the log."""
    for reader in work.readers.values():
        if reader.lag is None or len(reader.open) * 2 >= reader.most:
            continue
        kinds = work.kinds_of(reader)
        entries = await work.ledger.read(reader.lag, limit=reader.most // 2, types=kinds)
        entries = [entry for entry in entries if entry.pos <= min(work.read, group.base)]
        lag, reader.lag = reader.lag, None
        opened = [d for entry in entries if reader in work.heard_by(entry) if (d := _open(work, group, reader, entry)) is not None]
        if len(entries) >= reader.most // 2:
            reader.lag = entries[-1].pos
        group.caught.append((reader, lag))
        group.touched.add(reader)
        await _consider_all(work, group, opened)


# what is due


async def _take_due(work: Work, group: Group) -> None:
    rows = work.due_now
    work.due_now = []
    rows += work.agenda.due(group.now)
    rows = [(reader, row) for reader, row in rows if reader.rows.get((row.pos, row.effect)) is row]
    rows = [(reader, row) for reader, row in rows if (reader.path, (row.pos, row.effect)) not in work.active]
    if not rows:
        return
    group.taken.extend(rows)
    begun = {outcome.delivery.entry.flow for outcome in group.outcomes}
    work.views.forget({row.flow for reader, row in rows if reader.pair is not None} - begun)  # an ask may not be noticed yet
    entries = {entry.pos: entry for entry in await work.ledger.entries({row.pos for _, row in rows})}
    woken: list[Delivery] = []
    for reader, row in sorted(rows, key=lambda pair: (pair[1].pos, pair[0].order)):
        if row.pos not in entries:
            continue
        delivery = Delivery(reader, entries[row.pos], row)
        if row.why == "timer" and row.asked is None:
            _fire(work, group, delivery)
        elif row.asked == "discard":
            await _prepare(work, [delivery])
            _apply_direct(work, group, skipped(work, delivery, "discarded by an operator", group.now))
        elif row.why in ("waiting", "half") and row.asked is None and _due(row.due, group.now):
            await _prepare(work, [delivery])
            _apply_direct(work, group, await _never_came(work, group, delivery))
        else:
            woken.append(delivery)
            work.active[reader.path, delivery.row] = delivery
    await _consider_all(work, group, woken)


async def _never_came(work: Work, group: Group, delivery: Delivery) -> Outcome:
    """The wait is over: a dead letter that says what is missing, or nothing if the flow has its verdict."""
    row = delivery.parked
    assert row is not None
    flows = await work.ledger.flows_by_number([row.flow])
    if flows and all(flow.verdict is not None for flow in flows):
        return skipped(work, delivery, "no longer needed", group.now)
    return dead(work, delivery, f"never came: {row.missing}", group.now, effect=row.effect)


def _apply_direct(work: Work, group: Group, outcome: Outcome) -> None:
    """What is decided of a parked row without making it run."""
    outcome.direct = True
    _apply(work, group, outcome)


def _fire(work: Work, group: Group, delivery: Delivery) -> None:
    """The timer's moment has come: it enters the log like an event for its reaction alone, so it has a place in the order."""
    row = delivery.parked
    assert row is not None
    if not work.caught_up:
        work.due_now.append((delivery.reader, row))  # what was in the log at that moment is read first
        return
    outcome = Outcome(delivery)
    armed = delivery.entry
    fired = Entry(
        0, child(armed.id, delivery.reader.tag, 0, ("timer",)), f"{TIMER}{delivery.reader.path}]", armed.flow, group.now, b"null",
        armed.key, armed.pos, delivery.reader.path, armed.scatters,
    )  # fmt: skip
    outcome.entries.append(fired)
    _apply_direct(work, group, outcome)


# what may run


async def _prepare(work: Work, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Afterwards each delivery knows its event, its line and its keys, and the views and rows it needs are in memory."""
    fetch: list[Delivery] = []
    arming = [d.entry.cause for d in deliveries if d.entry.type.startswith(TIMER) and d.trigger is d.entry]
    armed = {entry.pos: entry for entry in await work.ledger.entries(arming)} if arming else {}
    for delivery in deliveries:
        if delivery.entry.type.startswith(TIMER):
            delivery.trigger = armed.get(delivery.entry.cause, delivery.trigger)
        fetch.append(delivery)
    flows = {d.entry.flow for d in fetch if d.reader.watches}
    if flows:
        missing = await work.views.fetch(flows)
        for entry in work.group.entries if missing and work.group else ():
            if entry.flow in missing:
                work.views[entry.flow].add(entry)
    for delivery in fetch:
        if not delivery.line:
            _address(work, delivery)
    await work.rows.fetch(_row_keys(fetch))
    return fetch


def _row_keys(deliveries: Iterable[Delivery]) -> Iterable[tuple[str, str]]:
    for delivery in deliveries:
        for key in delivery.keys:
            if key[0] == "row":
                yield key[1], key[2]


def _address(work: Work, delivery: Delivery) -> None:
    """Its line, its part, and the keys it holds while it is open."""
    reader, entry = delivery.reader, delivery.trigger
    contract, options = reader.contract, reader.contract.options
    try:
        delivery.value = work.value(entry) if options.per or reader.named_rows or options.wait else None
        delivery.part = work.world.part(entry, options.per)
        rows = tuple(_rows_of(work, delivery, {contract.triggers[0].name: delivery.value} if contract.triggers else {}))
    except CodecError:
        rows = ()  # it cannot be decoded: told when it is its turn
    line = f"{entry.flow}/{delivery.part}" if delivery.part else str(entry.flow)
    if entry.key is not None and not reader.flow_bound:
        line = f"={entry.key}"
    delivery.line = line
    keys: list[Key] = [("line", reader.path, line), *rows]
    if reader.pair is not None:
        keys.append(("pair", reader.pair, str(entry.flow), delivery.part if reader.pair_by_part else ""))
    if options.once is not None:
        keys.append(("once", contract.service, options.once, str(entry.flow), delivery.part))
    delivery.keys = tuple(keys)


def _rows_of(work: Work, delivery: Delivery, given: dict[str, Any]) -> Iterable[Key]:
    contract = delivery.reader.contract
    for parameter in delivery.reader.named_rows:
        key = key_of_row(parameter.state.key, contract, given)
        if key is not None:
            yield ("row", parameter.state.name, str(key))


async def _consider_all(work: Work, group: Group, deliveries: Sequence[Delivery]) -> None:
    if not deliveries:
        return
    for delivery in await _prepare(work, deliveries):
        await _consider(work, group, delivery)


async def _consider(work: Work, group: Group, delivery: Delivery) -> None:
    """Run it, park it, skip it, or leave it in line: whatever its turn, its order and its gate allow now."""
    reader = delivery.reader
    if delivery.running or _is_gone(work, delivery):
        return
    if _behind(work, delivery):
        _set_behind(work, group, delivery)
        return
    if not _its_turn(work, group, delivery):
        return
    if reader.outside and (delivery.entry.pos > group.base or reader in group.hot or _uncommitted(work, group, delivery.keys)):
        _later(work, delivery)
        return
    if _must_wait(work, delivery):
        _later(work, delivery)
        return
    decision = _decide(work, group, delivery)
    if isinstance(decision, Ready):
        await _begin_run(work, group, delivery, decision)
    else:
        _apply(work, group, _without_run(work, group, delivery, decision))


def _uncommitted(work: Work, group: Group, keys: Iterable[Key]) -> bool:
    """Whether the group has used one of these: what it left there is not committed."""
    return any(key in group.keys or (key[0] == "row" and (key[1], key[2]) in work.rows.overlay) for key in keys)


def _must_wait(work: Work, delivery: Delivery) -> bool:
    """Whether a limit, a run that must be alone, or a trial of what may have killed the process keeps it back."""
    reader = delivery.reader
    if reader.limit is not None and reader.running >= reader.limit:
        return True
    if work.guards.keep_back(reader.contract, work.time):
        return True
    alone = work.alone.get(reader.contract.service)
    if alone is not None and (alone is not delivery or any(a.delivery.reader.contract.service == reader.contract.service for a in work.running)):
        return True
    if delivery.suspect:
        if work.trial is not None and work.trial is not delivery:
            return True
        work.trial = delivery
    return False


def _is_gone(work: Work, delivery: Delivery) -> bool:
    if delivery.parked is not None:
        return work.active.get((delivery.reader.path, delivery.row)) is not delivery
    return delivery.reader.open.get(delivery.entry.pos) is not delivery


def _behind(work: Work, delivery: Delivery) -> bool:
    """Whether something of its line that comes before it is parked."""
    line = delivery.reader.blocked.get(delivery.line)
    if not line or line[0] >= delivery.row:
        return False
    for row in line:
        if row >= delivery.row:
            return False
        parked = delivery.reader.rows[row]
        lifted = parked.why == "waiting" and delivery.entry.type in (parked.missing or "").replace(",", " ").split()
        if not lifted and (delivery.reader.path, row) not in work.active:
            return True
    return False


def _set_behind(work: Work, group: Group, delivery: Delivery) -> None:
    if delivery.parked is not None and delivery.parked.why == "behind":
        _release(work, delivery)  # its row stays as it is
        return
    _apply(work, group, parked(delivery, "behind", effect=delivery.row[1]))


def _its_turn(work: Work, group: Group, delivery: Delivery) -> bool:
    """Whether it is first for each of its keys; if not it stands in line."""
    if not delivery.standing:
        if work.holds.free(delivery.keys):
            return True
        work.holds.join(delivery, delivery.keys)
        delivery.standing = True
    return work.holds.first(delivery)


def _later(work: Work, delivery: Delivery) -> None:
    """It keeps its place and is looked at again when this group is committed."""
    work.holds.join(delivery, delivery.keys)
    delivery.standing = True
    work.later.append(delivery)


def _decide(work: Work, group: Group, delivery: Delivery) -> Any:
    reader = delivery.reader
    try:
        if not reader.watches and not reader.contract.options.wait:
            return Ready({reader.contract.triggers[0].name: delivery.trigger})
        if delivery.value is None:
            delivery.value = work.value(delivery.trigger)
        upto = group.base if reader.outside else group.base + len(group.entries)
        view = work.views[delivery.entry.flow] if reader.watches else work.no_view
        return decide(delivery, Seen(view, upto, work.world), group.now)
    except Exception as error:
        return error


def _without_run(work: Work, group: Group, delivery: Delivery, decision: Any) -> Outcome:
    now = group.now
    if isinstance(decision, Skip):
        return skipped(work, delivery, decision.why, now, closes=decision.closes)
    if isinstance(decision, Wait):
        return wait_for(work, delivery, decision.missing, now, half=decision.half)
    if isinstance(decision, Arm):
        return parked(delivery, "timer", due=decision.due)
    if isinstance(decision, Dead):
        return dead(work, delivery, decision.why, now)
    delivery.attempts += 1
    return failed(work, delivery, decision, now)


# running


async def _begin_run(work: Work, group: Group, delivery: Delivery, ready: Ready) -> None:
    reader = delivery.reader
    if reader.late_rows and not await _late_rows(work, group, delivery, ready):
        return
    if (delivery.attempts or delivery.suspect) and not delivery.announced:
        _announce(work, group, delivery)
        return
    effects: list[int | None] = list(ready.effects) if ready.effects is not None else [None]
    before = delivery.attempts
    while effects:
        effect = effects.pop(0)
        delivery.attempts = before if delivery.announced else before + 1
        if effect == UNKNOWN:
            outcome = dead(work, delivery, _unknown(reader), group.now, effect=UNKNOWN)
        else:
            attempt = await _attempt(work, group, delivery, ready, effect)
            if attempt is None:
                return
            if isinstance(attempt.error, Uncommitted):
                delivery.attempts = before
                group.hot.add(reader)
                _later(work, delivery)
                return
            if not attempt.finished:
                delivery.effects = [each for each in effects if each is not None] if ready.effects is not None else None
                return
            outcome = await _judged(work, group, attempt)
        outcome.done = not effects
        _apply(work, group, outcome)


def _unknown(reader: Reader) -> str:
    undone = reader.contract.options.compensates
    return f"the outcome of {undone} is unknown: it was tried and never committed; take its event as `E | None` to settle it"


async def _late_rows(work: Work, group: Group, delivery: Delivery, ready: Ready) -> bool:
    """Rows whose key stands in a given event are held too. False if somebody else has one of them."""
    given: dict[str, Any] = {}
    for name, entry in ready.inputs.items():
        value = entry[0] if isinstance(entry, list) else entry
        given[name] = None if value is None else work.value(value)
    for effect in ready.effects or ():
        entry = _entry_at(work, delivery, effect)
        for parameter in delivery.reader.contract.givens:
            if entry is not None and entry.type in {kind.name for kind in parameter.types}:
                given[parameter.name] = work.value(entry)
    keys = tuple(key for key in _rows_of(work, delivery, given) if key not in delivery.keys)
    if keys:
        await work.rows.fetch((key[1], key[2]) for key in keys)
        if not delivery.standing and work.holds.free((*delivery.keys, *keys)):
            delivery.keys = (*delivery.keys, *keys)
        else:
            work.holds.join(delivery, (*delivery.keys, *keys))
            delivery.standing = True
            if not work.holds.first(delivery):
                return False
        if delivery.reader.outside and _uncommitted(work, group, keys):
            _later(work, delivery)
            return False
    return True


def _entry_at(work: Work, delivery: Delivery, pos: int) -> Entry | None:
    return next((entry for entry in work.views[delivery.entry.flow].entries if entry.pos == pos), None)


def _announce(work: Work, group: Group, delivery: Delivery) -> None:
    """Write the attempt down before it starts: what kills the process is counted too."""
    delivery.attempts += 1
    if delivery.attempts > delivery.reader.contract.options.retry.max_attempts and not delivery.wished:
        delivery.attempts -= 1
        why = (delivery.parked.error if delivery.parked else None) or "it ended its process each time it ran"
        _apply(work, group, dead(work, delivery, why, group.now, effect=delivery.row[1]))
        return
    outcome = parked(delivery, "running", effect=delivery.row[1])
    outcome.done = False
    row = outcome.parks[0][1]
    row.asked = delivery.parked.asked if delivery.parked else None
    _later(work, delivery)
    _apply(work, group, outcome)
    delivery.reader.open.pop(delivery.entry.pos, None) if delivery.parked is None else None
    delivery.parked, delivery.announced = row, True
    work.active[delivery.reader.path, delivery.row] = delivery


async def _attempt(work: Work, group: Group, delivery: Delivery, ready: Ready, effect: int | None) -> Attempt | None:
    """One run, begun; a plain one is finished, and so is one that could not be begun."""
    reader = delivery.reader
    undone: Entry | int | None = effect
    if effect is not None and effect > 0:
        undone = _entry_at(work, delivery, effect) or effect
    session = Session(work.rows, work.codec, committed=reader.outside)
    attempt = Attempt(delivery, ready.inputs, undone, session, group.now)
    try:
        given = event_arguments(attempt, work.value)
        await work.rows.fetch(row_keys(reader.contract, given))
        given |= other_arguments(attempt, given, work.guards.keepers, work.context(attempt))
    except NewerShape as error:
        _apply(work, group, wait_for(work, delivery, str(error), group.now, half=False))
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
    delivery.standing = True
    delivery.running = True
    reader.running += 1
    for guard in work.guards.of(reader.contract):
        guard.began()
    work.running.add(attempt)
    group.touched.add(reader)


async def _judged(work: Work, group: Group, attempt: Attempt) -> Outcome:
    """What came of a run: kept, or tried again, or dead."""
    if attempt.error is None:
        try:
            await work.rows.fetch(attempt.session.keys)
            return succeeded(work, attempt, group.now, work.stamp)
        except Exception as error:
            attempt.error = error
    return failed(work, attempt.delivery, attempt.error, group.now, attempt=attempt)


async def _collect(work: Work, group: Group) -> None:
    """Runs that went on beside the groups and are finished now."""
    attempts = sorted(work.finished, key=lambda attempt: attempt.delivery)
    work.finished.clear()
    for attempt in attempts:
        delivery = attempt.delivery
        work.running.discard(attempt)
        if delivery.running:
            delivery.running = False
            delivery.reader.running -= 1
            for guard in work.guards.of(delivery.reader.contract):
                guard.ended(group.now, failed=attempt.error is not None)
        loads = attempt.session.loads
        await work.rows.fetch(loads)
        if attempt.error is None and any(work.rows.current(key).version != seen for key, seen in loads.items()):
            _again(work, attempt)
            continue
        outcome = await _judged(work, group, attempt)
        remaining = delivery.effects if delivery.reader.contract.options.compensates is not None else None
        outcome.done = not remaining
        _apply(work, group, outcome)
        if remaining:
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


# outcomes


def _apply(work: Work, group: Group, outcome: Outcome) -> None:
    """From here on memory is as if the outcome were committed; `unwind` takes it back."""
    delivery = outcome.delivery
    reader = delivery.reader
    for entry in outcome.entries:
        group.append(entry)
    for write in outcome.writes:
        work.rows.put(write)
    view = work.views.get(delivery.entry.flow)
    if view is not None:
        view.memories.extend(outcome.memories)
        for entry in outcome.entries:
            view.add(entry)
    if outcome.done and delivery.parked is not None:
        outcome.drops.append((reader, delivery.parked))
    for owner, row in outcome.drops:
        work.drop_row(owner, (row.pos, row.effect))
        work.active.pop((owner.path, (row.pos, row.effect)), None)
    for owner, row in outcome.parks:
        work.add_row(owner, row)
    group.outcomes.append(outcome)
    group.touched.add(reader)
    group.keys.update(delivery.keys)
    if outcome.done:
        _release(work, delivery)


def _release(work: Work, delivery: Delivery) -> None:
    """The delivery is open no more: whoever stood behind it has its turn."""
    reader = delivery.reader
    if reader.open.get(delivery.entry.pos) is delivery:
        del reader.open[delivery.entry.pos]
    if work.active.get((reader.path, delivery.row)) is delivery:
        del work.active[reader.path, delivery.row]
    service = reader.contract.service
    if work.alone.get(service) is delivery:
        del work.alone[service]
    if work.trial is delivery:
        work.trial = None
    if delivery.standing:
        delivery.standing = False
        work.ready.extend(work.holds.leave(delivery))


def _go_on(work: Work, group: Group) -> None:
    """The group is committed: tell who waits, and hand on what it emitted."""
    work.group = None
    flows = {entry.flow for entry in group.seen} | {outcome.delivery.entry.flow for outcome in group.outcomes}
    if work.watching:
        work.touched |= flows
    for flow in flows & work.wants.keys() if work.wants else ():
        for path, row in list(work.wants[flow]):
            reader = work.readers[path]
            work.due_now.append((reader, reader.rows[row]))
    for publication in group.publications:
        publication.answer()
    work.views.trim()
    work.groups += 1


def unwind(work: Work, group: Group) -> None:
    """Nothing of the group happened: its outcomes are taken back, what it began is begun again."""
    work.group = None
    work.rows.drop()
    flows = {outcome.delivery.entry.flow for outcome in group.outcomes}
    work.views.forget(flows | {entry.flow for entry in (*group.entries, *group.seen)})
    restored: set[int] = set()
    for outcome in reversed(group.outcomes):
        _take_back(work, group, outcome, restored)
    for delivery in group.opened:
        if delivery.entry.pos > group.base and delivery.entry.pos in delivery.reader.open:
            _release(work, delivery)  # its event is not there
    work.due_now.extend(pair for pair in group.taken if (pair[1].pos, pair[1].effect) in pair[0].rows)
    for reader, lag in reversed(group.caught):
        reader.lag = lag
    work.publications.extendleft(reversed(group.publications))
    work.fresh.clear()
    work.read = group.read


def _take_back(work: Work, group: Group, outcome: Outcome, restored: set[int]) -> None:
    """Take one outcome back. A run that reached outside is not repeated because a commit failed: it is settled again."""
    delivery = outcome.delivery
    for owner, row in reversed(outcome.parks):
        work.drop_row(owner, (row.pos, row.effect))
        work.active.pop((owner.path, (row.pos, row.effect)), None)
    for owner, row in reversed(outcome.drops):
        work.add_row(owner, row)
    if outcome.direct or delivery.entry.pos > group.base:
        return
    if delivery.announced and delivery.parked is not outcome.before:  # the announcement itself
        delivery.parked, delivery.announced = outcome.before, False
        delivery.attempts -= 1
    if delivery.parked is None:
        delivery.reader.open[delivery.entry.pos] = delivery
    else:
        work.active[delivery.reader.path, delivery.row] = delivery
    if not delivery.standing:
        work.holds.join(delivery, delivery.keys)
        delivery.standing = True
    if outcome.attempt is not None and delivery.reader.outside:
        work.finished.append(outcome.attempt)
    elif id(delivery) not in restored and delivery not in work.later:
        work.later.append(delivery)
    restored.add(id(delivery))
