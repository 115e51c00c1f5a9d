"""`callboard ledger audit`."""

import asyncio
from datetime import timedelta

import click

from callboard.cli.command import Command, option
from callboard.cli.output import instant, note, say_json, shown_moment, table
from callboard.cli.reading import now, reading
from callboard.cli.settings import Duration, json_option, ledger_option, ledger_url
from callboard.ledger import Note


@click.command(cls=Command, name="audit")
@ledger_option
@option("--since", type=Duration(), help="Only the last 7d, 2h, ...; else all that was ever done.")
@json_option
def command(ledger: str | None, since: timedelta | None, *, as_json: bool) -> None:
    """Show who did what with this ledger, when and why; the newest last. It is kept when flows are forgotten."""
    notes = asyncio.run(_record(ledger_url(ledger), since))
    rows = [(each, *each.why.partition("\n")[::2]) for each in notes]
    if as_json:
        items = [
            {"time": instant(each.time), "by": by, "what": each.what, "about": each.reaction, "note": why}
            for each, by, why in rows
        ]
        say_json("audit", {"items": items})
        return
    cells = [(shown_moment(each.time), by, each.what, each.reaction, why) for each, by, why in rows]
    table(("WHEN (UTC)", "WHO", "DID", "WITH", "WHY"), cells)
    if not rows:
        note("nothing was done by an operator" + (" in that time" if since else ""))


async def _record(url: str, since: timedelta | None) -> list[Note]:
    earliest = 0 if since is None else now() - round(since.total_seconds() * 1e6)
    async with reading(url) as ledger:
        return [each for each in await ledger.notes(0) if each.pos == 0 and each.time >= earliest]
