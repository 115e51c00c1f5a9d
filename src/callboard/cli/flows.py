"""`callboard flows`."""

import asyncio
from datetime import timedelta
from typing import Any, Unpack

import click

from callboard.choreography import Choreography
from callboard.cli.asking import Changing, Plan, carry_out, changing, noted, put_on_record
from callboard.cli.command import Group, Refusal, option
from callboard.cli.diagnosis import diagnose, told_causes
from callboard.cli.discovery import find_app, find_app_if_any
from callboard.cli.output import note, say, say_json, shown_duration, shown_moment, table
from callboard.cli.reading import (
    NOT_LET_IN,
    find_flow,
    flow_document,
    is_one_of_several,
    name_of,
    now,
    parked_by_flow,
    parked_document,
    read,
    shown_wait,
    status_of,
    tone_of,
)
from callboard.cli.settings import Duration, app_option, json_option, ledger_option, ledger_url
from callboard.cli.story import Story, draw, event_document, read_story
from callboard.drawings.tree import lines
from callboard.errors import CallboardError
from callboard.ledger import FlowRow, Ledger, Parked

STATUSES = ("running", "stuck", "succeeded", "failed")


@click.group(cls=Group, name="flows")
def command() -> None:
    """Flows: what is running, what is stuck, what happened and why."""


@command.command(name="list")
@ledger_option
@option("--name", metavar="FLOW", help="Only flows of this name.")
@option(
    "--status",
    type=click.Choice(STATUSES),
    help="Only flows that stand so. Stuck ones are running past their deadline.",
)
@option("--limit", type=click.IntRange(1), default=50, help="At most so many, the newest first.")
@option("--before", type=int, metavar="NUMBER", help="Only flows before this one, for the next page.")
@json_option
def list_command(
    ledger: str | None, name: str | None, status: str | None, limit: int, before: int | None, *, as_json: bool
) -> None:
    """List flows, the newest first, and what those that are not over wait for."""
    url, moment = ledger_url(ledger), now()

    async def look(opened: Ledger) -> tuple[list[FlowRow], dict[int, list[Parked]], bool]:
        rows = await opened.list_flows(name=name, status=status, before=before, limit=limit + 1, now=moment)
        parked = await parked_by_flow(opened, [row for row in rows[:limit] if row.verdict is None])
        return rows, parked, await is_one_of_several(opened)

    rows, parked, several = read(url, look)
    more, rows = len(rows) > limit, rows[:limit]
    road = f"; {NOT_LET_IN}" if several else ""
    if as_json:
        items = [
            {
                **flow_document(row, moment),
                "parked": [parked_document(each, moment) for each in parked.get(row.number, ())],
            }
            for row in rows
        ]
        say_json("flows", {"items": items, "next": rows[-1].number if more else None})
        return
    cells = [_cells(row, parked.get(row.number, []), moment) for row in rows]
    tones = [tone_of(status_of(row, moment)) for row in rows]
    table(("FLOW", "STATUS", "STARTED (UTC)", "TOOK", "DEADLINE", "BECAUSE"), cells, tones)
    if not rows:
        note(("no flow fits" if name or status or before else "there is no flow yet") + road)
    if more:
        note(f"there are more: --before {rows[-1].number}, or a larger --limit")


def _cells(row: FlowRow, parked: list[Parked], moment: int) -> tuple[str, ...]:
    took = shown_duration((row.ended or moment) - row.started)
    deadline = ""
    if row.deadline is not None and row.verdict is None:
        left = row.deadline - moment
        deadline = f"in {shown_duration(left)}" if left > 0 else f"{shown_duration(-left)} ago"
    if row.verdict is not None:
        because = (row.by or "") + (f" · leaked: {row.leaked}" if row.leaked else "")
    else:
        waits = [f"{each.reaction}: {shown_wait(each, moment)}" for each in parked if each.why != "behind"]
        because = "; ".join(waits[:2]) + (f"; and {len(waits) - 2} more" if len(waits) > 2 else "")
    return (name_of(row), status_of(row, moment), shown_moment(row.started), took, deadline, because)


@command.command()
@click.argument("flow")
@app_option
@ledger_option
@option("--data", "with_data", is_flag=True, help="Show what the events carry.")
@json_option
def show(flow: str, app: str | None, ledger: str | None, *, with_data: bool, as_json: bool) -> None:
    """Tell what happened in FLOW, by cause: each event, who heard it, each attempt.

    FLOW is NAME/KEY, an id of the flow or of one of its events, or a key alone.
    """
    url, choreography = ledger_url(ledger), find_app_if_any(app)
    story = read(url, lambda opened: _story(opened, flow, choreography))
    if as_json:
        events = [event_document(story, entry) for entry in story.entries]
        say_json(
            "flow", {"flow": flow_document(story.flow, story.moment), "events": events, **told_causes(diagnose(story))}
        )
        return
    _tell(story.flow, story, with_data=with_data)


@command.command()
@click.argument("flow")
@app_option
@ledger_option
def export(flow: str, app: str | None, ledger: str | None) -> None:
    """Write FLOW as JSON, for `callboard simulate replay`: its events, with ids and times, and its own rows."""
    from callboard.cli.recorded import exported

    click.echo(asyncio.run(exported(ledger_url(ledger), flow, find_app(app))))


async def _story(ledger: Ledger, target: str, choreography: Choreography | None) -> Story:
    return await read_story(ledger, await find_flow(ledger, target, choreography), now(), choreography)


