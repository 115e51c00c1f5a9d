"""`callboard contract`."""

import click

from callboard.cli.command import Command, Group, named, option
from callboard.cli.discovery import find_app
from callboard.cli.output import write_out
from callboard.cli.settings import app_options


@click.group(cls=Group, name="contract")
def command() -> None:
    """Write down what services promise each other."""


@command.command(cls=Command, name="export")
@app_options
@option("--service", metavar="NAME", help="Only what this service hears, emits and keeps.")
@option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
def export(app_argument: str | None, app: str | None, service: str | None, output: str | None) -> None:
    """Write the contracts of APP as JSON: sorted, so that two versions can be compared. Opens no connection."""
    from callboard.contracts.writing import write

    choreography = find_app(app, app_argument)
    if service is not None:
        named(service, choreography.services, "service")
    write_out(write(choreography, service).text(), output)
