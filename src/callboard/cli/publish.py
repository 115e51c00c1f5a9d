"""`callboard publish`."""

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from callboard import fields
from callboard.board import Board, FlowHandle
from callboard.choreography import Choreography
from callboard.cli.command import Command, Refusal, meant, option
from callboard.cli.discovery import find_app
from callboard.cli.output import counted, note, say, say_json, shown_duration
from callboard.cli.reading import flow_document, is_one_of_several, name_of, now, read, status_of, tone_of
from callboard.cli.settings import (
    Duration,
    app_option,
    broker_option,
    broker_url,
    given_bytes,
    json_option,
    ledger_option,
    ledger_url,
)
from callboard.codecs.json import JsonCodec
from callboard.errors import CodecError
from callboard.event import EventType
from callboard.flow import Flow
from callboard.ledger import FlowRow, Ledger

_LONGEST = 15.0  # seconds that a commit may take
_GRACE = timedelta(seconds=2)


@click.command(cls=Command, name="publish")
@click.argument("event")
@click.argument("data", metavar="[JSON|@FILE|-]", required=False)
@app_option
@ledger_option
@broker_option
@option(
    "--idempotency-key", metavar="KEY", help="The same call with the same key is one publish, however often it is made."
)
@option(
    "--wait", "patience", type=Duration(), help="Wait so long for the flow's verdict. Exit code 1 if it is not success."
)
@json_option
def command(
    *, event: str, data: str | None, app: str | None, ledger: str | None, broker: str | None,
    idempotency_key: str | None, patience: timedelta | None, as_json: bool,
) -> int:  # fmt: skip
    """Publish EVENT with what it carries as JSON; several at once, in one commit, as a JSON list.

    It is durable when the command ends. A worker that runs on the ledger reacts to it, now or when it is started. With
    --broker the ledger may be one of its own: the event goes on to the ledger that keeps its flow.
    """
    choreography = find_app(app)
    kind = find_event(choreography, event)
    events = _decoded(kind, _read(kind, data))
    url = ledger_url(ledger)
    if url.endswith(":memory:"):
        raise Refusal(2, f"{url} would be gone with this command: publish to a file, sqlite:///shop.db")
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.exists():
        note(f"{path} is new: it is created")
    road = _broker_for(url, broker_url(broker), choreography, _flows_of(choreography, kind))
    return asyncio.run(_publish(choreography, url, events, idempotency_key, patience, broker=road, as_json=as_json))


def _flows_of(choreography: Choreography, kind: EventType) -> list[Flow]:
    """The flows that an event of this type begins or may join."""
    return [each for each in choreography.flows.values() if each.start is kind or kind.carries(each.key)]


def _broker_for(url: str, broker: str | None, choreography: Choreography, flows: Iterable[Flow]) -> str | None:
    """The broker to publish with into `flows` from this ledger; None where it keeps them itself.

    Exit 2 where it needs one and none is named, or where nobody would hear of it there.
    """
    if not Path(url.removeprefix("sqlite:///")).exists():
        return broker
    owners, several = read(url, _owners)

    if owners and not several and broker is not None:
        raise Refusal(2, f"{url} was run without a broker, so it keeps its flows itself: leave --broker away")
    if not several or broker is not None:
        return broker
    for flow in flows:
        if (home := choreography.home_of(flow).name) not in owners:
            raise Refusal(
                2,
                f"{flow.name} is kept in the ledger of {home}, and {url} reaches it through a broker: say --broker "
                f"URL, as its workers do, or name the ledger of {home}",
            )
    return None


async def _owners(ledger: Ledger) -> tuple[dict[str, str], bool]:
    return await ledger.owners(), await is_one_of_several(ledger)


def find_event(choreography: Choreography, name: str) -> EventType:
    """The event type of this name. Exit 2 if there is none that somebody may publish."""
    own = {each.name: each for each in choreography.events.values() if each.inner is None}
    own |= {each.cls.__name__: each for each in own.values() if each.cls.__name__ not in own}
    if name not in own:
        first = next((each for each in own if each.lower() == name.lower()), None)
        hint = f": did you mean {first!r}?" if first else meant(name, sorted(own))
        raise Refusal(2, f"{choreography.name} knows no event {name!r}{hint}")
    return own[name]


