"""`callboard ledger audit`."""

from datetime import timedelta

import click

from callboard.cli.command import Command, option
from callboard.cli.output import instant, note, say_json, shown_moment, table
from callboard.cli.reading import now, read
from callboard.cli.settings import Duration, json_option, ledger_option, ledger_url


@click.command(cls=Command, name="audit")
@ledger_option
@option("--since", type=Duration(), help="Only the last 7d, 2h, ...; else all that was ever done.")
@json_option
def command(ledger: str | None, since: timedelta | None, *, as_json: bool) -> None:
    """Show who did what with this ledger, when and why; the newest last. It is kept when flows are forgotten."""
    notes = read(ledger_url(ledger), lambda opened: opened.notes(0))
    earliest = 0 if since is None else now() - round(since.total_seconds() * 1e6)
    record = [each for each in notes if each.pos == 0 and each.time >= earliest]
    rows = [(each, *each.why.partition("\n")[::2]) for each in record]
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
