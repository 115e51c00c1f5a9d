"""`callboard diff`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from callboard.cli.command import Command, option
from callboard.cli.output import PROPERTY, counted, escaped, say, say_json
from callboard.cli.revisions import contracts
from callboard.cli.settings import app_option

if TYPE_CHECKING:
    from callboard.contracts.difference import Change
    from callboard.contracts.rolling import Upgrade


@click.command(cls=Command, name="diff")
@click.argument("before", metavar="BASE")
@click.argument("after", metavar="[HEAD]", required=False)
@app_option
@option(
    "--format", "-f", "form", type=click.Choice(("text", "json", "github")), default="text", help="For whom it is told."
)
@option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(before: str, after: str | None, app: str | None, form: str, *, as_json: bool) -> int:
    """Say what changed from BASE to HEAD, and who breaks: exit code 1 if anybody does.

    Each is a revision of git or a file of `callboard contract export`; without HEAD, the app as it stands here. A
    revision is read in a program and a folder of its own. No connection is opened.
    """
    from callboard.contracts.difference import difference
    from callboard.contracts.rolling import upgrade

    old, new = contracts(before, app), contracts(after, app)
    changes, way = difference(old, new), upgrade(old, new)
    breaking = [each for each in changes if each.breaks]
    if as_json or form == "json":
        _say_json(before, after, changes, way)
    elif form == "github":
        for change in breaking:
            for each in change.breaks:
                title = escaped(f"{change.about} {change.text}", PROPERTY)
                where = f"file={escaped(each.file, PROPERTY)},line={each.line},title={title}"
                say(f"::error {where}::{escaped(f'{each.name} {each.how}')}")
    else:
        _say(changes, way)
        ways = f"from {before} to {after or 'here'}"
        say(f"{counted(len(changes), 'change')} {ways}, {len(breaking)} of them break somebody")
    return int(bool(breaking))


def _say(changes: Sequence["Change"], way: "Upgrade") -> None:
    for change in changes:
        say(
            f"{'breaks ' if change.breaks else 'changed'}  {change.about} {change.text}",
            "failure" if change.breaks else "",
        )
        for each in change.breaks:
            say(f"         {each.name} {each.how}")
            say(f"         {each.file}:{each.line}", "quiet")
    if way.walls:
        say("no order of upgrading one service after the other is safe:", "failure")
        for wall in way.walls:
            say(f"         {wall}")
    elif way.order:
        say(f"upgrade in this order, one service after the other: {', '.join(way.order)}", "good")
    if changes:
        say()


def _say_json(before: str, after: str | None, changes: Sequence["Change"], way: "Upgrade") -> None:
    import msgspec

    told = [{**msgspec.to_builtins(each), "breaks": msgspec.to_builtins(each.breaks)} for each in changes]
    order = {
        "order": list(way.order),
        "walls": [msgspec.to_builtins(each) for each in way.walls],
        "looked_at": way.looked,
    }
    say_json("diff", {"before": before, "after": after, "changes": told, "upgrade": order})
