"""What changes something asks first: a plan, a yes, and an account of what was done."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypedDict

import click

from callboard.cli.command import Refusal, all_of, option
from callboard.cli.output import counted, note, say, say_json
from callboard.cli.reading import now
from callboard.cli.settings import is_interactive, json_option
from callboard.ledger import Ledger, Note, on_record
from callboard.letters import operator, patiently

# who does it, and why; and whether to ask first
changing = all_of(
    json_option,
    option("--yes", "-y", is_flag=True, help="Do not ask. Needed where nobody can be asked."),
    option("--dry-run", is_flag=True, help="Only say what would be done, and what would be refused."),
    option("--as", "by", metavar="NAME", help="Who you are, for the record.  [default: the user of this system]"),
    option("--note", "remark", metavar="TEXT", default="", help="Why, for the record."),
)


class Changing(TypedDict):
    """What `changing` gives."""

    by: str | None
    remark: str
    dry_run: bool
    yes: bool
    as_json: bool


def noted(how: Changing, what: str, about: str) -> Note:
    """It, for the ledger's own record."""
    return on_record(what, about, by=how["by"] or operator(), note=how["remark"], now=now())


async def put_on_record(ledger: Ledger, record: Note) -> None:
    """The ledger's record has it."""

    async def write() -> None:
        async with ledger.transaction({}) as tx:
            await tx.note([record])

    await patiently(write)


@dataclass
class Plan:
    """One thing that is to be done with each of several."""

    verb: str
    names: list[str]
    lines: list[str]
    note: str = ""
    came: dict[str, str] = field(default_factory=dict[str, str])  # what came of one, by its name, where that is known
    refused: dict[str, str | None] = field(default_factory=dict[str, "str | None"])  # what is known beforehand


def carry_out(
    plan: Plan,
    do: Callable[[], Coroutine[Any, Any, list[str | None]]],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool = False,
    **_: Any,
) -> int:
    """Shows the plan, asks unless told not to, does it. `do` answers with why not, or None, for each.

    The exit code: 0 all done, 5 some, 1 none.
    """
    for line in plan.lines:
        note(f"{plan.verb} {line}")
    if plan.note:
        note(plan.note)
    if dry_run:
        count = sum(plan.refused.get(name) is None for name in plan.names)
        note(f"dry run: nothing was changed, {counted(count, 'item')} would be")
        return _account(plan, [plan.refused.get(name) or "dry run" for name in plan.names], as_json=as_json, code=0)
    if not plan.names:
        return _account(plan, [], as_json=as_json, code=0)
    if not yes:
        _ask(plan)
    failures = asyncio.run(do())
    done = sum(each is None for each in failures)
    code = 0 if done == len(failures) else 5 if done else 1
    return _account(plan, failures, as_json=as_json, code=code)


def _ask(plan: Plan) -> None:
    if not is_interactive():
        raise Refusal(
            2, f"to {plan.verb} {counted(len(plan.names), 'item')} without asking, say --yes (or --dry-run to look)"
        )
    if not click.confirm("Proceed?", err=True):
        sys.exit(1)


def _account(plan: Plan, failures: list[str | None], *, as_json: bool, code: int) -> int:
    if as_json:
        items = [
            {"id": name, "done": why is None, "why_not": why, "came": plan.came.get(name)}
            for name, why in zip(plan.names, failures, strict=True)
        ]
        say_json(plan.verb, {"items": items})
    elif failures and "dry run" not in failures:
        for name, why in zip(plan.names, failures, strict=True):
            did = plan.came.get(name, {"cancel": "cancelled", "retire": "retired"}.get(plan.verb, "asked"))
            say(f"{name}: {did}" if why is None else f"{name}: no, {why}", "" if why is None else "failure")
    return code
