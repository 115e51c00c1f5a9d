"""`callboard dead-letters`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import click

from callboard.cli.asking import Plan, carry_out, changing
from callboard.cli.command import Group, Refusal, all_of, meant, option
from callboard.cli.discovery import find_app
from callboard.cli.output import instant, note, say, say_json, shown_duration, shown_moment, table
from callboard.cli.reading import first_line, name_of, now, parked_document, read, writing
from callboard.cli.settings import Duration, app_option, given_bytes, json_option, ledger_option, ledger_url
from callboard.cli.story import shown_note
from callboard.errors import CodecError
from callboard.ledger import Ledger, Note
from callboard.letters import Batch, DeadLetter, DeadLetters, letter_id, operator


@click.group(cls=Group, name="dead-letters")
def command() -> None:
    """Dead letters: deliveries whose attempts are used up, or that cannot be answered."""


# which dead letters are meant
filters = all_of(
    option("--limit", type=click.IntRange(1), default=1000, help="At most so many, the oldest first."),
    option("--group", metavar="GROUP", help="Only those of this group; the beginning of its name is enough."),
    option("--error", metavar="TEXT", help="Only those whose error contains TEXT."),
    option("--flow", metavar="NAME/KEY", help="Only those of this flow."),
    option("--reaction", metavar="SERVICE.NAME", help="Only those of this reaction, or of this service."),
)


@command.command(name="list")
@ledger_option
@filters
@json_option
def list_command(ledger: str | None, *, as_json: bool, **wanted: Any) -> None:
    """List dead letters, the oldest first."""
    letters = _found(ledger_url(ledger), wanted)
    letters, more = letters[: wanted["limit"]], len(letters) > wanted["limit"]
    if as_json:
        say_json("dead-letters", {"items": [_document(each) for each in letters], "more": more})
        return
    table(("ID", "EVENT", "FLOW", "EVENT CAME (UTC)", "ATTEMPTS", "ASKED", "ERROR"), [_cells(each) for each in letters])
    if not letters:
        note("there is no dead letter")
    if more:
        note("there are more: a larger --limit shows them")


def _found(url: str, wanted: dict[str, Any], ids: Sequence[str] = ()) -> list[DeadLetter]:
    """Those that are meant, and one more than the limit if there are more. Exit 4 for an id that there is not."""

    async def find(ledger: Ledger) -> list[DeadLetter]:
        found = await DeadLetters(ledger, now).find(*ids, **{**wanted, "limit": wanted["limit"] + 1})
        known = [letter_id(row) for row in await ledger.parked(why=["dead"])] if ids else []
        if (named := wanted.get("reaction")) is not None:
            await _refuse_unknown(ledger, named)
        for id in ids:
            if id not in known:
                raise Refusal(4, f"there is no dead letter {id!r}{_hint(id, known)}")
        return found

    return read(url, find)


async def _refuse_unknown(ledger: Ledger, reaction: str) -> None:
    """Exit 4 for a reaction, or a service, that this ledger has never seen."""
    paths = {each.reaction for each in await ledger.positions()} | {each.reaction for each in await ledger.parked()}
    known = sorted(paths | {path.partition(".")[0] for path in paths})
    if reaction not in known:
        raise Refusal(4, f"this ledger knows no reaction or service {reaction!r}{meant(reaction, known)}")


def _hint(id: str, known: list[str]) -> str:
    hint = meant(id, known) if known else ": there is none at all"
    return hint if "?" in hint or not known else ": `dead-letters list` shows them"


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    row, entry = letter.row, letter.entry
    return (
        letter.id,
        "" if entry is None else entry.type.removeprefix("callboard."),
        "" if letter.flow is None else name_of(letter.flow),
        "" if entry is None else shown_moment(entry.time),
        str(row.attempts),
        row.asked.what if row.asked is not None else "edited" if row.data is not None else "",
        first_line(row.error or ""),
    )


def _document(letter: DeadLetter) -> dict[str, object]:
    entry = letter.entry
    return {
        **parked_document(letter.row, now()),
        "group": letter.group,
        "event_id": None if entry is None else entry.id,
        "type": None if entry is None else entry.type,
        "time": None if entry is None else instant(entry.time),
        "flow": None if letter.flow is None else name_of(letter.flow),
        "edited": letter.row.data is not None,
        "replay_refused": letter.why_not(),
    }


@command.command()
@ledger_option
@filters
@json_option
def groups(ledger: str | None, *, as_json: bool, **wanted: Any) -> None:
    """Dead letters of one cause together: the same reaction, error and place in the code."""
    found = read(ledger_url(ledger), lambda opened: DeadLetters(opened, now).groups(**wanted))
    items = [
        {
            "group": name,
            "reaction": letters[0].row.reaction,
            "dead_letters": len(letters),
            "flows": len({each.row.flow for each in letters}),
            "first": instant(min(each.entry.time for each in letters if each.entry is not None)),
            "last": instant(max(each.entry.time for each in letters if each.entry is not None)),
            "error": letters[0].error,
            "ids": [each.id for each in letters],
        }
        for name, letters in found.items()
    ]
    if as_json:
        say_json("dead-letter-groups", {"items": items})
        return
    columns = ("group", "dead_letters", "flows", "reaction", "first", "last")
    cells = [(*(str(each[name]) for name in columns), first_line(str(each["error"]))) for each in items]
    table(("GROUP", "LETTERS", "FLOWS", "REACTION", "FIRST EVENT", "LAST EVENT", "ERROR OF THE FIRST"), cells)
    if not items:
        note("there is no dead letter")


@command.command()
@click.argument("letter", metavar="ID")
@ledger_option
@json_option
def show(letter: str, ledger: str | None, *, as_json: bool) -> None:
    """Show one dead letter: what it carries, each attempt, its error in full, and who did what with it."""
    url = ledger_url(ledger)
    (found,), notes = _found(url, {"limit": 1}, [letter]), read(url, lambda opened: _notes(opened, letter))
    entry, data = found.entry, found.data.decode("utf-8", "backslashreplace")
    if as_json:
        said = [{"what": each.what, "why": each.why, "time": instant(each.time)} for each in notes]
        say_json("dead-letter", {**_document(found), "data": data, "notes": said})
        return
    say(found.id, "failure")
    say(f"reaction   {found.row.reaction}")
    say(f"event      {entry.type} {entry.id}" if entry else "event      its event is gone")
    say(f"flow       {name_of(found.flow)}" if found.flow else "flow       none")
    say(f"attempts   {found.row.attempts}")
    for each in notes:
        say(f"           {shown_moment(each.time)} {shown_note(each)}", "quiet")
    say(f"error      {found.error}")
    say(f"group      {found.group}")
    if found.row.data is not None and entry is not None:
        say(f"came as    {entry.data.decode('utf-8', 'backslashreplace')}")
    say(f"{'edited    ' if found.row.data is not None else 'data      '} {data}")
    say(f"replay     {found.why_not() or f'callboard dead-letters replay {found.id}'}")


async def _notes(ledger: Ledger, id: str) -> list[Note]:
    row = next(each for each in await ledger.parked(why=["dead"]) if letter_id(each) == id)
    told = await ledger.notes(row.flow)
    return [each for each in told if (each.pos, each.reaction) == (row.pos, row.reaction)]


# what is asked for: of which dead letters, by whom, and why
wishes = all_of(
    changing,
    option("--wait", "patience", type=Duration(), help="Wait so long to see what becomes of them."),
    option("--all", "every", is_flag=True, help="All that fit; else name them, or say which by another option."),
    filters,
    ledger_option,
    click.argument("letters", nargs=-1, metavar="[ID]..."),
)


class Rate(click.ParamType):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument] - older clicks
    """`20/s`, `100/m`, or a number a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """How many a second."""
        if isinstance(value, float):
            return value
        number, _, unit = str(value).partition("/")
        try:
            rate = float(number) / Duration.units[unit.strip() or "s"]
        except (ValueError, KeyError):
            rate = 0.0
        if rate > 0:
            return rate
        return self.fail(f"{value!r} is no rate: write 20/s, 100/m or 1000/h", param, ctx)


