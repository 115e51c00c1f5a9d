"""An outcome becomes part of the group: from here on memory is as if it were committed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from callboard.hops.attempt import key_of_row
from callboard.ledger import Memory, Note, shown_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callboard.hops.deliveries import Delivery, Key, Reader
    from callboard.hops.group import Group, Outcome
    from callboard.hops.work import Work
    from callboard.ledger import Parked, Wish


def apply(work: Work, group: Group, outcome: Outcome) -> None:
    """From here on memory is as if the outcome were committed; `unwind` takes it back."""
    delivery = outcome.delivery
    reader = delivery.reader
    # what no run has emitted is committed first: it may set off what ends the worker, before any attempt is counted
    group.fused = group.fused and (outcome.attempt is not None or not outcome.entries)
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
        if (wish := delivery.wish) is not None:
            _answer(work, group, outcome, wish)
    for owner, row in outcome.drops:
        work.drop_row(owner, (row.pos, row.effect))
        _drop_active(work, delivery, owner, row)
    for owner, row in outcome.parks:
        work.add_row(owner, row)
    group.outcomes.append(outcome)
    group.touched.add(reader)
    group.keys.update(delivery.keys)
    if outcome.done:
        release(work, delivery)


def _answer(work: Work, group: Group, outcome: Outcome, wish: Wish) -> None:
    """What came of a replay is written down. One that failed again stops those of its batch that are not begun."""
    delivery = outcome.delivery
    if any(note.what == "not replayed" for note in outcome.notes):
        return
    path, flow = delivery.reader.path, delivery.entry.flow
    back = next((row.why for _, row in outcome.parks if (row.pos, row.effect) == delivery.row), None)
    emitted = Counter(entry.type.removeprefix("callboard.") for entry in outcome.entries)
    names = ", ".join(name if count == 1 else f"{count} {name}" for name, count in emitted.items())
    skips = [note.why for note in outcome.notes if note.what == "skipped"]
    came = f"skipped, {skips[0]}" if skips else f"done, emitted {names or 'nothing'}"
    if back is not None:
        came = "failed again" if back == "dead" else f"it goes on by itself now: {back}"
    why = f"{came}; asked by {wish.by}{shown_batch(wish.batch)}"
    outcome.notes.append(Note(delivery.entry.pos, path, flow, "replayed", why, group.now))
    if back == "dead" and wish.batch:
        place = "" if wish.stops == "batch" else f"{path} {delivery.line}"
        outcome.memories.append(Memory(0, "stopped", wish.batch, place, delivery.entry.pos))
        work.stops.add((wish.batch, place))


def _drop_active(work: Work, delivery: Delivery, owner: Reader, row: Parked) -> None:
    """A row that was superseded while its delivery stood in line: whoever stood behind it has its turn."""
    active = work.active.pop((owner.path, (row.pos, row.effect)), None)
    if active is not None and active is not delivery and active.standing:
        work.ready.extend(work.holds.leave(active))


def release(work: Work, delivery: Delivery) -> None:
    """The delivery is open no more: whoever stood behind it has its turn."""
    reader = delivery.reader
    if reader.open.get(delivery.entry.pos) is delivery:
        del reader.open[delivery.entry.pos]
        reader.done.add(delivery.entry.pos)
        work.wake_follower(reader, delivery.line)
    if work.active.get((reader.path, delivery.row)) is delivery:
        del work.active[reader.path, delivery.row]
    service = reader.contract.service
    if work.alone.get(service) is delivery:
        del work.alone[service]
    if work.trial is delivery:
        work.trial = None
    if delivery.standing:
        work.ready.extend(work.holds.leave(delivery))


def rows_held(delivery: Delivery, given: dict[str, Any]) -> Iterable[Key]:
    contract = delivery.reader.contract
    for parameter in delivery.reader.named_rows:
        key = key_of_row(parameter.state.key, contract, given)
        if key is not None:
            yield ("row", parameter.state.name, str(key))


def uncommitted(work: Work, group: Group, keys: Iterable[Key]) -> bool:
    """Whether the group has used one of these: what it left there is not committed."""
    return any(key in group.keys or (key[0] == "row" and (key[1], key[2]) in work.rows.overlay) for key in keys)


def put_off(work: Work, delivery: Delivery) -> None:
    """It keeps its place and is looked at again when this group is committed."""
    if not delivery.standing:
        work.holds.join(delivery, delivery.keys)
    work.later.append(delivery)
