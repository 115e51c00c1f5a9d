"""`callboard graph`."""

from importlib import import_module
from typing import Any

import click

from callboard.choreography import Choreography
from callboard.cli.command import Command, Refusal, named, option
from callboard.cli.discovery import find_app
from callboard.cli.output import write_out
from callboard.cli.settings import app_options
from callboard.flow import Flow

WHOLE = ("ascii", "mermaid", "svg", "dot", "json")
OF_A_FLOW = ("states", "sequence")
FORMS = (*WHOLE, *OF_A_FLOW, "asyncapi")
GOES_WITH = {"flow": OF_A_FLOW, "to": ("sequence",), "service": ("asyncapi",)}


@click.command(cls=Command, name="graph")
@app_options
@option("--format", "-f", "form", type=click.Choice(FORMS), default="ascii", help="The form of the drawing.")
@option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
@option("--flow", metavar="NAME", help="Of states and sequence: which flow, if there are several.")
@option("--to", metavar="EVENT", help="Of sequence: the path to this event, not to success.")
@option("--service", metavar="NAME", help="Of asyncapi: the document of this service, not the merged one.")
@option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(app_argument: str | None, app: str | None, form: str, output: str | None, **more: Any) -> None:
    """Draw the choreography of APP. Opens no connection.

    ascii, mermaid, svg, dot and json draw all of it; states the life of a flow and sequence the shortest path to its
    success, both in Mermaid; asyncapi is AsyncAPI 3.
    """
    form = "json" if more["as_json"] else form
    if output in FORMS:
        raise Refusal(2, f"--output names a file: for the form write --format {output}")
    for name, forms in GOES_WITH.items():
        if more[name] is not None and form not in forms:
            raise Refusal(2, f"--{name} goes with --format {' or '.join(forms)}, not with {form}")
    choreography = find_app(app, app_argument)
    draw = import_module(f"callboard.drawings.{form}").draw
    if form == "asyncapi":
        service = more["service"]
        write_out(draw(choreography, service and named(service, choreography.services, "service").name), output)
    elif form == "states":
        write_out(draw(choreography, _flow(choreography, more["flow"])), output)
    elif form == "sequence":
        write_out(_sequence(choreography, _flow(choreography, more["flow"]), more["to"]), output)
    else:
        write_out(draw(choreography), output)


def _sequence(choreography: Choreography, flow: Flow, to: str | None) -> str:
    from callboard.drawings.names import label
    from callboard.drawings.sequence import draw

    events = {label(each): each for each in choreography.events.values()}
    try:
        return draw(choreography, flow, None if to is None else named(to, events, "event"))
    except LookupError as error:
        raise Refusal(4, str(error)) from error


def _flow(choreography: Choreography, name: str | None) -> Flow:
    if name is not None:
        return named(name, choreography.flows, "flow")
    if len(choreography.flows) == 1:
        return next(iter(choreography.flows.values()))
    if not choreography.flows:
        raise Refusal(4, f"{choreography.name} has no flow to draw")
    raise Refusal(2, f"which flow? --flow {' or --flow '.join(choreography.flows)}")