@command.command()
@wishes
@option("--rate", type=Rate(), help="At most so many, as 20/s or 100/m; else all at once.")
@option("--stop-on-failure", is_flag=True, help="One at a time; the first that fails again keeps back the rest.")
@option("--even-though-ended", is_flag=True, help="Also in flows that have their verdict, which is shown first.")
def replay(*, rate: float | None, stop_on_failure: bool, even_though_ended: bool, **wish: Any) -> int:
    """Ask for one more attempt. It reaches only the reaction that failed, under its old idempotency key.

    The worker that owns the reaction does it; without one it is done when a worker starts. What fails again keeps back
    the others of its line. The same command, given again, asks for nothing twice and goes on watching.
    """
    ask = partial(DeadLetters.replay, rate=rate, stop_on_failure=stop_on_failure, even_though_ended=even_though_ended)
    return _carry_out("replay", ask, late=even_though_ended, **wish)


@command.command()
@wishes
def discard(**wish: Any) -> int:
    """Ask to give dead letters up: what waits behind them goes on, and the record says so."""
    return _carry_out("discard", DeadLetters.discard, late=True, **wish)


def _carry_out(
    what: str, ask: Callable[..., Awaitable[Batch]], *,
    ledger: str | None, letters: Sequence[str], every: bool, late: bool, by: str | None, remark: str,
    patience: timedelta | None, dry_run: bool, yes: bool, as_json: bool, **wanted: Any,
) -> int:  # fmt: skip
    url = ledger_url(ledger)
    if not (letters or every or any(wanted[name] for name in ("reaction", "flow", "error", "group"))):
        raise Refusal(2, "which ones? Name their ids, or say --reaction, --flow, --error, --group, or --all")
    chosen = _found(url, wanted, letters)
    if len(chosen) > wanted["limit"]:
        note(f"more fit: the first {wanted['limit']} are taken (--limit)")
    chosen = chosen[: wanted["limit"]]
    if not chosen:
        note(f"there is no dead letter to {what}: none fits")
    refusals = [each.why_not(what, late=late) for each in chosen]
    plan = Plan(what, [each.id for each in chosen], [_line(*pair) for pair in zip(chosen, refusals, strict=True)])
    plan.note = f"{sum(map(bool, refusals))} of these would be refused" if any(refusals) else ""
    plan.refused = dict(zip(plan.names, refusals, strict=True))

    async def do() -> list[str | None]:
        async with writing(url) as opened:
            batch = await ask(DeadLetters(opened, now), chosen, by=by, note=remark)
            if patience is not None:
                await _watch(batch, patience)
        return [_account(batch, each, plan, patience) for each in chosen]

    return carry_out(plan, do, dry_run=dry_run, yes=yes, as_json=as_json)


