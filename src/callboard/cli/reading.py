"""Reads a ledger from outside: nothing is created, written or owned, and a worker goes on meanwhile."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

from callboard.choreography import Choreography
from callboard.cli.command import Refusal, meant
from callboard.cli.output import instant, shown_duration
from callboard.errors import LedgerError
from callboard.hops.abroad import RELAY
from callboard.ids import FLOW_LENGTH
from callboard.ledger import FlowRow, Ledger, Parked
from callboard.letters import PLACE, letter_id
from callboard.run import open_ledger

T = TypeVar("T")
NOT_LET_IN = "what was published with --broker is there once it was let in, which waits while the broker is away"
COUNTED = 10_000  # rows that are counted one by one before "more than" is said


def now() -> int:
    """This moment, in microseconds."""
    return time.time_ns() // 1000


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Ledger]:
    """The ledger at `url`, for reading. Exit 3 where there is none."""
    if url.endswith(":memory:"):
        raise LedgerError(f"{url} lives inside its own worker: a ledger that others read is a file, sqlite:///shop.db")
    ledger = open_ledger(url, read_only=True)
    try:
        await ledger.open((), ())
    except LedgerError as error:
        if _has_only_other_tables(url):
            raise LedgerError(f"{url}: this file holds other tables: name a file of its own for the ledger") from error
        raise
    try:
        yield ledger
    finally:
        await ledger.close()


def read(url: str, look: Callable[[Ledger], Awaitable[T]]) -> T:
    """What `look` finds in the ledger at `url`, for a command that looks once."""

    async def looked() -> T:
        async with reading(url) as ledger:
            return await look(ledger)

    return asyncio.run(looked())


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Ledger]:
    """The ledger at `url`, for an operator who owns no service."""
    ledger = open_ledger(url)
    await ledger.open((), ())
    try:
        yield ledger
    finally:
        await ledger.close()


def _has_only_other_tables(url: str) -> bool:
    """It is a database of SQLite, and no version of callboard ever opened it."""
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            layout = db.execute("PRAGMA user_version").fetchone()[0]
            return bool(layout == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0)
    except sqlite3.Error:
        return False


def status_of(flow: FlowRow, moment: int) -> str:
    """The one word for where a flow stands, the same in every list and page."""
    if flow.verdict is not None:
        return flow.verdict
    if flow.deadline is not None and flow.deadline <= moment:
        return "stuck"
    return "running" if flow.failing is None else "failing"


def tone_of(status: str) -> str:
    """How that word is coloured."""
    return {"succeeded": "good", "failed": "failure", "stuck": "failure"}.get(status, "wait")


def name_of(flow: FlowRow) -> str:
    """`checkout/o-17`, as it is typed."""
    return f"{flow.name}/{flow.key}"


def flow_document(flow: FlowRow, moment: int) -> dict[str, Any]:
    """A flow for programs."""
    return {
        "name": flow.name,
        "key": flow.key,
        "id": flow.id,
        "number": flow.number,
        "status": status_of(flow, moment),
        "verdict": flow.verdict,
        "started": instant(flow.started),
        "deadline": instant(flow.deadline) or None,
        "timed_out": flow.timed_out,
        "ended": instant(flow.ended) or None,
        "by": flow.by,
        "leaked": flow.leaked,
    }


def parked_document(row: Parked, moment: int) -> dict[str, Any]:
    """A parked delivery for programs."""
    return {
        "id": letter_id(row),
        "reaction": row.reaction,
        "position": row.pos,
        "why": row.why,
        "due": instant(row.due) or None,
        "attempts": row.attempts,
        "error": row.error,
        "missing": row.missing,
        "asked": None if row.asked is None else row.asked.what,
        "asked_by": None if row.asked is None else row.asked.by,
        "batch": None if row.asked is None else row.asked.batch or None,
        "says": shown_wait(row, moment),
    }


def owner_runs(told: str | None) -> bool | None:
    """Whether the owner of a service is alive; None where that cannot be told from here."""
    if told is None:
        return False
    number = told.removeprefix("pid ")
    if not number.isdigit():
        return None
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_stopped(told: str) -> bool:
    """Whether the owner was stopped, as by SIGSTOP or Ctrl-Z; False where that cannot be told."""
    try:
        stat = Path(f"/proc/{told.removeprefix('pid ')}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def first_line(text: str) -> str:
    """The first line of an error, with a sign that there is more."""
    first, _, rest = PLACE.sub("", text).strip().partition("\n")
    return f"{first} …" if rest else first


def shown_wait(row: Parked, moment: int) -> str:
    """Why a delivery is parked, in words."""
    when = "" if row.due is None else ("now" if row.due <= moment else f"in {shown_duration(row.due - moment)}")
    missing = row.missing or "what it needs"
    match row.why:
        case "dead":
            wish = row.asked
            asked = f", {wish.what} asked by {wish.by}{f', due {when}' if when else ''}" if wish is not None else ""
            return f"dead letter {letter_id(row)}{asked}: {first_line(row.error or 'no reason was kept')}"
        case "retry":
            return f"next attempt {when}"
        case "waiting" | "half":
            return f"waits for {missing}" + (f", gives up {when}" if when else "")
        case "timer":
            return f"timer, due {when}"
        case "running":
            return f"attempt {row.attempts} runs"
        case "behind":
            return "behind an earlier one of its line"


async def find_flow(ledger: Ledger, target: str, choreography: Choreography | None) -> FlowRow:
    """The flow that NAME/KEY, its id, an event's id, or its key alone stands for. Exit 4 if there is none."""
    names = await _flow_names(ledger, choreography)
    pairs = [(target[:cut], target[cut + 1 :]) for cut, letter in enumerate(target) if letter == "/"]
    found = await ledger.flows_by_key(pairs) if pairs else []
    if not found and len(target) >= FLOW_LENGTH:
        numbers = await ledger.flow_numbers([target[:FLOW_LENGTH]])
        found = [row for row in await ledger.flows_by_number(numbers.values()) if row.name]
    if not found:
        found = await ledger.flows_by_key([(name, target) for name in names])
    if len(found) > 1:
        raise Refusal(2, f"{target!r} is the key of {len(found)} flows: say which, {' or '.join(map(name_of, found))}")
    if not found:
        raise Refusal(4, await _no_flow(ledger, target, names, choreography))
    return found[0]


