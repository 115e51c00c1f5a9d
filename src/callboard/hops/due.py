"""What was parked and is due: retries, timers, waits that are over, and what operators asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.hops.applying import apply
from callboard.hops.deliveries import Delivery
from callboard.hops.group import Group, Outcome
from callboard.hops.outcomes import refused, skipped
from callboard.hops.turns import consider_all, is_due, prepare
from callboard.hops.work import TIMER
from callboard.ids import child
from callboard.ledger import Entry, shown_batch

if TYPE_CHECKING:
    from callboard.hops.deliveries import Reader
    from callboard.hops.work import Work
    from callboard.ledger import Parked


def _may_go(row: Parked, now: int) -> bool:
    """Whether a row that was woken has something to do now: no back-off is cut short, no dead letter runs unasked."""
    if row.asked is not None:
        return is_due(row.due or 0, now)
    if row.why in ("running", "behind", "waiting"):
        return True
    return row.why != "dead" and is_due(row.due, now)


async def _over(work: Work, rows: list[tuple[Reader, Parked]]) -> set[int]:
    """Flows with their verdict, of those in which a replay was asked for; and afterwards it is known what was stopped.

    Decided here, by the owner: the verdict, or the failure of another replay, may have come after the wish.
    """
    flows = {row.flow for _, row in rows if row.asked is not None and row.why == "dead"}
    if not flows:
        return flows
    work.stops |= {(each.name, each.part) for each in await work.ledger.memories([0]) if each.kind == "stopped"}
    told = await work.ledger.flows_by_number(flows)
    return {row.number for row in told} - {row.number for row in told if row.verdict is None}


async def take_due(work: Work, group: Group) -> None:
    rows = work.due_now
    work.due_now = []
    rows += work.agenda.due(group.now)
    rows = [
        (reader, row)
        for reader, row in rows
        if reader.rows.get((row.pos, row.effect)) is row and _may_go(row, group.now)
    ]
    once = {(reader.path, (row.pos, row.effect)): (reader, row) for reader, row in rows}  # woken twice, taken once
    rows = [pair for place, pair in once.items() if place not in work.active]
    if not rows:
        return
    group.taken.extend(rows)
    begun = {outcome.delivery.entry.flow for outcome in group.outcomes}
    work.views.forget(
        {row.flow for reader, row in rows if reader.pair is not None} - begun
    )  # an ask may not be noticed yet
    entries = {entry.pos: entry for entry in await work.ledger.entries({row.pos for _, row in rows})}
    over = await _over(work, rows)
    woken: list[Delivery] = []
    for reader, row in sorted(rows, key=lambda pair: (pair[1].pos, pair[0].order)):
        if row.pos not in entries:
            continue
        delivery = Delivery(reader, entries[row.pos], row)
        delivery.suspect = row.why == "running"  # when the process before this one died
        if row.why == "timer" and row.asked is None:
            _fire(work, group, delivery)
        elif row.asked is not None and row.asked.what == "discard":
            await prepare(work, [delivery])
            _apply_direct(
                work,
                group,
                skipped(work, delivery, f"discarded by {row.asked.by}{shown_batch(row.asked.batch)}", group.now),
            )
        elif row.asked is not None and row.why == "dead" and row.flow in over and not row.asked.late:
            _apply_direct(work, group, refused(delivery, "its flow has its verdict", group.now))
        elif row.why in ("waiting", "half") and is_due(row.due, group.now) and not work.caught_up:
            work.due_now.append((reader, row))  # what was in the log at that moment is read first
        else:
            woken.append(delivery)
            work.active[reader.path, delivery.row] = delivery
    await consider_all(work, group, woken)


def _apply_direct(work: Work, group: Group, outcome: Outcome) -> None:
    """What is decided of a parked row without making it run."""
    outcome.direct = True
    apply(work, group, outcome)


def _fire(work: Work, group: Group, delivery: Delivery) -> None:
    """The timer's moment has come: it enters the log like an event for its reaction alone, so it has a place in the
    order.
    """
    row = delivery.parked
    assert row is not None
    if not work.caught_up:
        work.due_now.append((delivery.reader, row))  # what was in the log at that moment is read first
        return
    outcome = Outcome(delivery)
    armed = delivery.entry
    fired = Entry(
        0, child(armed.id, delivery.reader.tag, 0, ("timer",)), f"{TIMER}{delivery.reader.path}]",
        armed.flow, group.now, b"null",
        armed.key, armed.pos, delivery.reader.path, armed.scatters,
    )  # fmt: skip
    outcome.entries.append(fired)
    _apply_direct(work, group, outcome)