def _read(kind: EventType, data: str | None) -> bytes:
    if data is None:
        raise Refusal(2, f"what does the {kind} carry? Give it as JSON, @file or -: {_skeleton(kind)}")
    return given_bytes(data)


def _skeleton(kind: EventType) -> str:
    from typing import get_type_hints

    from callboard.parameters import shown

    hints = get_type_hints(kind.cls)
    needed = fields.required_names(kind.cls)
    said = [f'"{name}": {shown(hints.get(name, Any))}' for name in fields.field_names(kind.cls) if name in needed]
    return "'{" + ", ".join(said) + "}'"


def _decoded(kind: EventType, data: bytes) -> list[Any]:
    import msgspec

    codec = JsonCodec()
    try:
        several = msgspec.json.decode(data, type=list[msgspec.Raw]) if data.lstrip().startswith(b"[") else [data]
        return [codec.decode(bytes(each), kind) for each in several]
    except (CodecError, msgspec.DecodeError) as error:
        raise Refusal(2, f"{error}{_misspelt(kind, str(error))}. It takes {_skeleton(kind)}") from error


def _misspelt(kind: EventType, error: str) -> str:
    """The field that was meant, where one is unknown."""
    unknown = [part for part in error.split("`") if part.isidentifier() and part not in kind.fields]
    near = get_close_matches(unknown[0], kind.fields, 1) if unknown else []
    return f" (did you mean {near[0]!r}?)" if near else ""


async def _committed(board: Board, events: list[Any], key: str | None) -> list[FlowHandle]:
    try:
        return await asyncio.wait_for(board.publish(events, idempotency_key=key), _LONGEST)
    except TimeoutError:
        again = "the same command" if key is not None else "with an --idempotency-key"
        raise Refusal(
            3, f"nothing could be committed for {_LONGEST} s, see the error above: it may happen yet, try again {again}"
        ) from None


async def _publish(
    choreography: Choreography, url: str, events: list[Any], key: str | None, patience: timedelta | None, *,
    broker: str | None, as_json: bool,
) -> int:  # fmt: skip
    async with choreography.open(url, broker=broker, services=[], grace=_GRACE) as board:
        handles = await _committed(board, events, key) if events else []
        rows = [await _row(handle, patience) for handle in handles]
        owners = await board.work.ledger.owners()
    if as_json:
        items = [{"new": handle.is_new, **_document(handle, row)} for handle, row in zip(handles, rows, strict=True)]
        say_json("publish", {"items": items})
    else:
        for handle, row in zip(handles, rows, strict=True):
            _tell(handle, row)
    if len(handles) > 1:
        note(f"{counted(len(handles), 'event')} in one commit")
    if patience is None:
        return 0
    for row in rows:
        if row is not None and row.verdict is None:
            hint = "" if owners else ": no worker has run on this ledger yet, `callboard run` starts one"
            note(f"{name_of(row)} has no verdict within {shown_duration(patience)}{hint}")
    return 0 if all(row is None or row.verdict == "succeeded" for row in rows) else 1


async def _row(handle: FlowHandle, patience: timedelta | None) -> FlowRow | None:
    """The flow as it is now, or when it has its verdict; None for what belongs to no flow."""
    if not handle.name:
        return None
    if patience is not None:
        with contextlib.suppress(TimeoutError):
            await handle.completion(timeout=patience)
    return await handle.row()


def _document(handle: FlowHandle, row: FlowRow | None) -> dict[str, Any]:
    return (
        {"flow": None, "id": handle.id}
        if row is None
        else {"flow": name_of(row), "id": handle.id, **flow_document(row, now())}
    )


def _tell(handle: FlowHandle, row: FlowRow | None) -> None:
    if row is None:
        say(handle.id or "")
        return
    is_away = handle.is_elsewhere and row.verdict is None
    status = "published here, on its way to the ledger that keeps it" if is_away else status_of(row, now())
    say(f"{name_of(row)}   {row.id}   {status}", tone_of(status) if row.verdict else "")
