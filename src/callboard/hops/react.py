"""React: take what waits, run it, commit all that is finished at once.

One call is one group. It notices what is new, runs what may run, and settles: events, state, positions, parked work and
memories of many runs in one transaction. What a group left in memory is true of the ledger after its commit, and is
unwound if the commit does not happen.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from callboard.hops.applying import release
from callboard.hops.due import take_due
from callboard.hops.group import Group, Moved, Outcome
from callboard.hops.publish import publish
from callboard.hops.reading import PAGE, catch_up, dispatch, hand_out, reopen
from callboard.hops.running import collect
from callboard.hops.settle import settle
from callboard.hops.turns import consider_all, is_due
from callboard.hops.work import SAVE

if TYPE_CHECKING:
    from callboard.hops.deliveries import Delivery
    from callboard.hops.work import Work

_LOOK = 500_000  # microseconds between two looks for verdicts of flows with a dead letter
_LARGEST = 2048  # events that one group emits before it commits
_RAWS = 8  # runs in one commit with SQL of their own: others wait for the lock meanwhile


async def react(work: Work) -> int:
    """One group: what was waiting has run and is committed. Returns how much was done; 0 if there was nothing.

    Raises LedgerBusy if the ledger is taken: call again, the group is kept. After any other error nothing of the group
    happened, and what it began is begun again by the next call.
    """
    group = work.group
    if group is None:
        group = work.group = await _begin(work)
        try:
            await (_fill(work, group) if group.raws is None else _fill_raws(work, group))
        except BaseException:
            unwind(work, group)
            raise
    if not (_is_worth_a_commit(work, group) or (work.watcher is not None and await work.watcher.may_end(work, group))):
        _go_on(work, group)
        return len(group.seen) + (0 if work.draining else len(work.raws) + group.again + (group.raws is not None))
    try:
        await settle(work, group)
    except Moved:
        unwind(work, group)
        work.foreign = 16
        return 1
    except BaseException:
        if group.tx is not None:
            unwind(work, group)  # what ran inside the commit went with it
        raise
    _go_on(work, group)
    return 1 + len(group.outcomes)


async def _begin(work: Work) -> Group:
    now = work.now()
    if await work.ledger.moved():
        work.head = max(work.head, await work.ledger.head())
        work.moved = True
        if work.watcher is not None:
            await work.watcher.look()
        work.wishes = True
    if work.wishes:
        await _notice_wishes(work)
    if work.stopped and now >= work.next_look:
        await _notice_ends(work, now)
    fused = work.fuse and work.foreign <= 0 and work.read + len(work.fresh) >= work.head
    work.foreign = max(0, work.foreign - 1)
    group = Group(work.head, work.edits, now, work.read, fused=fused)
    if work.raws and not work.was_raw and not work.draining:
        group.raws = []
    work.was_raw = group.raws is not None
    return group


async def _notice_wishes(work: Work) -> None:
    """What operators asked for while nobody looked."""
    work.wishes = False
    if work.abroad is not None:
        work.abroad.idle.clear()
    for wish in await work.ledger.parked(reactions=list(work.readers), asked=True):
        reader = work.readers[wish.reaction]
        known = reader.rows.get((wish.pos, wish.effect))
        if known is not None and known.asked is None:
            known.asked, known.due, known.data = wish.asked, wish.due, wish.data
            work.agenda.add(reader, known)
            work.due_now.append((reader, known))


async def _notice_ends(work: Work, now: int) -> None:
    """Flows with a dead letter that have their verdict by now, wherever it was given."""
    work.next_look = now + _LOOK
    parked = {flow for reader in work.readers.values() for flow in work.stopped & reader.flow_rows.keys()}
    work.stopped &= parked
    work.over &= parked
    rows = await work.ledger.flows_by_number(parked - work.over)
    for number in {row.number for row in rows} - {row.number for row in rows if row.verdict is None}:
        work.end(number)


async def _fill(work: Work, group: Group) -> None:
    """Everything that can be done now is an outcome of the group, or runs, or waits for something else."""
    await collect(work, group)
    if work.trial is not None and not work.trial.running:
        work.trial = None  # elected anew: it may have to wait for one that waits to be tried
    opened = await reopen(work, group)
    if work.draining:
        work.later += opened
    else:
        await consider_all(work, group, opened)
        if work.due_now or is_due(work.agenda.next(), group.now):
            await take_due(work, group)
        ready, work.ready = work.ready, []
        await consider_all(work, group, ready)
        waiting, work.later = work.later, []
        await consider_all(work, group, waiting)
        await catch_up(work, group)
        await hand_out(work, group)
    if work.publications:
        await _publish(work, group)
    if group.fused and not work.draining:
        await _fuse(work, group)
    all_read = work.caught_up and work.read >= group.head + len(group.entries)
    group.deadlines = work.watcher is not None and all_read and is_due(work.watcher.next_deadline(), group.now)


async def _fill_raws(work: Work, group: Group) -> None:
    """Reactions with SQL of their own have a group to themselves, every other one while more of them wait."""
    taken = list(work.raws)[:_RAWS]
    for delivery in taken:
        del work.raws[delivery]
    await consider_all(work, group, taken)


def _is_worth_a_commit(work: Work, group: Group) -> bool:
    """Whether the group has something to write; positions alone wait a moment for something that takes them along."""
    if not group.empty or work.rows.overlay or group.deadlines or len(group.seen) >= PAGE:
        return True
    if work.watcher is not None and any(work.watcher.hears(entry.type) for entry in group.seen):
        return True
    if group.seen:
        work.unsaved = work.unsaved or (group.now if work.readers else 0)
        return False
    return bool(work.unsaved) and (work.draining or group.now - work.unsaved >= SAVE)


async def _publish(work: Work, group: Group) -> None:
    taken = list(islice(work.publications, PAGE))
    try:
        await publish(work, group, taken)
    except BaseException:
        group.publications.clear()  # they are still in the queue
        raise
    for publication in taken:
        work.publications.popleft()
        for write in publication.writes if publication.error is None else ():
            work.rows.put(write)


async def _fuse(work: Work, group: Group) -> None:
    """Hand out what the group itself has emitted, as long as it grows.

    Only plain reactions run on it before the commit.
    """
    handed = 0
    while handed < len(group.entries) < _LARGEST and work.read >= group.head and not work.fresh:
        entries = group.entries[handed:]
        handed = len(group.entries)
        group.ahead = True
        await dispatch(work, group, entries)
        ready, work.ready = work.ready, []
        await consider_all(work, group, ready)


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
    for outcome in reversed(group.outcomes):
        _take_back(work, group, outcome)
    for delivery in group.opened:
        if delivery.entry.pos > group.head and delivery.entry.pos in delivery.reader.open:
            release(work, delivery)  # its event is not there
            delivery.reader.done.discard(delivery.entry.pos)
    work.due_now.extend(pair for pair in group.taken if (pair[1].pos, pair[1].effect) in pair[0].rows)
    for reader, lag in reversed(group.caught):
        reader.lag = lag
    work.publications.extendleft(reversed(group.publications))
    work.fresh.clear()
    work.read = group.read
    work.raws.clear()
    work.ready, work.later = [], _begun(work)


def _begun(work: Work) -> list[Delivery]:
    """Every delivery that has begun and does not run, in log order: wherever the group stopped, none is forgotten."""
    to_settle = {id(attempt.delivery) for attempt in work.finished}
    begun = [*work.active.values(), *(each for reader in work.readers.values() for each in reader.open.values())]
    return sorted(delivery for delivery in begun if not delivery.running and id(delivery) not in to_settle)


def _take_back(work: Work, group: Group, outcome: Outcome) -> None:
    """Take one outcome back.

    A run that reached outside is not repeated because a commit failed: it is settled again.
    """
    delivery = outcome.delivery
    delivery.reader.done.discard(delivery.entry.pos)
    for owner, row in reversed(outcome.parks):
        work.drop_row(owner, (row.pos, row.effect))
        work.active.pop((owner.path, (row.pos, row.effect)), None)
    for owner, row in reversed(outcome.drops):
        work.add_row(owner, row)
        if row is not outcome.before:
            work.due_now.append((owner, row))  # it may have stood in line when it was superseded
    if outcome.direct or delivery.entry.pos > group.head:
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
    if outcome.attempt is not None and delivery.reader.outside:
        work.finished.append(outcome.attempt)
    else:
        delivery.attempts = delivery.parked.attempts if delivery.parked is not None else 0
