"""Retention: flows that are over and old enough are forgotten, a whole flow at a time, in small batches.

Who decides is the ledger alone: what is committed of flows, positions and parked rows, read under the write lock. So a
worker, and an operator beside it, may prune at any time, and what is not finished anywhere stays.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from callboard.clock import FOREVER
from callboard.ids import began_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from callboard.choreography import Choreography
    from callboard.hops.work import Work
    from callboard.ledger import Entry, FlowRow, Ledger, Parked, Position, Transaction

T = TypeVar("T")
DEFAULT_KEEP = timedelta(days=30)
BATCH = 128  # events of the log that are looked at in one step


class Hold(NamedTuple):
    """What keeps old flows in the ledger: a reaction ("" where it is the flow itself), and why."""

    reaction: str
    why: str


class Found(NamedTuple):
    """One step through the log: the flows that may go, what holds others back, and where the next step begins."""

    going: dict[int, str]  # number and id of each
    held: Counter[Hold]
    looked: int  # everything up to here was looked at
    more: bool  # what comes behind may be old enough too


class Retention:
    """How long what is kept. `keep` is for flows whose `Flow` does not say it."""

    def __init__(
        self, choreography: Choreography | None, keep: timedelta = DEFAULT_KEEP, *, separate: bool = False
    ) -> None:
        flows = choreography.flows if choreography is not None else {}
        kinds = choreography.events.values() if choreography is not None else ()
        self.keep = keep
        self.kept = frozenset(kind.name for kind in kinds if kind.forever)
        self._by_name = {name: flow.keep for name, flow in flows.items() if flow.keep is not None}
        timeouts = [flow.timeout for flow in flows.values() if flow.timeout is not None]
        self._elsewhere = max(timeouts, default=timedelta(0)) if separate else timedelta(0)
        self.shortest = min([keep, *self._by_name.values()])

    def of(self, rows: Sequence[FlowRow]) -> timedelta:
        """How long the flow of these rows is kept once it is over.

        One that nobody here watches may go on in another ledger: it is kept for the longest timeout of a flow, too.
        """
        named = [self._by_name.get(row.name, self.keep) for row in rows if row.name]
        if named:
            return max(named)
        return self.keep if self.keep == FOREVER else self.keep + self._elsewhere


def before(now: int, keep: timedelta) -> int:
    """The moment up to which something must be over to be old enough."""
    return max(0, now - keep // timedelta(microseconds=1))


async def look(ledger: Ledger, retention: Retention, now: int, *, after: int = 0, limit: int = BATCH) -> Found:
    """What may go, among the flows that began in the next `limit` events behind `after`."""
    found = await _step(ledger, retention, now, after, limit)
    return found._replace(going=await judge(ledger, retention, now, found.going, found.held))


async def _step(ledger: Ledger, retention: Retention, now: int, after: int, limit: int) -> Found:
    """The flows that began there and may be old enough; nothing else is known of them."""
    oldest = before(now, retention.shortest)
    if not any(first.time <= oldest for first in await ledger.read(after, limit=1)):
        return Found({}, Counter(), after, more=False)
    old = [entry for entry in await ledger.read(after, limit=limit) if entry.time <= oldest]
    starts = {entry.flow: entry.id for entry in old if entry.pos == entry.flow}
    return Found(starts, Counter(), old[-1].pos if old else after, len(old) == limit)


async def look_through(ledger: Ledger, retention: Retention, now: int, *, steps: int = 1000) -> Found:
    """What may go, and what holds back the rest, in the whole log; `more` if it is too long to be looked through."""
    found = total = await look(ledger, retention, now)
    while found.more and (steps := steps - 1):
        found = await look(ledger, retention, now, after=found.looked)
        total.going.update(found.going)
        total.held.update(found.held)
    return total._replace(looked=found.looked, more=found.more)


async def judge(
    ledger: Ledger, retention: Retention, now: int, starts: Mapping[int, str], held: Counter[Hold]
) -> dict[int, str]:
    """Those of these flows that may go; what holds the others back is counted in `held`."""
    if not starts:
        return {}
    rows = _grouped(await ledger.flows_by_number(starts), lambda row: row.number)
    entries = _grouped(await ledger.flow_entries(starts), lambda entry: entry.flow)
    parked = _grouped(await ledger.parked(flows=starts), lambda row: row.flow)
    readers = [position for position in await ledger.positions() if position.live]
    everybody = min((0 if reader.open else reader.pos for reader in readers), default=0)  # has finished up to here
    going: dict[int, str] = {}
    for flow, event_id in starts.items():
        mine = entries.get(flow, [])
        if not rows.get(flow) and all(entry.type in retention.kept for entry in mine):
            continue  # what is left of it stays
        ended = max([*(entry.time for entry in mine), *(row.ended or 0 for row in rows.get(flow, ()))], default=now)
        if ended > before(now, retention.of(rows.get(flow, ()))):
            continue
        behind = readers if mine and mine[-1].pos > everybody else ()
        holds = set(_holds(rows.get(flow, ()), mine, parked.get(flow, ()), behind, now))
        if holds:
            held.update(holds)
        else:
            going[flow] = event_id
    return going


def _holds(
    rows: Sequence[FlowRow], entries: Sequence[Entry], parked: Sequence[Parked], readers: Sequence[Position], now: int
) -> Iterable[Hold]:
    for row in rows:
        if row.name and row.verdict is None:
            late = row.deadline is not None and row.deadline <= now
            yield Hold("", f"{row.name} is {'stuck' if late else 'running'}")
    for waiting in parked:
        yield Hold(waiting.reaction, "a dead letter" if waiting.why == "dead" else f"parked, {waiting.why}")
    for reader in readers:
        if any(reader.may_hear(entry.type) and not reader.finished(entry.pos) for entry in entries):
            yield Hold(reader.reaction, "has not come so far")


def _grouped(rows: Iterable[T], flow_of: Callable[[T], int]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for row in rows:
        found.setdefault(flow_of(row), []).append(row)
    return found


async def remove(
    ledger: Ledger, tx: Transaction, retention: Retention, now: int, found: Found
) -> tuple[dict[int, str], int]:
    """Those of the flows that may go are gone with this commit; returns them, and how many events they had."""
    going = await judge(ledger, retention, now, found.going, found.held)
    if not going:
        return {}, 0
    upto = max(began_at(event_id) for event_id in going.values())
    return going, await tx.prune(going, kept=retention.kept, upto=upto, now=now)


class _NothingGoes(Exception):
    """There is nothing to commit."""


async def prune(work: Work, retention: Retention, *, after: int = 0, limit: int = BATCH) -> Found:
    """One batch: what may go among the next events behind `after` is gone, with all that is remembered of it.

    Raises LedgerBusy if somebody else is committing, and nothing is gone then. A crash leaves whole flows.
    """
    now = work.now()
    found = await _step(work.ledger, retention, now, after, limit)
    if not found.going:
        return found
    try:
        async with work.ledger.transaction(work.tokens) as tx:
            going, _ = await remove(work.ledger, tx, retention, now, found)
            forgot = await tx.forget(before(now, retention.keep), limit=limit)
            if not going and not forgot:
                raise _NothingGoes  # noqa: TRY301 - so that nothing is committed
    except _NothingGoes:
        return found._replace(going={})
    work.prunes = tx.prunes
    work.views.forget(going)
    return found._replace(going=going)
