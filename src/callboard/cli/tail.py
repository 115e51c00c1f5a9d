"""Following the log."""

import asyncio
import json
from datetime import timedelta

import click

from callboard.choreography import Choreography
from callboard.cli.output import instant, say
from callboard.cli.reading import find_flow, name_of, now, reading
from callboard.cli.story import cloud_event, shown_type
from callboard.hops.abroad import address_of
from callboard.ledger import Entry, FlowRow, Ledger

_LOOK = 0.1  # seconds between two looks at the ledger
_PAGE = 500
_LOOK_BACK = 20  # positions that may hold one event of a flow


async def follow(
    url: str,
    target: str | None,
    choreography: Choreography | None,
    *,
    lines: int,
    duration: timedelta | None,
    as_json: bool,
) -> None:
    """Print events as they are committed, until the time is over or the flow has its verdict."""
    limit = None if duration is None else now() + round(duration.total_seconds() * 1_000_000)
    async with reading(url) as ledger:
        flow = None if target is None else await find_flow(ledger, target, choreography)
        known: dict[int, str] = {}
        address = address_of(await ledger.identity())
        upto = await ledger.head()
        for entry in await _back(ledger, flow, upto, lines):
            await _print(ledger, entry, known, address, as_json=as_json)
        while True:
            over = await _is_over(ledger, flow) or (limit is not None and now() >= limit)
            entries = await ledger.read(upto, limit=_PAGE)
            for entry in entries:
                if flow is None or entry.flow == flow.number:
                    await _print(ledger, entry, known, address, as_json=as_json)
            if entries:
                upto = entries[-1].pos
            elif over:
                return
            else:
                await asyncio.sleep(_LOOK)


async def _back(ledger: Ledger, flow: FlowRow | None, head: int, lines: int) -> list[Entry]:
    """The last `lines` events, of the flow or of all."""
    if lines == 0:
        return []
    if flow is not None:
        return [entry for entry in await ledger.flow_entries([flow.number]) if entry.pos <= head][-lines:]
    entries: list[Entry] = []
    reach = lines
    while len(entries) < lines and reach < head + _LOOK_BACK * lines:  # positions may have gaps where flows were pruned
        entries = await ledger.read(max(0, head - reach), limit=reach)
        reach *= _LOOK_BACK
    return [entry for entry in entries if entry.pos <= head][-lines:]


async def _is_over(ledger: Ledger, flow: FlowRow | None) -> bool:
    if flow is None:
        return False
    rows = await ledger.flows_by_number([flow.number])
    return all(row.verdict is not None for row in rows if row.name == flow.name)


async def _print(ledger: Ledger, entry: Entry, known: dict[int, str], address: str, *, as_json: bool) -> None:
    if entry.flow not in known:
        rows = [row for row in await ledger.flows_by_number([entry.flow]) if row.name]
        known[entry.flow] = name_of(rows[0]) if rows else (entry.key or entry.id[:26])
        if len(known) > 10_000:  # the oldest is looked up again if need be
            known.pop(next(iter(known)))
    if as_json:
        causes = await ledger.entries([entry.cause]) if entry.cause else []
        members = cloud_event(entry, address, entry.causation_id or next((each.id for each in causes), None))
        line = {"schema": "callboard.event/v1", **members, "flow": known[entry.flow], "position": entry.pos}
        click.echo(json.dumps(line, ensure_ascii=False))
        return
    moment = instant(entry.time)[11:-1]
    say(f"{moment}  {known[entry.flow]:<24}  {shown_type(entry):<32}  {entry.by or 'from outside'}")
