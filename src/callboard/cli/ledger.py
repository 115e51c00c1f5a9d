"""`callboard ledger`."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, Unpack

import click

from callboard.choreography import Choreography
from callboard.cli.asking import Changing, Plan, carry_out, changing, noted, put_on_record
from callboard.cli.command import Group, Refusal, meant
from callboard.cli.discovery import find_app_if_any
from callboard.cli.output import counted, instant, masked, say, say_json, shown_duration
from callboard.cli.prune import held_lines, survey
from callboard.cli.reading import COUNTED, now, read, writing
from callboard.cli.settings import app_option, json_option, ledger_option, ledger_url
from callboard.errors import LedgerCorrupt
from callboard.ledger import Entry, Ledger, Note, Position, on_record
from callboard.letters import operator


@click.group(
    cls=Group,
    name="ledger",
    elsewhere={
        "prune": ("callboard.cli.prune", "Forget flows that are over and old enough, now."),
        "audit": ("callboard.cli.audit", "Show who did what: replays, edits, cancellations, prunings, and so on."),
    },
)
def command() -> None:
    """The ledger: what it holds, and whether it is sound."""


@command.command()
@app_option
@ledger_option
@json_option
def status(app: str | None, ledger: str | None, *, as_json: bool) -> None:
    """Show what the ledger holds, and what keeps old flows in it."""
    url, choreography = ledger_url(ledger), find_app_if_any(app)
    held = read(url, lambda opened: _status(opened, url, choreography))
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
    pruned = held["retention"]
    say(f"old flows  {pruned['may_go']:,} may go; held back: {', '.join(pruned['held_back']) or 'none'}")


def _count(count: int) -> str:
    return f"more than {COUNTED:,}" if count > COUNTED else f"{count:,}"


async def _status(ledger: Ledger, url: str, choreography: Choreography | None) -> dict[str, Any]:
    found, upto = await survey(ledger, choreography), await ledger.pruned_to()
    head, moment = await ledger.head(), now()
    newest = await ledger.read(max(0, head - 1), limit=1)
    flows: dict[str, int] = {}
    for name in ("running", "stuck", "succeeded", "failed"):
        rows = await ledger.list_flows(name=None, status=name, before=None, limit=COUNTED + 1, now=moment)
        flows[name] = len(rows)
    parked = Counter(row.why for row in await ledger.parked())
    paths = [each.reaction for each in await ledger.positions() if " " not in each.reaction]
    services = list(dict.fromkeys(path.partition(".")[0] for path in paths))
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
        "retention": {
            "pruned_to": instant(upto or None) or None,
            "may_go": len(found.going),
            "held_back": held_lines(found),
            "looked_through": not found.more,
        },
    }


@command.command()
@ledger_option
@json_option
def verify(ledger: str | None, *, as_json: bool) -> int:
    """Look for what is wrong with the database itself. Exit code 1 if something is."""
    faults = _faults(ledger_url(ledger))
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


def _faults(url: str) -> list[str]:
    try:
        return read(url, lambda ledger: ledger.verify())
    except LedgerCorrupt as error:
        return [str(error)]


@command.command()
@click.argument("reaction", metavar="SERVICE.NAME")
@ledger_option
@changing
def retire(reaction: str, ledger: str | None, **how: Unpack[Changing]) -> int:
    """Give up what a reaction that is gone from the code had still to do.

    Stop the worker of its service first. Each delivery that is given up stays on record in its flow.
    """
    url = ledger_url(ledger)
    opened, parked = read(url, lambda ledger: _left(ledger, reaction))
    lines = [f"{reaction}: {counted(len(opened), 'open delivery')}, {counted(parked, 'parked delivery')}"]
    plan = Plan("retire", [reaction], [line.replace("deliverys", "deliveries") for line in lines])

    async def do() -> list[str | None]:
        async with writing(url) as opened:
            return [await _retire(opened, reaction, noted(how, "retire", reaction))]

    return carry_out(plan, do, **how)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@ledger_option
def backup(file: Path, ledger: str | None) -> None:
    """Copy the ledger to FILE while its workers go on. The copy is of one moment, and is looked over for faults."""
    read(ledger_url(ledger), lambda opened: opened.backup(str(file)))
    say(f"{file}: {file.stat().st_size / 1_000_000:.1f} MB, sound")


@command.command(name="migrate")
@ledger_option
def migrate_command(ledger: str | None) -> None:
    """Give a ledger of an older callboard the layout of this one. `callboard run` does it by itself.

    Workers of the older version stop at their next commit, with nothing half done.
    """
    url = ledger_url(ledger)
    if not Path(url.removeprefix("sqlite:///")).is_file():
        raise Refusal(3, f"{masked(url)}: there is no such file")
    asyncio.run(_migrate(url))
    say(f"{masked(url)}: has the layout of this callboard")


async def _migrate(url: str) -> None:
    async with writing(url) as ledger:
        await put_on_record(ledger, on_record("migrate", "the ledger", by=operator(), now=now()))


async def _left(ledger: Ledger, reaction: str) -> tuple[list[Entry], int]:
    positions = {each.reaction: each for each in await ledger.positions() if each.live}
    if reaction not in positions:
        raise Refusal(4, f"this ledger knows no reaction {reaction!r}{meant(reaction, list(positions))}")
    return await _not_come_to(ledger, positions[reaction]), len(await ledger.parked(reactions=[reaction]))


async def _not_come_to(ledger: Ledger, position: Position) -> list[Entry]:
    """What it has begun and not finished, and what it has not come to."""
    found = await ledger.entries([pos for pos in position.open if pos <= position.pos])
    after = position.pos if position.hears is not None else await ledger.head()
    while entries := await ledger.read(after, limit=1000, types=position.hears):
        found += [entry for entry in entries if not position.finished(entry.pos)]
        after = entries[-1].pos
    return found


async def _retire(ledger: Ledger, reaction: str, record: Note) -> str | None:
    service = reaction.partition(".")[0]
    ownership = await ledger.own(service)
    if ownership is None:
        return f"{service} is owned by {(await ledger.owners())[service]}: stop that worker first"
    try:
        position = next(each for each in await ledger.positions() if each.reaction == reaction)
        rows = await ledger.parked(reactions=[reaction])
        opened = await _not_come_to(ledger, position)
        notes = [
            Note(row.pos, reaction, row.flow, "retired", f"{row.why}: the reaction is gone", now()) for row in rows
        ]
        notes += [Note(entry.pos, reaction, entry.flow, "retired", "the reaction is gone", now()) for entry in opened]
        async with ledger.transaction({service: ownership.token}) as tx:
            await tx.unpark([(row.reaction, row.pos, row.effect) for row in rows])
            await tx.note([*notes, record])
            await tx.retire([reaction])
    finally:
        await ledger.disown(service, clean=ownership.clean)
    return None
