"""What is new in the log is handed to the reactions that hear it, in the order of the log."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from callboard.hops.applying import apply
from callboard.hops.deliveries import Delivery
from callboard.hops.outcomes import failed
from callboard.hops.plain import LongWay
from callboard.hops.plain import run as run_plain
from callboard.hops.turns import address, consider, consider_all, is_unknown, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.hops.deliveries import Reader
    from callboard.hops.group import Group
    from callboard.hops.plain import Plan, Turn
    from callboard.hops.work import Work
    from callboard.ledger import Entry

PAGE = 512  # entries handed out in one round


async def reopen(work: Work, group: Group) -> list[Delivery]:
    """Deliveries that the process before this one had begun and not finished are open; those, in log order."""
    left = work.reopen
    if not left:
        return []
    entries = {entry.pos: entry for entry in await work.ledger.entries({pos for _, pos in left})}
    work.reopen = []
    opened: list[Delivery] = []
    for reader, pos in left:
        if pos in entries and pos not in reader.open:
            delivery = reader.open[pos] = Delivery(reader, entries[pos])
            delivery.suspect = work.suspects > 0
            group.touched.add(reader)
            opened.append(delivery)
    return sorted(opened)


async def hand_out(work: Work, group: Group) -> None:
    if not work.readers and work.watcher is None:
        work.read = work.head  # a process that only publishes and reads has nobody to hand anything to
        work.fresh.clear()
    if not work.fresh and work.read < work.head:
        work.fresh.extend(await work.ledger.read(work.read, limit=PAGE))
        if not work.fresh:  # the rest of the numbers belongs to nobody
            work.read = work.head
    entries: list[Entry] = []
    while work.fresh and len(entries) < PAGE and work.fresh[0].pos <= group.head:
        entries.append(work.fresh.popleft())
    if entries:
        await dispatch(work, group, entries)


async def dispatch(work: Work, group: Group, entries: Sequence[Entry]) -> None:
    """Every reaction of this process that hears one of these has run, or has a delivery, in log order."""
    await _learn_hearers(work, entries)
    if work.looks_back:
        is_all = entries[-1].pos >= group.head  # nothing is left to be read of a flow that begins here
        for entry in entries:
            _see(work, entry, is_all=is_all)
    turns = _turns(work, group, entries)
    work.read = entries[-1].pos
    work.suspects -= len(entries)
    group.seen.extend(entries)
    if opened := [turn[2] for turn in turns if turn[2] is not None]:
        await prepare(work, opened)
    places = {place for turn in turns for place in turn[4]}
    await work.rows.fetch(places)
    group.looked |= places
    group.touched.update([turn[0] for turn in turns])
    for turn in turns:
        if turn[2] is not None:
            await consider(work, group, turn[2])
        elif not _ran(work, group, turn) and (delivery := _open(work, group, turn[0], turn[1])) is not None:
            await consider_all(work, group, [delivery])


def _turns(work: Work, group: Group, entries: Sequence[Entry]) -> list[Turn]:
    turns: list[Turn] = []
    hearers: dict[str, list[tuple[Reader, Plan | None]]] = {}
    for entry in entries:
        heard = hearers.get(entry.type)
        if heard is None:
            heard = [(reader, _short_way(work, reader)) for reader in work.heard_by(entry)]
            if not entry.type.startswith("callboard."):  # else it is not the type alone that says who hears it
                hearers[entry.type] = heard
        for reader, plan in heard:
            if plan is not None and entry.pos > reader.pos:
                value = entry.value if entry.value is not None else work.readable(entry)
                places = [(name, str(key_of(value))) for name, key_of in plan.places] if value is not None else ()
                turns.append((reader, entry, None, value, places))
            elif (delivery := _open(work, group, reader, entry)) is not None:
                turns.append((reader, entry, delivery, None, ()))
    return turns


def _short_way(work: Work, reader: Reader) -> Plan | None:
    """The plan of a reaction that nothing keeps from the short way; asked before rows are fetched."""
    in_hand = reader.open or reader.done or reader.lag is not None or work.suspects > 0
    return None if in_hand else reader.plan


async def _learn_hearers(work: Work, entries: Sequence[Entry]) -> None:
    """Types that this build does not know may be heard, in a newer build, by reactions that this process owns."""
    unknown = {entry.type for entry in entries if entry.type not in work.types and is_unknown(work, entry.type)}
    for kind, paths in (await work.ledger.hearers(unknown)).items() if unknown else ():
        work.routes[kind] = [work.readers[path] for path in paths if path in work.readers]


def _see(work: Work, entry: Entry, *, is_all: bool) -> None:
    view = work.views.get(entry.flow)
    is_new = entry.pos == entry.flow and entry.pos > work.start_head  # nobody before us remembered anything of it
    if view is None and is_new and is_all:
        view = work.views.begin(entry.flow)
    if view is not None:
        view.add(entry)


def _ran(work: Work, group: Group, turn: Turn) -> bool:
    """Run it the short way. False if something stands in its way: nothing was done then."""
    reader, entry, _, value, _ = turn
    if reader.plan is None or value is None or reader.open:
        return False
    if (reader.blocked or work.alone or work.holds.lists) and _is_in_the_way(work, turn):
        return False
    try:
        run_plain(work, group, reader.plan, turn)
    except LongWay:
        return False
    except (Exception, CancelledError) as error:
        return _raised(work, group, reader, entry, error)
    return True


def _is_in_the_way(work: Work, turn: Turn) -> bool:
    """Whether its line is blocked, or its service or a row of it is somebody's."""
    reader, entry, _, _, places = turn
    line = str(entry.flow) if entry.key is None else f"={entry.key}"
    if line in reader.blocked or reader.contract.service in work.alone:
        return True
    return not work.holds.free(tuple(("row", *place) for place in places))


def _raised(work: Work, group: Group, reader: Reader, entry: Entry, error: BaseException) -> bool:
    delivery = _open(work, group, reader, entry)
    if delivery is None:
        return True
    address(work, delivery)
    delivery.attempts = 1
    apply(work, group, failed(work, delivery, error, group.now))
    return True


def _open(work: Work, group: Group, reader: Reader, entry: Entry) -> Delivery | None:
    """A delivery of this entry; None if the reaction had it before, or has fallen behind."""
    if entry.pos <= reader.pos or entry.pos in reader.open or entry.pos in reader.done or reader.lag is not None:
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


async def catch_up(work: Work, group: Group) -> None:
    """Reactions that fell behind read what they missed from the log."""
    for reader in work.readers.values():
        if reader.lag is None or len(reader.open) * 2 >= reader.most:
            continue
        kinds = work.kinds_of(reader)
        entries = await work.ledger.read(reader.lag, limit=reader.most // 2, types=kinds)
        entries = [entry for entry in entries if entry.pos <= min(work.read, group.head)]
        lag, reader.lag = reader.lag, None
        opened = [
            d
            for entry in entries
            if reader in work.heard_by(entry)
            if (d := _open(work, group, reader, entry)) is not None
        ]
        if len(entries) >= reader.most // 2:
            reader.lag = entries[-1].pos
        group.caught.append((reader, lag))
        group.touched.add(reader)
        await consider_all(work, group, opened)
