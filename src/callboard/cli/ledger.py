"""`callboard ledger`."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import click

from callboard.cli.asking import Plan, carry_out
from callboard.cli.command import Group, Refusal, meant, option
from callboard.cli.output import counted, masked, say, say_json, shown_duration
from callboard.cli.reading import COUNTED, now, reading
from callboard.cli.settings import json_option, ledger_option, ledger_url
from callboard.errors import LedgerCorrupt
from callboard.ledger import Ledger, Note, Position
from callboard.run import open_ledger


@click.group(cls=Group, name="ledger")
def command() -> None:
    """The ledger: what it holds, and whether it is sound."""


@command.command()
@ledger_option
@json_option
def status(ledger: str | None, *, as_json: bool) -> None:
    """Show what the ledger holds."""
    held = asyncio.run(_status(ledger_url(ledger)))
    if as_json:
        say_json("ledger", held)
        return
    say(f"ledger     {held['url']}")
    say(f"size       {held['bytes'] / 1_000_000:.1f} MB")
    say(f"log        {held['head']:,} events so far" + (f", the newest {held['newest']}" if held["newest"] else ""))
    flows = ", ".join(f"{_count(count)} {name}" for name, count in held["flows"].items() if count)
    say(f"flows      {flows or 'none'}")
    parked = ", ".join(f"{count:,} {why}" for why, count in held["parked"].items())
    say(f"parked     {parked or 'nothing'}")
    say(f"services   {', '.join(held['services']) or 'none yet'}")


def _count(count: int) -> str:
    return f"more than {COUNTED:,}" if count > COUNTED else f"{count:,}"


async def _status(url: str) -> dict[str, Any]:
    async with reading(url) as ledger:
        head, moment = await ledger.head(), now()
        newest = await ledger.read(max(0, head - 1), limit=1)
        flows: dict[str, int] = {}
        for name in ("running", "stuck", "succeeded", "failed", "cancelled"):
            rows = await ledger.list_flows(name=None, status=name, before=None, limit=COUNTED + 1, now=moment)
            flows[name] = len(rows)
        parked = Counter(row.why for row in await ledger.parked())
        services = list(dict.fromkeys(each.reaction.partition(".")[0] for each in await ledger.positions()))
    path = Path(url.removeprefix("sqlite:///"))
    files = [path, path.with_name(f"{path.name}-wal")]
    return {
        "url": masked(url),
        "bytes": sum(each.stat().st_size for each in files if each.is_file()),
        "head": head,
        "newest": f"{shown_duration(moment - newest[0].time)} ago" if newest else None,
        "flows": flows,
        "counted_to": COUNTED,
        "parked": dict(sorted(parked.items())),
        "services": services,
    }


@command.command()
@ledger_option
@json_option
def verify(ledger: str | None, *, as_json: bool) -> int:
    """Look for what is wrong with the database itself. Exit code 1 if something is."""
    faults = asyncio.run(_faults(ledger_url(ledger)))
    if as_json:
        say_json("verify", {"faults": faults, "sound": not faults})
    else:
        for fault in faults:
            say(masked(fault), "failure")
        say(
            f"{counted(len(faults), 'fault')} found: stop its workers, and restore a backup"
            if faults
            else "sound: no fault was found"
        )
    return 1 if faults else 0


async def _faults(url: str) -> list[str]:
    try:
        async with reading(url) as ledger:
            return await ledger.verify()
    except LedgerCorrupt as error:
        return [str(error)]


@command.command()
@click.argument("reaction", metavar="SERVICE.NAME")
@ledger_option
@option("--dry-run", is_flag=True, help="Only say what would be done.")
@option("--yes", "-y", is_flag=True, help="Do not ask. Needed where nobody can be asked.")
def retire(reaction: str, ledger: str | None, *, dry_run: bool, yes: bool) -> int:
    """Give up what a reaction that is gone from the code had still to do.

    Stop the worker of its service first. Each delivery that is given up stays on record in its flow.
    """
    url = ledger_url(ledger)
    position, parked = asyncio.run(_left(url, reaction))
    lines = [f"{reaction}: {counted(len(position.open), 'open delivery')}, {counted(parked, 'parked delivery')}"]
    plan = Plan("retire", [reaction], [line.replace("deliverys", "deliveries") for line in lines])

    async def do() -> list[str | None]:
        opened = open_ledger(url)
        await opened.open((), ())
        try:
            return [await _retire(opened, reaction)]
        finally:
            await opened.close()

    return carry_out(plan, do, dry_run=dry_run, yes=yes)


async def _left(url: str, reaction: str) -> tuple[Position, int]:
    async with reading(url) as ledger:
        positions = {each.reaction: each for each in await ledger.positions()}
        if reaction not in positions:
            raise Refusal(4, f"this ledger knows no reaction {reaction!r}{meant(reaction, list(positions))}")
        return positions[reaction], len(await ledger.parked(reactions=[reaction]))


async def _retire(ledger: Ledger, reaction: str) -> str | None:
    service = reaction.partition(".")[0]
    ownership = await ledger.own(service)
    if ownership is None:
        return f"{service} is owned by {(await ledger.owners())[service]}: stop that worker first"
    try:
        position = next(each for each in await ledger.positions() if each.reaction == reaction)
        rows = await ledger.parked(reactions=[reaction])
        opened = await ledger.entries(position.open)
        notes = [
            Note(row.pos, reaction, row.flow, "retired", f"{row.why}: the reaction is gone", now()) for row in rows
        ]
        notes += [Note(entry.pos, reaction, entry.flow, "retired", "the reaction is gone", now()) for entry in opened]
        async with ledger.transaction({service: ownership.token}) as tx:
            await tx.unpark([(row.reaction, row.pos, row.effect) for row in rows])
            await tx.note(notes)
            await tx.advance([Position(reaction, position.since, position.pos, ())])
    finally:
        await ledger.disown(service, clean=ownership.clean)
    return None