def _tell(flow: FlowRow, story: Story, *, with_data: bool) -> None:
    status = status_of(flow, story.moment)
    say(f"{name_of(flow)}   {status}", tone_of(status))
    say(f"{flow.id}   began {shown_moment(flow.started)} UTC", "quiet")
    say()
    for line, tone in lines(draw(story, with_data=with_data)):
        say(line, tone)
    say()
    for line in _verdict(flow, story):
        say(line, tone_of(status))


def _verdict(flow: FlowRow, story: Story) -> list[str]:
    if flow.verdict is not None:
        took = shown_duration((flow.ended or flow.started) - flow.started)
        said = [f"verdict: {flow.verdict} after {took}, by {flow.by or 'nobody'}"]
        if flow.verdict == "failed":
            said.append(f"not undone: {flow.leaked}" if flow.leaked else "nothing was left undone")
        return said
    said = ["no verdict yet" if flow.failing is None else f"failing by {flow.by}: its compensations are not done yet"]
    if flow.deadline is not None:
        left = flow.deadline - story.moment
        told = ", FlowTimedOut was told" if flow.timed_out else ""
        passed = f"passed {shown_duration(-left)} ago{told}"
        said.append(f"deadline: {f'in {shown_duration(left)}' if left > 0 else passed}")
    return [*said, *(f"waits for: {each}" for each in diagnose(story))]


@command.command()
@click.argument("flow", required=False)
@app_option
@ledger_option
@option("--lines", type=click.IntRange(0), default=10, help="Begin so many events back.")
@option(
    "--for", "duration", type=Duration(), help="Stop after this time; else at the verdict of FLOW, or when interrupted."
)
@json_option
def tail(
    flow: str | None, app: str | None, ledger: str | None, lines: int, duration: timedelta | None, *, as_json: bool
) -> None:
    """Follow the log: a line for each event as it is committed, of FLOW or of all flows.

    With --json, one object a line.
    """
    from callboard.cli.tail import follow

    choreography = find_app_if_any(app)
    asyncio.run(follow(ledger_url(ledger), flow, choreography, lines=lines, duration=duration, as_json=as_json))


@command.command()
@click.argument("flow")
@app_option
@ledger_option
@option("--timeout", type=Duration(), help="Give up after this time, with exit code 1.")
@json_option
def wait(flow: str, app: str | None, ledger: str | None, timeout: timedelta | None, *, as_json: bool) -> int:
    """Wait until FLOW has its verdict. Exit code 0 if it succeeded, 1 if not."""
    url, choreography = ledger_url(ledger), find_app_if_any(app)
    row = read(url, lambda opened: _verdict_of(opened, flow, choreography, timeout))
    if as_json:
        say_json("flow", {"flow": flow_document(row, now())})
    else:
        say(f"{name_of(row)}   {status_of(row, now())}", tone_of(status_of(row, now())))
    if row.verdict is None:
        within = f"no verdict within {shown_duration(timeout or timedelta())}"
        note(f"{within}; `callboard flows show {name_of(row)}` says what it waits for")
    return 0 if row.verdict == "succeeded" else 1


async def _verdict_of(
    ledger: Ledger, target: str, choreography: Choreography | None, timeout: timedelta | None
) -> FlowRow:
    limit = None if timeout is None else now() + round(timeout.total_seconds() * 1_000_000)
    row = await find_flow(ledger, target, choreography)
    while row.verdict is None and (limit is None or now() < limit):
        await asyncio.sleep(0.05)
        if await ledger.moved():
            row = await find_flow(ledger, f"{row.name}/{row.key}", choreography)
    return row


@command.command()
@click.argument("flows", nargs=-1, required=True, metavar="FLOW...")
@app_option
@ledger_option
@option("--reason", default="", help="Why; the event FlowCancelled carries it.")
@changing
def cancel(flows: tuple[str, ...], app: str | None, ledger: str | None, reason: str, **how: Unpack[Changing]) -> int:
    """Publish FlowCancelled in each FLOW: whoever reacts to it undoes what is to be undone."""
    choreography, url = find_app(app), ledger_url(ledger)
    rows = read(url, lambda opened: _running(opened, flows, choreography))
    plan = Plan("cancel", [name_of(row) for row in rows], [f"{name_of(row)}, {status_of(row, now())}" for row in rows])

    async def do() -> list[str | None]:
        async with choreography.open(url, services=[]) as board:
            record = noted(how, "cancel", ", ".join(plan.names))
            await put_on_record(board.work.ledger, record)  # before it: nothing is done that is not there
            return [await _cancel(board, row, reason) for row in rows]

    return carry_out(plan, do, **how)


async def _running(ledger: Ledger, targets: tuple[str, ...], choreography: Choreography) -> list[FlowRow]:
    rows = [await find_flow(ledger, target, choreography) for target in targets]
    for row in rows:
        flow = choreography.flows.get(row.name)
        if flow is None:
            raise Refusal(2, f"{choreography.name} declares no flow {row.name!r}: name the app that runs it with --app")
        kind = f"callboard.FlowCancelled[{flow.start.name}]"
        if row.verdict is None and kind not in choreography.events:
            raise Refusal(
                1, f"no reaction hears FlowCancelled[{flow.start}], so nothing would be undone: write one first"
            )
    return rows


async def _cancel(board: Any, row: FlowRow, reason: str) -> str | None:
    if row.verdict is not None:
        return f"it has its verdict already, {row.verdict}"
    try:
        await board.flow(row.name, row.key).cancel(reason)
    except CallboardError as error:
        return str(error)
    return None
