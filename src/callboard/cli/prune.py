"""`callboard ledger prune`."""

import asyncio
from random import Random
from typing import Unpack

import click

from callboard.choreography import Choreography
from callboard.cli.asking import Changing, Plan, carry_out, changing, noted
from callboard.cli.command import Command
from callboard.cli.discovery import find_app
from callboard.cli.output import counted
from callboard.cli.reading import now, read, writing
from callboard.cli.settings import app_options, duration, keep_option, ledger_option, ledger_url
from callboard.errors import LedgerBusy
from callboard.hops.retention import DEFAULT_KEEP, Found, Retention, look, look_through, remove
from callboard.ledger import Ledger, Note


@click.command(cls=Command, name="prune")
@app_options
@ledger_option
@keep_option
@changing
def command(
    app_argument: str | None, app: str | None, ledger: str | None, keep: str | None, **how: Unpack[Changing]
) -> int:
    """Forget flows that are over and old enough, now. Workers do it by themselves, and go on meanwhile.

    APP says which flows are kept longer, and which events for ever.
    """
    choreography, url = find_app(app, app_argument), ledger_url(ledger)
    retention = Retention(choreography, duration("keep", keep))
    found = read(url, lambda opened: look_through(opened, retention, now()))
    held = [f"held back: {line}" for line in held_lines(found)]
    plan = Plan("prune", [choreography.name], [f"{counted(len(found.going), 'flow')}", *held])

    async def do() -> list[str | None]:
        async with writing(url) as opened:
            flows, events = await _prune(opened, retention, noted(how, "prune", choreography.name))
        plan.came[choreography.name] = f"{counted(flows, 'flow')} with {counted(events, 'event')} gone"
        return [None]

    return carry_out(plan, do, **how)


def held_lines(found: Found) -> list[str]:
    """What holds flows back that are old enough, the most first."""
    return [
        f"{counted(count, 'flow')}: {hold.reaction + ', ' if hold.reaction else ''}{hold.why}"
        for hold, count in found.held.most_common()
    ]


async def survey(ledger: Ledger, choreography: Choreography | None) -> Found:
    """What may go by the usual time, and what holds back the rest."""
    return await look_through(ledger, Retention(choreography, DEFAULT_KEEP), now(), steps=50)


async def _prune(ledger: Ledger, retention: Retention, record: Note) -> tuple[int, int]:
    flows = events = after = 0
    chance = Random()  # noqa: S311 - spreads the next tries
    while True:
        found = await look(ledger, retention, now(), after=after)
        try:
            async with ledger.transaction({}) as tx:
                gone, count = await remove(ledger, tx, retention, now(), found)
                await tx.note([record] if after == 0 else [])
        except LedgerBusy:
            await asyncio.sleep(chance.uniform(0.001, 0.01))
            continue
        flows, events, after = flows + len(gone), events + count, found.looked
        if not found.more:
            return flows, events