def _line(letter: DeadLetter, refusal: str | None) -> str:
    if refusal is None and letter.verdict is not None:
        refusal = f"its flow has its verdict: {letter.verdict}"
    return f"{letter.id}: {first_line(letter.error)}{f' ({refusal})' if refusal else ''}"


def _account(batch: Batch, letter: DeadLetter, plan: Plan, patience: timedelta | None) -> str | None:
    """Why it was not done, or None."""
    if (why := batch.refused.get(letter.id)) is not None:
        return why
    came = batch.came.get(letter.id)
    if came is not None:
        plan.came[letter.id] = came
        failed = came.startswith(("failed again", "not replayed"))
        return came if failed else None
    if patience is not None:
        return f"not done within {shown_duration(patience)}: does a worker run its service? It stays asked for"
    earlier = letter.row.asked
    plan.came[letter.id] = "asked" if earlier is None else f"asked already by {earlier.by}"
    return None


async def _watch(batch: Batch, patience: timedelta) -> None:
    """Until all are decided or patience ends; how far it is, where somebody sits and sees it."""
    limit, total = now() + round(patience.total_seconds() * 1_000_000), len(batch.asked)
    while not await batch.look() and now() < limit:
        if sys.stderr.isatty():
            failed = sum(came.startswith(("failed", "not replayed")) for came in batch.came.values())
            click.echo(f"\r{len(batch.came)} of {total} done, {failed} failed again ({batch.id})", err=True, nl=False)
        await asyncio.sleep(0.05)
    if sys.stderr.isatty():
        click.echo(f"\r{len(batch.came)} of {total} done ({batch.id})".ljust(60), err=True)


@command.command()
@click.argument("letter", metavar="ID")
@click.argument("data", metavar="[JSON|@FILE|-]", required=False)
@option("--set", "fields", metavar="FIELD=JSON", multiple=True, help="Change this field, and leave the others.")
@app_option
@ledger_option
@changing
def edit(
    *, letter: str, data: str | None, fields: tuple[str, ...], app: str | None, ledger: str | None, by: str | None,
    remark: str, dry_run: bool, yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Change what the next replay of a dead letter gives to the reaction that failed, and to nobody else.

    Give all of it, or some fields with --set. It must be an event of its type, and stays in its line and flow; its
    idempotency key stays too. What was changed, by whom and why is on record.
    """
    if (data is None) == (not fields):
        raise Refusal(2, "what is to be changed? Give all of it as JSON, @file or -, or fields with --set NAME=JSON")
    changes = given_bytes(data) if data is not None else dict(_field(each) for each in fields)
    url, choreography = ledger_url(ledger), find_app(app)
    (found,) = _found(url, {"limit": 1}, [letter])
    if (why := found.why_not()) is not None:
        raise Refusal(1, f"{letter}: {why}")

    async def through(how: Callable[[DeadLetters], Awaitable[list[str]]]) -> list[str]:
        async with choreography.open(url, services=[]) as board:
            return await how(board.dead_letters)

    try:
        said = asyncio.run(through(lambda letters: letters.differences(found, changes)))
    except CodecError as error:
        raise Refusal(2, f"{error}: nothing was written") from error
    plan = Plan("edit", [letter], [f"{letter}: {each}" for each in said or ["nothing is different"]])

    async def do() -> list[str | None]:
        await through(lambda letters: letters.edit(found, changes, by=by or operator(), note=remark))
        plan.came[letter] = f"edited; give it with `callboard dead-letters replay {letter}`"
        return [None]

    return carry_out(plan, do, dry_run=dry_run, yes=yes, as_json=as_json)


def _field(given: str) -> tuple[str, Any]:
    """`amount=5`, `iban="DE12"`; what is no JSON is a text."""
    import json

    name, equals, value = given.partition("=")
    if not equals:
        raise Refusal(2, f"--set {given!r}: write NAME=JSON, as in --set amount=5 or --set iban=DE12")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
