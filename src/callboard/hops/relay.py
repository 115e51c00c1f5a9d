"""Relay: what was logged here and is heard in other ledgers goes to the broker, in the order of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.hops.abroad import DIRECTED, RELAY
from callboard.hops.envelopes import seal
from callboard.hops.work import SAVE
from callboard.ledger import Note, Parked, shown_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.hops.abroad import Abroad
    from callboard.hops.work import Work
    from callboard.ledger import Entry, Wish

_KEPT = 10_000  # ids of what was sent, by which what comes back is known
_BEHIND = 4096  # positions after which the place is saved although there is more to send


async def relay(work: Work, abroad: Abroad, *, limit: int = 256) -> int:
    """The next entries are with the broker. Returns how many were read.

    The place behind them is saved with the next group that commits, or here if none does for a moment. A crash before
    sends them again, as the same envelopes. Raises BrokerUnavailable, and nothing has moved then. One envelope that the
    broker never takes is a dead letter, and the others go on.
    """
    entries = await work.ledger.read(abroad.sent, limit=limit)
    if not entries:
        if abroad.refused or work.draining or work.now() - abroad.sent_at >= SAVE:
            await _save(work, abroad)
        return await _wishes(work, abroad, limit)
    going = [entry for entry in entries if abroad.concerns(entry)]
    why = await _send(work, abroad, going)
    abroad.refused += [(entry, why[entry.id]) for entry in going if entry.id in why]
    abroad.sent, abroad.sent_at = entries[-1].pos, work.now()
    if abroad.sent - abroad.saved >= _BEHIND:
        await _save(work, abroad)
    return len(entries)


async def _send(work: Work, abroad: Abroad, entries: Sequence[Entry]) -> dict[str, str]:
    """All are with the broker but those that are returned, by id, and why."""
    if not entries:
        return {}
    if len(abroad.own) > _KEPT:
        abroad.own.clear()
    abroad.own.update(entry.id for entry in entries if not entry.type.startswith(DIRECTED))
    ids = {entry.pos: entry.id for entry in entries}
    if missing := {entry.cause for entry in entries if entry.cause} - ids.keys():
        ids.update({entry.pos: entry.id for entry in await work.ledger.entries(missing)})
    content_type: str = getattr(work.codec, "content_type", "application/octet-stream")
    refused = await abroad.broker.send([seal(abroad, entry, ids.get(entry.cause), content_type) for entry in entries])
    return {envelope.id: why for envelope, why in refused}


async def _save(work: Work, abroad: Abroad) -> None:
    if abroad.saved == abroad.sent and not abroad.refused:
        return
    async with work.ledger.transaction({RELAY: abroad.token or 0}) as tx:
        if abroad.refused:
            rows = [_dead_letter(entry, why) for entry, why in abroad.refused]
            await tx.park(rows)
            await tx.note([Note(row.pos, RELAY, row.flow, "failed", row.error or "", work.now()) for row in rows])
        await tx.advance([abroad.position()])
    abroad.saved, abroad.refused = abroad.sent, []


def _dead_letter(entry: Entry, why: str) -> Parked:
    return Parked(RELAY, entry.pos, 0, entry.flow, "", "dead", None, 1, f"it cannot be sent: {why}")


async def _wishes(work: Work, abroad: Abroad, limit: int) -> int:
    """Dead letters of the relay that an operator wants sent again, or given up."""
    if RELAY in abroad.idle:
        return 0
    abroad.idle.add(RELAY)  # before it is looked, as in the intake
    now = work.now()
    asked = await work.ledger.parked(reactions=[RELAY], asked=True, limit=limit)
    if asked:
        abroad.idle.discard(RELAY)
    rows = {row.pos: row.asked for row in asked if row.asked is not None and (row.due or 0) <= now}
    if not rows:
        return 0
    entries = {entry.pos: entry for entry in await work.ledger.entries(rows)}
    again = [entries[pos] for pos, wish in rows.items() if wish.what == "replay" and pos in entries]
    why = await _send(work, abroad, again)
    left = [_dead_letter(entry, why[entry.id]) for entry in again if entry.id in why]
    async with work.ledger.transaction({RELAY: abroad.token or 0}) as tx:
        await tx.unpark([(RELAY, pos, 0) for pos in rows])
        await tx.park(left)
        await tx.note([_answer(entry, rows[entry.pos], why.get(entry.id), now) for entry in entries.values()])
    return len(rows)


def _answer(entry: Entry, wish: Wish, why: str | None, now: int) -> Note:
    came = "sent" if why is None else "failed again"
    said = f"{came}; asked by {wish.by}{shown_batch(wish.batch)}" if wish.what == "replay" else f"by {wish.by}"
    return Note(entry.pos, RELAY, entry.flow, f"{wish.what}ed", said, now)
