"""`callboard dead-letters`."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click

from callboard.cli.asking import Plan, carry_out
from callboard.cli.command import F, Group, Refusal, meant, option
from callboard.cli.output import instant, note, say, say_json, shown_moment, table
from callboard.cli.reading import first_line, letter_id, name_of, now, parked_document, reading
from callboard.cli.settings import Duration, json_option, ledger_option, ledger_url
from callboard.cli.story import shown_note
from callboard.ledger import Entry, FlowRow, Ledger, Note, Parked
from callboard.run import open_ledger


@dataclass(frozen=True)
class Letter:
    """A dead letter, with what it is about."""

    row: Parked
    entry: Entry | None
    flow: FlowRow | None

    @property
    def id(self) -> str:
        return letter_id(self.row)

    @property
    def why_not(self) -> str | None:
        """Why nothing can be asked for it now."""
        if self.row.asked:
            return f"{self.row.asked} was asked already, its worker has not come to it"
        if self.flow is not None and self.flow.verdict is not None:
            return (
                f"{name_of(self.flow)} has its verdict, {self.flow.verdict}: what comes late would change what is over"
            )
        return None


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are meant."""

    reaction: str | None = None
    flow: str | None = None
    error: str | None = None
    limit: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether this one is meant."""
        path, flow = letter.row.reaction, letter.flow
        return (
            (self.reaction is None or path == self.reaction or path.startswith(f"{self.reaction}."))
            and (self.error is None or self.error.lower() in (letter.row.error or "").lower())
            and (self.flow is None or (flow is not None and self.flow in (name_of(flow), flow.key)))
        )


@click.group(cls=Group, name="dead-letters")
def command() -> None:
    """Dead letters: deliveries whose attempts are used up, or that cannot be answered."""


def filters(function: F) -> F:
    """The options that say which dead letters are meant."""
    for each in (
        option("--limit", type=click.IntRange(1), default=1000, help="At most so many, the oldest first."),
        option("--error", metavar="TEXT", help="Only those whose error contains TEXT."),
        option("--flow", metavar="NAME/KEY", help="Only those of this flow."),
        option("--reaction", metavar="SERVICE.NAME", help="Only those of this reaction, or of this service."),
    ):
        function = each(function)
    return function


@command.command(name="list")
@ledger_option
@filters
@json_option
def list_command(
    ledger: str | None, reaction: str | None, flow: str | None, error: str | None, limit: int, *, as_json: bool
) -> None:
    """List dead letters, the oldest first."""
    letters, more = asyncio.run(find_letters(ledger_url(ledger), Wanted(reaction, flow, error, limit)))
    if as_json:
        say_json("dead-letters", {"items": [_document(each) for each in letters], "more": more})
        return
    table(("ID", "EVENT", "FLOW", "EVENT CAME (UTC)", "ATTEMPTS", "ASKED", "ERROR"), [_cells(each) for each in letters])
    if not letters:
        note("there is no dead letter")
    if more:
        note("there are more: a larger --limit shows them")


def _cells(letter: Letter) -> tuple[str, ...]:
    row, entry = letter.row, letter.entry
    return (
        letter.id,
        "" if entry is None else entry.type.removeprefix("callboard."),
        "" if letter.flow is None else name_of(letter.flow),
        "" if entry is None else shown_moment(entry.time),
        str(row.attempts),
        row.asked or "",
        first_line(row.error or ""),
    )


def _document(letter: Letter) -> dict[str, object]:
    row, entry = letter.row, letter.entry
    return {
        **parked_document(row, now()),
        "event_id": None if entry is None else entry.id,
        "type": None if entry is None else entry.type,
        "time": None if entry is None else instant(entry.time),
        "flow": None if letter.flow is None else name_of(letter.flow),
        "replay_refused": letter.why_not,
    }


@command.command()
@click.argument("letter", metavar="ID")
@ledger_option
@json_option
def show(letter: str, ledger: str | None, *, as_json: bool) -> None:
    """Show one dead letter: what it carries, each attempt, its error in full."""
    found, notes = asyncio.run(_one(ledger_url(ledger), letter))
    entry = found.entry
    data = (found.row.data or (entry.data if entry else b"")).decode("utf-8", "backslashreplace")
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
    say(f"error      {found.row.error or ''}")
    say(f"data       {data}")
    say(f"replay     {found.why_not or f'callboard dead-letters replay {found.id}'}")


async def _one(url: str, target: str) -> tuple[Letter, list[Note]]:
    letters, _ = await find_letters(url, Wanted(), (target,))
    async with reading(url) as ledger:
        return letters[0], await _notes(ledger, letters[0])


def wishes(function: F) -> F:
    """The arguments of what is asked for: which dead letters, and whether to ask first."""
    for each in (
        json_option,
        option("--yes", "-y", is_flag=True, help="Do not ask. Needed where nobody can be asked."),
        option("--dry-run", is_flag=True, help="Only say what would be done."),
        option(
            "--all", "every", is_flag=True, help="All that fit; else name them, or say --reaction, --flow or --error."
        ),
        filters,
        ledger_option,
        click.argument("letters", nargs=-1, metavar="[ID]..."),
    ):
        function = each(function)
    return function


@command.command()
@wishes
@option("--wait", "patience", type=Duration(), help="Wait so long to see what becomes of them.")
def replay(**wish: Any) -> int:
    """Ask for one more attempt. It reaches only the reaction that failed, under its old idempotency key.

    The worker that owns the reaction does it; without one it is done when a worker starts.
    """
    return _ask("replay", **wish)


@command.command()
@wishes
def discard(**wish: Any) -> int:
    """Ask to give dead letters up: what waits behind them goes on, and the record says so."""
    return _ask("discard", **wish)


def _chosen(url: str, wanted: Wanted, letters: Sequence[str], *, every: bool) -> list[Letter]:
    if not (letters or every or wanted.reaction or wanted.flow or wanted.error):
        raise Refusal(2, "which ones? Name their ids, or say --reaction, --flow, --error, or --all")
    found, more = asyncio.run(find_letters(url, wanted, letters))
    if more:
        note(f"more fit: the first {len(found)} are taken (--limit)")
    return found


def _ask(
    what: str,
    *,
    ledger: str | None,
    letters: Sequence[str],
    every: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    patience: timedelta | None = None,
    **wanted: Any,
) -> int:
    url = ledger_url(ledger)
    chosen = _chosen(url, Wanted(**wanted), letters, every=every)
    lines = [f"{each.id}: {first_line(each.row.error or '')}" + _refusal(each, what) for each in chosen]
    plan = Plan(what, [each.id for each in chosen], lines)

    async def do() -> list[str | None]:
        opened = open_ledger(url)
        await opened.open((), ())
        try:
            head, notes = await opened.head(), [len(await _notes(opened, each)) for each in chosen]
            answers = [await _wish(opened, each, what) for each in chosen]
            if patience is not None:
                asked = [n for n, why in enumerate(answers) if why is None]
                await _watch(opened, chosen, asked, answers, patience)
                for n in asked:
                    if answers[n] is None:
                        plan.came[chosen[n].id] = await what_came(opened, chosen[n], head, notes[n])
            return answers
        finally:
            await opened.close()

    return carry_out(plan, do, dry_run=dry_run, yes=yes, as_json=as_json)


def _refusal(letter: Letter, what: str) -> str:
    return f" ({letter.why_not})" if what == "replay" and letter.why_not else ""


async def _wish(ledger: Ledger, letter: Letter, what: str) -> str | None:
    if what == "replay" and letter.why_not is not None:
        return letter.why_not
    row = letter.row
    if not await ledger.ask(row.reaction, row.pos, row.effect, what):
        return "it is no dead letter any more, or something was asked for it already"
    return None


async def _watch(
    ledger: Ledger, letters: Sequence[Letter], asked: Sequence[int], answers: list[str | None], patience: timedelta
) -> None:
    """Look what becomes of those that were asked for, until all are decided or patience ends."""
    asked = list(asked)
    limit = now() + round(patience.total_seconds() * 1_000_000)
    while asked and now() < limit:
        await asyncio.sleep(0.05)
        for number in list(asked):
            before = letters[number].row
            rows = await ledger.parked(flow=before.flow, reactions=[before.reaction])
            row = next((each for each in rows if (each.pos, each.effect) == (before.pos, before.effect)), None)
            if row is None:
                asked.remove(number)
            elif row.why == "dead" and row.asked is None:
                answers[number] = f"it failed again: {row.error}"
                asked.remove(number)
    for number in asked:
        answers[number] = f"not done within {patience}: does a worker run its service?"


async def _notes(ledger: Ledger, letter: Letter) -> list[Note]:
    row = letter.row
    return [each for each in await ledger.notes(row.flow) if (each.pos, each.reaction) == (row.pos, row.reaction)]


async def what_came(ledger: Ledger, letter: Letter, head: int, told: int) -> str:
    """What the run after this head made of it; `told` notes were there before."""
    row = letter.row
    for each in (await _notes(ledger, letter))[told:]:
        if each.what in ("skipped", "discarded", "retired"):
            return shown_note(each)
    emitted = Counter(
        entry.type.removeprefix("callboard.")
        for entry in await ledger.flow_entries([row.flow])
        if entry.pos > head and entry.by == row.reaction and row.pos in (entry.cause, *entry.causes)
    )
    shown = [name if count == 1 else f"{count} {name}" for name, count in emitted.items()]
    return f"done, emitted {', '.join(shown) or 'nothing'}"


async def find_letters(url: str, wanted: Wanted, targets: Sequence[str] = ()) -> tuple[list[Letter], bool]:
    """Those that are meant, the oldest first, and whether there are more than the limit."""
    async with reading(url) as ledger:
        rows = await ledger.parked(why=["dead"])
        letters = [Letter(row, None, None) for row in rows]
        if targets:
            letters = [_named(target, letters) for target in targets]
        letters = [each for each in await _with_events(ledger, letters) if wanted.takes(each)]
    return letters[: wanted.limit], wanted.limit is not None and len(letters) > wanted.limit


def _named(target: str, letters: Sequence[Letter]) -> Letter:
    for each in letters:
        if each.id == target:
            return each
    known = [each.id for each in letters]
    hint = meant(target, known) if known else ": there is none at all"
    raise Refusal(
        4,
        f"there is no dead letter {target!r}{hint if '?' in hint or not known else ': `dead-letters list` shows them'}",
    )


async def _with_events(ledger: Ledger, letters: Sequence[Letter]) -> list[Letter]:
    entries = {entry.pos: entry for entry in await ledger.entries({each.row.pos for each in letters})}
    flows = {row.number: row for row in await ledger.flows_by_number({each.row.flow for each in letters}) if row.name}
    return [Letter(each.row, entries.get(each.row.pos), flows.get(each.row.flow)) for each in letters]
