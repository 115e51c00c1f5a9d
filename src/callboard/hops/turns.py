"""Whose turn it is: the order of lines, rows, pairs and `once` groups, and then the gate."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.errors import CodecError
from callboard.hops.answers import BY
from callboard.hops.applying import apply, put_off, release, rows_held, uncommitted
from callboard.hops.gate import Arm, Dead, Ready, Seen, Skip, Wait, decide, entries_of
from callboard.hops.limits import BEHIND
from callboard.hops.outcomes import dead, failed, micros, parked, refused, skipped, wait_for
from callboard.hops.running import begin_run
from callboard.hops.work import TIMER
from callboard.ids import child
from callboard.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callboard.hops.deliveries import Delivery, Key
    from callboard.hops.group import Group, Outcome
    from callboard.hops.work import Work

_ANSWER = timedelta(minutes=10)  # that another ledger has to say that a flow has its verdict


async def prepare(work: Work, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Afterwards each delivery knows its event, line and keys, and what it needs is in memory."""
    fetch: list[Delivery] = []
    arming = [d.entry.cause for d in deliveries if d.entry.type.startswith(TIMER) and d.trigger is d.entry]
    armed = {entry.pos: entry for entry in await work.ledger.entries(arming)} if arming else {}
    for delivery in deliveries:
        if delivery.entry.type.startswith(TIMER):
            delivery.trigger = armed.get(delivery.entry.cause, delivery.trigger)
        fetch.append(delivery)
    flows = {d.entry.flow for d in fetch if d.reader.watches}
    if flows:
        missing = await work.views.fetch(flows, work.group.head if work.group else work.head)
        if missing and work.group:
            _add_uncommitted(work, work.group, missing)
    for delivery in fetch:
        _edit(delivery)
        if not delivery.line:
            address(work, delivery)
    await work.rows.fetch(_row_keys(fetch))
    return fetch


def _add_uncommitted(work: Work, group: Group, flows: set[int]) -> None:
    """What the group has done in these flows so far belongs to their views too."""
    for entry in group.entries:
        if entry.flow in flows:
            work.views[entry.flow].add(entry)
    for outcome in group.outcomes:
        for memory in outcome.memories:
            if memory.flow in flows:
                work.views[memory.flow].memories.append(memory)


def _edit(delivery: Delivery) -> None:
    """An operator has edited the payload: this reaction is given the edited one, and nobody else."""
    data = delivery.parked.data if delivery.parked is not None else None
    if data is None or data == delivery.trigger.data:
        return
    edited = replace(delivery.trigger, data=data, value=None)
    if delivery.entry is delivery.trigger:
        delivery.entry = edited
    delivery.trigger, delivery.logged = edited, delivery.trigger


def _row_keys(deliveries: Iterable[Delivery]) -> Iterable[tuple[str, str]]:
    for delivery in deliveries:
        for key in delivery.keys:
            if key[0] == "row":
                yield key[1], key[2]


def address(work: Work, delivery: Delivery) -> None:
    """Its line, its part, and the keys it holds while it is open."""
    reader, entry = delivery.reader, delivery.trigger
    contract, options = reader.contract, reader.contract.options
    try:
        delivery.value = work.value(entry) if options.per or reader.named_rows or options.wait else None
        delivery.part = work.world.part(entry, options.per)
        rows = tuple(rows_held(delivery, {contract.triggers[0].name: delivery.value} if contract.triggers else {}))
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
    if (wish := delivery.wish) is not None and wish.stops == "batch":
        keys.append(("batch", wish.batch))  # one at a time: what fails stops the rest
    delivery.keys = tuple(keys)


async def consider_all(work: Work, group: Group, deliveries: Sequence[Delivery]) -> None:
    if not deliveries:
        return
    for delivery in await prepare(work, deliveries):
        await consider(work, group, delivery)


