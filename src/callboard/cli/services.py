"""`callboard services`."""

import asyncio
from collections import Counter
from typing import Any

import click

from callboard.choreography import Choreography
from callboard.cli.command import Command
from callboard.cli.discovery import find_app, find_app_if_any
from callboard.cli.output import counted, instant, note, say, say_json, table
from callboard.cli.prune import survey
from callboard.cli.reading import is_stopped, now, owner_runs, reading
from callboard.cli.settings import app_options, json_option, ledger_option, ledger_url
from callboard.hops.abroad import RELAY
from callboard.ledger import Ledger, Position

_LATE = 60_000_000  # microseconds that an event may wait for its owner before that is told
MOST = 1000  # events behind that are counted one by one


@click.command(cls=Command, name="services")
@app_options
@ledger_option
@json_option
def command(app_argument: str | None, app: str | None, ledger: str | None, *, as_json: bool) -> None:
    """Show each service: its owner, and for each reaction how far it is and what of it is parked.

    LAG counts the events that the reaction has not come to. HOLDS counts flows that are over and old enough to be
    forgotten, and that stay because of this reaction.
    """
    choreography = find_app(None, app_argument) if app_argument else find_app_if_any(app)
    services = asyncio.run(services_of(ledger_url(ledger), choreography))
    if as_json:
        say_json("services", {"items": services})
        return
    rows = [(each["name"], each["owner"]["says"]) for each in services]
    table(("SERVICE", "OWNER"), rows)
    say()
    cells = [told_of(reaction) for service in services for reaction in service["reactions"]]
    table(("REACTION", "LAG", "OPEN", "HOLDS", "PARKED"), cells)
    for service in services:
        owner, late = service["owner"], [each for each in service["reactions"] if each["late"] and not each["paused"]]
        if owner["runs"] and late:
            since, worker = min(each["oldest"] for each in late), owner["process"]
            fix = f"if it hangs, `kill -9 {worker.removeprefix('pid ')}` lets a standby take over, and loses nothing"
            note(f"{service['name']}: {worker} lives, and has not come to an event of {since}: {fix}")
    if choreography is None:
        note("LAG counts all events behind: name the app to count only those that a reaction hears")


def told_of(reaction: dict[str, Any]) -> tuple[str, ...]:
    """Its name, how far behind it is, what of it is open, what it holds back, and what is parked and why."""
    parked = ", ".join(f"{count} {why}" for why, count in reaction["parked"].items())
    if reaction["paused"]:
        paused = f"paused by a breaker of {reaction['paused_by']}, until {reaction['paused']}"
        parked = f"{parked}; {paused}" if parked else paused
    lag = "not known yet" if reaction["lag"] is None else f"{reaction['lag']}{'+' if reaction['lag_is_capped'] else ''}"
    return (reaction["path"], lag, str(reaction["open"]), str(reaction["holds_back"] or ""), parked)


async def services_of(url: str, choreography: Choreography | None) -> list[dict[str, Any]]:
    """Each service with its owner, and with its reactions as they stand in the ledger."""
    async with reading(url) as ledger:
        positions = {each.reaction: each for each in await ledger.positions() if each.live}
        parked: dict[str, Counter[str]] = {}
        for row in await ledger.parked():
            parked.setdefault(row.reaction, Counter())[row.why] += 1
        owners = await ledger.owners()
        held: Counter[str] = Counter()
        for hold, count in (await survey(ledger, choreography)).held.items():
            held[hold.reaction] += count
        paths = list(dict.fromkeys([*(choreography.contracts if choreography else ()), *positions, *parked]))
        names = dict.fromkeys(
            [
                *(choreography.services if choreography else ()),
                *(path.partition(".")[0] for path in paths if " " not in path),
            ]
        )
        return [
            {
                "name": name,
                "owner": _owner(owners.get(name), await _road(ledger, positions[RELAY]) if name == RELAY else ""),
                "reactions": [
                    {
                        **await _reaction(ledger, path, positions.get(path), parked.get(path, Counter()), choreography),
                        "holds_back": held[path],
                    }
                    for path in paths
                    if path.partition(".")[0] == name and "(" not in path
                ],
            }
            for name in names
        ]


async def _reaction(
    ledger: Ledger, path: str, position: Position | None, parked: Counter[str], choreography: Choreography | None
) -> dict[str, Any]:
    lag = oldest = None
    if position is not None:
        contract = choreography.contracts.get(path) if choreography else None
        kinds = None if contract is None else [kind.name for kind in contract.hears]
        ahead = await ledger.read(position.pos, limit=MOST, types=kinds)
        lag, oldest = len(ahead), ahead[0].time if ahead else None
    return {
        "path": path,
        "position": None if position is None else position.pos,
        "lag": lag,
        "lag_is_capped": lag == MOST,
        "oldest": instant(oldest) or None,
        "late": oldest is not None and now() - oldest > _LATE,
        "open": 0 if position is None else len(position.open),
        "parked": dict(sorted(parked.items())),
        "paused": None if position is None or (position.paused or 0) <= now() else instant(position.paused),
        "paused_by": None if position is None or (position.paused or 0) <= now() else position.by,
        "in_code": choreography is None or path in choreography.contracts,
    }


async def _road(ledger: Ledger, relay: Position) -> str:
    """Where the broker is away: since when, and how many may wait for it."""
    if relay.by is None:
        return ""
    waiting = len(await ledger.read(relay.pos, limit=MOST))
    return f"; the broker is away since {instant(relay.paused)}, up to {counted(waiting, 'event')} wait: {relay.by}"


def _owner(told: str | None, more: str) -> dict[str, Any]:
    if told is None:
        return {"process": None, "runs": False, "says": "nobody yet"}
    runs = owner_runs(told)
    said = f"nobody; the last one, {told}, is gone" if runs is False else told
    if runs and is_stopped(told):
        said += f", which was stopped: `kill -CONT {told.removeprefix('pid ')}` lets it go on"
    return {"process": told, "runs": runs, "says": said + more}
