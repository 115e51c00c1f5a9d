"""Project: events of the log -> rows of a projection, and how far it has come, in one transaction.

An event is folded where it stands in the log, and in no other order. One that cannot be folded stops its projection,
and nobody else, until it can.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.contract import StateOf, Trigger
from callboard.errors import LedgerError
from callboard.event import attribute
from callboard.hops.attempt import state_argument
from callboard.hops.rows import Rows, Session
from callboard.ids import flow_of
from callboard.ledger import Position
from callboard.projection import rows_of
from callboard.reaction import Context

if TYPE_CHECKING:
    from callboard.contract import Contract
    from callboard.hops.work import Work
    from callboard.ledger import Entry
    from callboard.parameters import Parameter
    from callboard.projection import Form, Projection

LOG = logging.getLogger("callboard")
PAGE = 256  # events in one commit
_IDLE = 10_000  # places in the log without anything to fold, after which the position is written all the same
_LONGEST = 60_000_000  # microseconds between two tries of an event that cannot be folded


class _Superseded(Exception):
    """Its rows may have been replaced: they are read anew, from where it stands now."""


class Projector:
    """One projection in one process: the live one, or the one that is rebuilt beside it."""

    def __init__(self, projection: Projection, form: Form, position: Position, work: Work) -> None:
        self.path = position.reaction
        self.pos = self.saved = position.pos
        self.rows = Rows(work.ledger)
        self.edits = -1  # as of which its rows are in memory
        self.failures, self.due = 0, 0
        self.kinds = [kind.name for kind in projection.hears]
        self.folds = [(function, contract, _parameters(contract, form)) for function, contract in projection.folds]


def _parameters(contract: Contract, form: Form) -> list[Parameter]:
    """What a fold takes; its rows are those of this form."""
    return [
        replace(each, state=replace(each.state, name=rows_of(each.state.name, form)))
        if isinstance(each, StateOf)
        else each
        for each in contract.parameters
    ]


async def project(work: Work, one: Projector, *, draining: bool = False) -> int:
    """Some of what it has not come to is folded and committed. Returns how much was done; 0 if there is nothing.

    Raises LedgerBusy if somebody else is committing: nothing has happened then.
    """
    now = work.now()
    if one.due > now or (one.pos >= work.head and not (draining and one.saved < one.pos)):
        return 0
    head = await work.ledger.head()
    entries = await work.ledger.read(one.pos, limit=PAGE, types=one.kinds)
    upto, error = entries[-1].pos if len(entries) == PAGE else max(head, one.pos), None
    if not entries and not draining and upto - one.saved < _IDLE:
        one.pos = upto
        return 0
    try:
        for entry in entries:
            try:
                await _fold(work, one, entry)
            except LedgerError:
                raise
            except Exception as raised:
                upto, error = entry.pos - 1, f"#{entry.pos} {entry.type}: {type(raised).__name__}: {raised}"
                break
        await _commit(work, one, upto, error, now)
    except _Superseded:
        return 1
    finally:
        one.rows.drop()
    return 0 if error else 1


async def _fold(work: Work, one: Projector, entry: Entry) -> None:
    """All that its functions make of this event, or nothing of it."""
    session = Session(one.rows, work.codec, committed=False)
    for function, contract, parameters in one.folds:
        if not any(kind.name == entry.type for kind in contract.hears):
            continue
        event = work.value(entry)
        arguments: dict[str, Any] = {}
        for each in parameters:
            if isinstance(each, StateOf):
                key = attribute(event, each.state.key)
                if each.form != "any":
                    await one.rows.fetch([(each.state.name, str(key))])
                arguments[each.name] = state_argument(session, each, key)
            else:
                arguments[each.name] = event if isinstance(each, Trigger) else _context(work, one, entry, event)
        answer = function(**arguments)
        if contract.is_async:
            await answer
    for write in session.changes(None, work.stamp):
        one.rows.put(write)


def _context(work: Work, one: Projector, entry: Entry, event: Any) -> Context:
    keys = (attribute(event, flow.key) for flow in work.choreography.flows.values())
    return Context(
        event_id=entry.id,
        flow_id=flow_of(entry.id),
        flow_key=next((str(key) for key in keys if key is not None), None),
        reaction=one.path,
        now=datetime.fromtimestamp(entry.time / 1_000_000, UTC),  # the same when it is rebuilt
    )


async def _commit(work: Work, one: Projector, upto: int, error: str | None, now: int) -> None:
    failures = one.failures + 1 if error else 0
    due = now + min(_LONGEST, 500_000 << min(failures, 9)) if error else None
    async with work.ledger.transaction(work.tokens) as tx:
        there = next((p for p in await work.ledger.positions() if p.reaction == one.path and p.live), None)
        if there is None or tx.edits != one.edits:
            one.rows.forget()
            one.edits = tx.edits
            if there is not None:
                one.pos = one.saved = there.pos
            raise _Superseded
        await tx.save(one.rows.changed())
        await tx.advance([Position(one.path, 0, upto, (), paused=due, by=error)])
    one.rows.commit()
    one.pos = one.saved = upto
    one.failures, one.due = failures, due or 0
    work.touched.add(0)  # who waits to see it looks again
    if error and failures == 1:
        LOG.error("%s stands still, and is tried again: %s", one.path, error)
