"""Settle: everything of one group, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.hops.abroad import RELAY
from callboard.hops.answers import tell_endings
from callboard.hops.group import Moved
from callboard.hops.running import run_effects
from callboard.ledger import Note, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.hops.deliveries import Reader
    from callboard.hops.group import Group, Outcome
    from callboard.hops.work import Work
    from callboard.ledger import Transaction

_HANDED_ON = 20_000  # events kept in memory for the next groups; what is more is read from the ledger
_EVERY = 256  # groups after which idle reactions move too, so that they hold nothing back


async def settle(work: Work, group: Group) -> None:
    """All of the group is committed, or nothing is.

    Raises Moved if it must be built again, LedgerBusy if the lock is taken.
    """
    emitted = len(group.entries)
    try:
        async with work.ledger.transaction(work.tokens) as tx:
            foreign = tx.head != group.head
            if foreign:
                await _make_room(work, group, tx)
            if tx.prunes != work.prunes:
                await _check_flows(work, group, tx)
            if tx.edits != group.edits:
                await _check_rows(work, group, tx)
            await _check_edits(work, group, tx)
            if group.raws:
                await _run_raws(work, group, tx, foreign=foreign)
            if work.watcher is not None:
                group.decided = await work.watcher.decide(work, group)
            if work.abroad is not None:
                await tell_endings(work, group)
            await tx.append(group.entries)
            await tx.start_flows([row for p in group.publications if p.error is None for row in p.flows])
            await _write(work, group, tx)
            positions = _positions(work, group)
            await tx.advance(positions)
    except BaseException:
        _forget_decisions(group, emitted)
        raise
    _committed(work, group, tx, positions, foreign=foreign)


async def _run_raws(work: Work, group: Group, tx: Transaction, *, foreign: bool) -> None:
    """Reactions with SQL of their own run here, with the write lock held; each under a savepoint."""
    if tx.edits != group.edits:
        work.rows.forget()
    group.tx = tx
    for delivery, ready in group.raws or ():
        before = delivery.attempts
        try:
            await run_effects(work, group, delivery, ready)
        except BaseException:
            delivery.attempts = before  # the commit is gone, and that is nobody's attempt
            raise
    if foreign:
        work.views.forget({entry.flow for entry in group.entries})  # what stands before them is read first


def _forget_decisions(group: Group, emitted: int) -> None:
    """The commit did not happen: what the tracker decided in it is decided again by the next."""
    for undo in reversed(group.undo):
        undo()
    group.undo.clear()
    group.closed.clear()
    group.decided = []
    group.recounted.clear()
    group.notes.clear()
    del group.entries[emitted:]


async def _make_room(work: Work, group: Group, tx: Transaction) -> None:
    """Rows of others stand where this group's were to be: they move behind, unless something was decided on their
    places.
    """
    if group.ahead:
        raise Moved
    flows = [row for p in group.publications if p.error is None for row in p.flows]
    begun = [(row.name, row.key) for row in flows if row.key is not None]
    if begun and await work.ledger.flows_by_key(begun):
        raise Moved
    given = [each.id for p in group.publications if p.error is None for each in p.supplied]
    if given and await work.ledger.supplied(given):
        raise Moved
    work.views.forget({entry.flow for entry in group.entries})
    group.deadlines = False  # what they have written is read first
    group.shift(tx.head)


async def _check_flows(work: Work, group: Group, tx: Transaction) -> None:
    """Flows were pruned elsewhere: what is published here must not join one of those."""
    work.prunes = tx.prunes
    joined = {e.flow for p in group.publications if p.error is None for e in p.entries if e.flow <= group.head}
    if joined and joined - {row.number for row in await work.ledger.flows_by_number(joined)}:
        raise Moved


async def _check_rows(work: Work, group: Group, tx: Transaction) -> None:
    """State was changed from outside its reactions: the rows that this group looked at must not be among those."""
    seen = group.looked | {key for outcome in group.outcomes for key in outcome.loads}
    seen |= {key for p in group.publications if p.error is None for key in p.loads}
    current = await tx.versions(seen)
    moved = any(
        work.rows.knows(key) and work.rows.committed(key).version != version for key, version in current.items()
    )
    if moved:
        work.rows.forget()
        work.edits = tx.edits
        raise Moved


async def _check_edits(work: Work, group: Group, tx: Transaction) -> None:
    """Rows of a service that is owned elsewhere are compared under the lock: nobody told this process of their
    changes.
    """
    for publication in group.publications:
        if publication.loads and publication.error is None and publication.service not in work.tokens:
            current = await tx.versions(publication.loads)
            if any(publication.loads[key] != version for key, version in current.items()):
                publication.outdated = True
                raise Moved


async def _write(work: Work, group: Group, tx: Transaction) -> None:
    outcomes, published = group.outcomes, [p for p in group.publications if p.error is None]
    if work.rows.overlay:
        await tx.save(work.rows.changed())
    if any(p.writes and p.service not in work.tokens for p in published):
        await tx.edit()
    if memories := [memory for outcome in outcomes for memory in outcome.memories]:
        await tx.remember(memories)
    if notes := [*(note for outcome in outcomes for note in outcome.notes), *group.notes]:
        await tx.note(notes)
    await _write_parked(outcomes, tx)
    if group.decided or group.recounted:
        begun = {id(row) for p in published for row in p.flows}  # written with what was decided of them
        await tx.update_flows([*(row for row in group.decided if id(row) not in begun), *group.recounted])
    if group.closed:
        await _write_closed(group, tx)
    if supplied := [each for p in published for each in p.supplied]:
        await tx.supply(supplied)


async def _write_parked(outcomes: Sequence[Outcome], tx: Transaction) -> None:
    for outcome in outcomes:  # in order: a row may come, go and come again
        if outcome.drops:
            await tx.unpark([(row.reaction, row.pos, row.effect) for _, row in outcome.drops])
        if outcome.parks:
            await tx.park([row for _, row in outcome.parks])


async def _write_closed(group: Group, tx: Transaction) -> None:
    """Waits that a verdict has ended."""
    rows = [row for _, row in group.closed]
    await tx.unpark([(row.reaction, row.pos, row.effect) for row in rows])
    why = "no longer needed"
    await tx.note([Note(row.pos, row.reaction, row.flow, "closed", f"{row.why}: {why}", group.now) for row in rows])


def _positions(work: Work, group: Group) -> list[Position]:
    """Where the touched reactions stand after this group; from time to time where all of them do."""
    everyone = work.groups % _EVERY == 0 or (work.unsaved and not group.seen) or not work.guards.told
    positions = [_position(work, reader) for reader in (work.readers.values() if everyone else group.touched)]
    abroad = work.abroad
    if abroad is not None and abroad.token is not None and not abroad.refused and abroad.sent != abroad.saved:
        positions.append(abroad.position())
    if work.watcher is not None and (group.seen or everyone):
        positions += [Position(path, 0, work.read, ()) for path in work.watcher.paths]
    return positions


def _position(work: Work, reader: Reader) -> Position:
    pos = max(reader.pos, work.read) if reader.lag is None else reader.lag
    paused, by = work.guards.pause(reader.contract) if reader.contract.ports else (None, None)
    return Position(reader.path, reader.since, pos, _beside(reader, pos), paused=paused, by=by)


def _beside(reader: Reader, pos: int) -> tuple[int, ...]:
    """What the position alone does not say: what up to it is not finished, and what behind it is."""
    if not (reader.open or reader.done):
        return ()
    unfinished = [each for each in reader.open if each <= pos]
    return tuple(sorted(unfinished + [done for done in reader.done if done > pos]))


def _committed(work: Work, group: Group, tx: Transaction, positions: list[Position], *, foreign: bool) -> None:
    """What was written is true now, in memory too."""
    if tx.edits != group.edits:
        work.rows.forget()
    work.rows.commit()
    work.guards.tell()
    work.unsaved = group.now if group.seen and work.readers else 0
    for publication in group.publications:
        if publication.service not in work.tokens:
            work.rows.discard(publication.loads)
    work.head, work.edits = tx.head, tx.edits
    handed = work.fresh[-1].pos if work.fresh else work.read
    if not foreign and handed >= group.head and len(work.fresh) < _HANDED_ON:
        work.fresh.extend(entry for entry in group.entries if entry.pos > handed)
    for position in positions:
        if position.reaction == RELAY and work.abroad is not None:
            work.abroad.saved = position.pos
        if (reader := work.readers.get(position.reaction)) is not None:
            reader.pos = position.pos
            reader.done = {done for done in reader.done if done > position.pos}
    for reader, row in group.closed:
        work.drop_row(reader, (row.pos, row.effect))
    if work.watcher is not None:
        work.watcher.begun(row for p in group.publications if p.error is None for row in p.flows)
    work.decided.extend(group.decided)
