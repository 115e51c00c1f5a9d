"""`callboard graph`."""

from importlib import import_module

import click

from callboard.cli.command import Command, Refusal, option
from callboard.cli.discovery import find_app
from callboard.cli.output import write_out
from callboard.cli.settings import app_options

FORMS = ("ascii", "mermaid", "dot", "json")


@click.command(cls=Command, name="graph")
@app_options
@option("--format", "-f", "form", type=click.Choice(FORMS), default="ascii", help="The form of the drawing.")
@option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
@option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(app_argument: str | None, app: str | None, form: str, output: str | None, *, as_json: bool) -> None:
    """Draw the choreography of APP. Opens no connection."""
    if output in FORMS:
        raise Refusal(2, f"--output names a file: for the form write --format {output}")
    choreography = find_app(app, app_argument)
    write_out(import_module(f"callboard.drawings.{'json' if as_json else form}").draw(choreography), output)