async def consider(work: Work, group: Group, delivery: Delivery) -> None:
    """Run it, park it, skip it, or leave it in line: whatever its turn, its order and its gate allow now."""
    reader = delivery.reader
    if delivery.running or _is_gone(work, delivery):
        return
    if delivery.standing and reader in group.hot:
        work.later.append(delivery)
        return
    if _behind(work, delivery):
        _set_behind(work, group, delivery)
        return
    if not _its_turn(work, group, delivery) or _is_stopped(work, group, delivery):
        return
    if _comes_later(work, group, delivery) or _must_wait(work, delivery):
        put_off(work, delivery)
        return
    decision = _decide(work, group, delivery)
    if isinstance(decision, Ready):
        await begin_run(work, group, delivery, decision)
    elif isinstance(decision, Wait) and not decision.came and _is_over(delivery, group.now):
        apply(work, group, await _never_came(work, group, delivery))
    elif _still_waits(delivery, decision, group.now):
        release(work, delivery)  # its row stays as it is
    else:
        apply(work, group, _without_run(work, group, delivery, decision))


def is_due(when: int | None, now: int) -> bool:
    return when is not None and when <= now


def _is_over(delivery: Delivery, now: int) -> bool:
    """Whether it has waited as long as it may."""
    row = delivery.parked
    return row is not None and row.why in ("waiting", "half") and row.asked is None and is_due(row.due, now)


async def _never_came(work: Work, group: Group, delivery: Delivery) -> Outcome:
    """The wait is over: a dead letter that says what is missing, or nothing if the flow has its verdict.

    Where the flow is kept in another ledger, that is asked first.
    """
    row = delivery.parked
    assert row is not None
    flows = await work.ledger.flows_by_number([row.flow])
    fresh = row.attempts == 0 and not row.for_newer_build  # it has not acted, and waits for no other build
    if fresh and flows and all(flow.verdict is not None for flow in flows):
        return skipped(work, delivery, "no longer needed", group.now)
    if fresh and work.abroad is not None and not any(flow.name for flow in flows):
        asked = [_question(delivery, kind, group.now) for kind in sorted(work.abroad.questions())]
        known = {entry.id for entry in work.views[row.flow].entries}
        if any(entry.id not in known for entry in asked):
            outcome = parked(delivery, row.why, due=group.now + micros(_ANSWER), missing=row.missing)
            outcome.entries = [entry for entry in asked if entry.id not in known]
            return outcome
    return dead(work, delivery, f"never came: {row.missing}", group.now, effect=row.effect)


def _question(delivery: Delivery, kind: str, now: int) -> Entry:
    trigger = delivery.trigger
    event_id = child(trigger.id, delivery.reader.tag, 0, (kind,))
    return Entry(0, event_id, kind, trigger.flow, now, b"{}", None, trigger.pos, BY)


def _comes_later(work: Work, group: Group, delivery: Delivery) -> bool:
    """Whether something must be committed, or read, before it runs."""
    reader, pos = delivery.reader, delivery.entry.pos
    if reader.pair is not None and not _pair_is_read(work, reader.pair, pos):
        return True
    if reader.after_commit and (pos > group.head or reader in group.hot or uncommitted(work, group, delivery.keys)):
        return True
    return delivery.announced and delivery.announced_in == work.groups


def _still_waits(delivery: Delivery, decision: Any, now: int) -> bool:
    """Whether it is parked already, for just what it still waits for."""
    row = delivery.parked
    if not isinstance(decision, Wait) or row is None or row.why not in ("waiting", "half"):
        return False
    return row.missing == decision.missing or is_due(row.due, now)


def _must_wait(work: Work, delivery: Delivery) -> bool:
    """Whether a limit, a run that must be alone, or a trial of what may have killed the process keeps it back."""
    reader = delivery.reader
    if reader.limit is not None and reader.running >= reader.limit:
        return True
    if work.guards.keep_back(reader.contract, work.time):
        return True
    alone = work.alone.get(reader.contract.service)
    if alone is not None and alone < delivery:  # what comes before it may stand in its way, and goes first
        return True
    if alone is delivery and any(a.delivery.reader.contract.service == reader.contract.service for a in work.running):
        return True
    if delivery.suspect:
        if work.trial is not None and (work.trial.running or work.trial < delivery):
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
    pos = delivery.entry.pos  # effects of one delivery do not stand behind each other
    if not line or line[0][0] >= pos:
        return False
    for row in line:
        if row[0] >= pos:
            return False
        parked = delivery.reader.rows[row]
        lifted = parked.why == "waiting" and delivery.entry.type in (parked.missing or "").replace(",", " ").split()
        if not lifted and (delivery.reader.path, row) not in work.active:
            return True
    return False


