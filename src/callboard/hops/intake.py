"""Intake: what the broker hands over is written down, each event once, and then acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callboard.hops.abroad import RELAY, intake_of
from callboard.hops.arrivals import Arrivals
from callboard.hops.envelopes import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.broker import Delivery
    from callboard.hops.abroad import Abroad
    from callboard.hops.work import Work
    from callboard.ledger import Parked


async def intake(work: Work, abroad: Abroad, service: str | None, *, limit: int = 256) -> int:
    """What waits for the service is in the log, and acknowledged; None: what others answered to this ledger.

    Returns how much was moved. A crash between the two hands it over again, and then it is only acknowledged: an id is
    written down once. Raises LedgerBusy, LedgerLost or BrokerUnavailable, and then nothing was acknowledged.
    """
    subscription = abroad.address if service is None else abroad.subscription(service)
    deliveries = await abroad.broker.receive(subscription, limit=limit)
    if not deliveries:
        return await _reconsider(work, abroad, service, limit)
    if fresh := [each for each in deliveries if not abroad.comes_back(each.envelope)]:
        await _write(work, abroad, service, fresh, ())
    await abroad.broker.ack(subscription, deliveries)
    return len(deliveries)


async def _write(
    work: Work, abroad: Abroad, service: str | None, deliveries: Sequence[Delivery], rows: Sequence[Parked]
) -> None:
    tokens = {RELAY: abroad.token or 0} if service is None else {service: work.tokens[service]}
    async with work.ledger.transaction(tokens) as tx:
        arrivals = Arrivals(work, abroad, intake_of(service), tx)
        await arrivals.look_up(deliveries)
        for delivery in deliveries:
            await arrivals.take(delivery)
        for row in rows:
            await arrivals.take_again(row)
        await arrivals.write(tx)
    arrivals.hand_on(tx.head)


async def _reconsider(work: Work, abroad: Abroad, service: str | None, limit: int) -> int:
    """What could not be taken in before is tried again where something has changed."""
    path = intake_of(service)
    if path in abroad.idle:
        return 0
    abroad.idle.add(path)  # before it is looked: whoever parks something or wants something meanwhile takes it out
    rows = await work.ledger.parked(reactions=[path], limit=limit)
    if rows:
        abroad.idle.discard(path)
    ready = [row for row in rows if await is_ready(work, row)]
    if ready:
        await _write(work, abroad, service, (), ready)
    return len(ready)


async def is_ready(work: Work, row: Parked) -> bool:
    """Whether what could not be taken in can be now, or has waited as long as it may."""
    if row.asked is not None:
        return (row.due or 0) <= work.now()
    if row.why != "waiting":
        return False
    if row.due is not None and row.due <= work.now():
        return True
    if row.line:  # it waits for one of these flows
        return bool(await work.ledger.flows_by_key(msgspec.json.decode(row.line, type=list[tuple[str, str]])))
    return kind_of(work, row.missing or "") is not None  # it waits for a build that knows it
