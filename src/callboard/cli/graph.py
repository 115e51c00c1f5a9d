"""`callboard graph`."""

from importlib import import_module

import click

from callboard.cli.command import Command, option
from callboard.cli.discovery import find_app
from callboard.cli.output import say
from callboard.cli.settings import app_options

FORMS = ("ascii", "mermaid", "dot", "json")


@click.command(cls=Command, name="graph")
@app_options
@option("-o", "--output", type=click.Choice(FORMS), default="ascii", help="The form of the drawing.")
@option("--json", "as_json", is_flag=True, help="The same as --output json.")
def command(app_argument: str | None, app: str | None, output: str, *, as_json: bool) -> None:
    """Draw the choreography of APP. Opens no connection."""
    choreography = find_app(app, app_argument)
    drawing = import_module(f"callboard.drawings.{'json' if as_json else output}").draw(choreography)
    for line in drawing.rstrip("\n").split("\n"):
        say(line)
