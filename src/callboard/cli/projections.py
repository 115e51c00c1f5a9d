"""`callboard projections`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Unpack

import click

from callboard.cli.asking import Changing, Plan, carry_out, changing, noted
from callboard.cli.command import Group, all_of, named, option
from callboard.cli.discovery import find_app
from callboard.cli.output import instant, note, say_json, table
from callboard.cli.reading import now, read, writing
from callboard.cli.settings import Duration, app_option, app_options, json_option, ledger_option, ledger_url
from callboard.errors import LedgerRefusal
from callboard.ledger import Ledger, Note
from callboard.letters import patiently
from callboard.projection import Projection
from callboard.rebuild import COUNTED, drop, keep, places, rebuild, switch

Step = Callable[[Ledger, Projection, Note], Awaitable[None]]


@click.group(cls=Group, name="projections")
def command() -> None:
    """Read models that are folded from the log: how far they are, and how they are made anew."""


@command.command(name="list")
@app_options
@ledger_option
@json_option
def list_command(app_argument: str | None, app: str | None, ledger: str | None, *, as_json: bool) -> None:
    """Show each projection, and what is rebuilt or kept beside it."""
    choreography = find_app(app, app_argument)
    items = read(ledger_url(ledger), lambda opened: _list(opened, list(choreography.projections)))
    if as_json:
        say_json("projections", {"items": items})
        return
    columns = ("name", "form", "position", "lag")
    cells = [(*(str(each[column]) for column in columns), each["stopped"] or "") for each in items]
    table(("PROJECTION", "FORM", "AS OF", "BEHIND", "STANDS STILL"), cells)
    if not items:
        note(f"{choreography.name} has no projection that runs here")


async def _list(ledger: Ledger, names: list[str]) -> list[dict[str, Any]]:
    found = [(name, *each) for name in names for each in (await places(ledger, name)).items()]
    return [
        {
            "name": name,
            "form": {"projection": "live"}.get(form, form),
            "position": position.pos,
            "lag": len(await ledger.read(position.pos, limit=COUNTED, types=position.hears)),
            "stopped": position.by,
            "next_attempt": instant(position.paused) or None,
        }
        for name, form, position in found
    ]


_on_one = all_of(changing, ledger_option, app_option, click.argument("name", metavar="PROJECTION"))


@command.command(name="rebuild")
@_on_one
@option("--from-snapshot", is_flag=True, help="Begin with the rows of its snapshot, and fold what came after it.")
def rebuild_command(*, from_snapshot: bool, **wanted: Any) -> int:
    """Fold PROJECTION anew, beside the live one, which goes on: its worker does that, and `switch` puts it in place.

    Refused where events that the live one has folded were pruned.
    """
    return _do("rebuild", "is folded anew", partial(rebuild, from_snapshot=from_snapshot), **wanted)


@command.command(name="switch")
@_on_one
@option("--wait", "patience", type=Duration(), help="Wait so long for it to come as far as the live one.")
def switch_command(*, patience: timedelta | None, **wanted: Any) -> int:
    """Put what was rebuilt of PROJECTION in place of the live one, in one commit."""

    async def when_ready(ledger: Ledger, projection: Projection, record: Note) -> None:
        limit = now() + round((patience or timedelta()).total_seconds() * 1e6)
        while True:
            try:
                return await switch(ledger, projection, record)
            except LedgerRefusal:
                if now() >= limit or "rebuild" not in await places(ledger, projection.name):
                    raise
            await asyncio.sleep(0.1)

    return _do("switch", "is what was rebuilt", when_ready, **wanted)


@command.command()
@_on_one
def snapshot(**wanted: Any) -> int:
    """Keep the rows of PROJECTION as they are, in place of the snapshot before; a rebuild may begin with them."""
    return _do("snapshot", "is kept", keep, **wanted)


@command.command(name="drop")
@_on_one
def drop_command(**wanted: Any) -> int:
    """Give PROJECTION up: its rows are gone, and it holds no flow back. A worker that has it begins anew."""
    return _do("drop", "is gone", drop, **wanted)


def _do(
    what: str, done: str, step: Step, *, name: str, app: str | None, ledger: str | None, **how: Unpack[Changing]
) -> int:
    projection, url = named(name, find_app(app).projections, "projection"), ledger_url(ledger)
    plan = Plan(what, [name], [name], came={name: done})

    async def do() -> list[str | None]:
        async with writing(url) as opened:
            record = noted(how, what, f"projection {name}")
            try:
                await patiently(lambda: step(opened, projection, record))
            except LedgerRefusal as refusal:
                return [str(refusal)]
        return [None]

    return carry_out(plan, do, **how)