async def _flow_names(ledger: Ledger, choreography: Choreography | None) -> list[str]:
    if choreography is not None:
        return list(choreography.flows)
    newest = await ledger.list_flows(name=None, status=None, before=None, limit=1000, now=now())
    return list(dict.fromkeys(row.name for row in newest))


async def _no_flow(ledger: Ledger, target: str, names: Sequence[str], choreography: Choreography | None) -> str:
    for name in names:
        if (name == target.partition("/")[0] or len(names) == 1) and (
            home := await kept_by(ledger, choreography, name)
        ) is not None:
            return f"no such flow: {target!r}: the ledger of {home} keeps {name}, name that one with --ledger"
    newest = await ledger.list_flows(name=None, status=None, before=None, limit=500, now=now())
    road = "" if not await is_one_of_several(ledger) else f"; {NOT_LET_IN}"
    if not newest:
        return f"no such flow: {target!r}, this ledger holds none yet{road}"
    known = [*map(name_of, newest), *(row.key or "" for row in newest)]
    hint = meant(target, known) if "?" in meant(target, known) else f": name it as {names[0]}/KEY, or by its id"
    return f"no such flow: {target!r}{hint} (`callboard flows list` shows what there is){road}"


async def kept_by(ledger: Ledger, choreography: Choreography | None, name: str) -> str | None:
    """The service whose ledger keeps the flows of this name, if this is not that ledger."""
    flow = choreography.flows.get(name) if choreography is not None else None
    if choreography is None or flow is None or not await is_one_of_several(ledger):
        return None
    home = choreography.home_of(flow).name
    return None if home in await ledger.owners() else home


async def is_one_of_several(ledger: Ledger) -> bool:
    """Whether services of the choreography keep other ledgers, as its workers said."""
    return any(position.reaction == RELAY for position in await ledger.positions())


async def parked_by_flow(ledger: Ledger, flows: Iterable[FlowRow]) -> dict[int, list[Parked]]:
    """What is parked in each of these flows."""
    return {flow.number: await ledger.parked(flow=flow.number) for flow in flows}