def _set_behind(work: Work, group: Group, delivery: Delivery) -> None:
    if delivery.parked is not None and delivery.parked.why == "behind":
        release(work, delivery)  # its row stays as it is
        return
    line = [delivery.reader.rows[row] for row in delivery.reader.blocked[delivery.line][: BEHIND + 1]]
    if len(line) > BEHIND and line[0].why == "dead":
        first = f"{delivery.reader.path}@{line[0].pos}"
        why = f"{BEHIND:,} wait behind the dead letter {first} of its line, which is the limit"
        apply(work, group, dead(work, delivery, why, group.now, effect=delivery.row[1]))
        return
    apply(work, group, parked(delivery, "behind", effect=delivery.row[1]))


def _its_turn(work: Work, group: Group, delivery: Delivery) -> bool:
    """Whether it is first for each of its keys; if not it stands in line, or is parked where it takes the place of
    others.
    """
    if not delivery.standing:
        if work.holds.free(delivery.keys):
            return True
        work.holds.join(delivery, delivery.keys)
    if work.holds.first(delivery):
        return True
    if _crowds(work, delivery):
        apply(work, group, parked(delivery, "behind"))
    return False


def _crowds(work: Work, delivery: Delivery) -> bool:
    """Whether it takes a place from other lines, which have few left, to stand behind another of its own."""
    reader = delivery.reader
    scarce = len(reader.open) * 2 > reader.most and reader.outside and reader.pair is None
    return scarce and delivery.parked is None and work.holds.follows(delivery, delivery.keys[0])


def _pair_is_read(work: Work, pair: str, pos: int) -> bool:
    """Whether nothing of a reaction or its compensations can stand unread below `pos`: it would have to go first."""
    places = (max(r.pos, work.read if r.lag is None else r.lag) for r in work.world.pairs[pair])
    return all(place >= pos for place in places)


def _is_stopped(work: Work, group: Group, delivery: Delivery) -> bool:
    """Whether another replay of its batch has failed again: then it is the dead letter that it was."""
    wish = delivery.wish
    if wish is None or delivery.announced or not work.is_stopped(delivery, wish):
        return False
    apply(work, group, refused(delivery, "another replay of its batch failed", group.now))
    return True


def is_unknown(work: Work, kind: str) -> bool:
    """Whether only a newer build than this one knows the type."""
    return kind not in work.types and not kind.startswith("callboard.")


def _decide(work: Work, group: Group, delivery: Delivery) -> Any:
    reader = delivery.reader
    try:
        if is_unknown(work, delivery.trigger.type):
            return Wait(f"a build that knows {delivery.trigger.type}: unknown type, newer build?")
        if not reader.watches and not reader.contract.options.wait:
            return Ready({reader.contract.triggers[0].name: delivery.trigger})
        if delivery.value is None:
            delivery.value = work.value(delivery.trigger)
        upto = group.head if reader.after_commit else group.head + len(group.entries)
        view = work.views[delivery.entry.flow] if reader.watches else work.no_view
        decision = decide(delivery, Seen(view, upto, work.world), group.now)
        group.ahead = group.ahead or (isinstance(decision, Ready) and _builds_on(decision, group.head))
        return decision
    except Exception as error:
        return error


def _builds_on(ready: Ready, head: int) -> bool:
    """Whether a run works on events behind `head`: what it leaves names their places, so they cannot move any more."""
    if any(pos > head for pos in ready.effects or ()):
        return True
    return any(entry.pos > head for entry in entries_of(ready.inputs))


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
