"""`callboard run`."""

import asyncio
import logging
import signal
import sys
from datetime import timedelta
from typing import Any

import click

from callboard.board import Board
from callboard.choreography import Choreography
from callboard.cli.command import Command, Refusal, all_of, option
from callboard.cli.discovery import as_list, find_app, load_keepers
from callboard.cli.output import masked, note, shown_duration
from callboard.cli.settings import (
    app_options,
    broker_option,
    broker_url,
    duration,
    keep_option,
    ledger_option,
    ledger_url,
    services_named,
    setting,
)
from callboard.errors import ContractError

_LOOK = 0.25  # seconds between two looks whether the board still runs
_LEVELS = ("debug", "info", "warning", "error")


# what a worker is told beside its app and its ledger
run_options = all_of(
    keep_option,
    option("--grace", metavar="DURATION", help="How long what runs may take to finish at the end.  [default: 30s]"),
    option("--services", metavar="A,B", help="Only these services; the others are left to other workers."),
    broker_option,
    option(
        "--ports",
        metavar="NAME",
        help="The keepers: module:attr or file.py:attr, a list or a function that returns one.",
    ),
)


@click.command(cls=Command, name="run")
@app_options
@ledger_option
@run_options
@option("--log-level", type=click.Choice(_LEVELS), default="info", help="What is logged, on stderr.")
def command(
    *, app_argument: str | None, app: str | None, ledger: str | None, broker: str | None, ports: str | None,
    services: str | None, grace: str | None, keep: str | None, log_level: str,
) -> int:  # fmt: skip
    """Run the services of APP on the ledger until SIGTERM or SIGINT, then finish what runs.

    A service that another worker owns is taken over when that worker is gone. The ledger is created if need be.
    """
    choreography = find_app(app, app_argument)
    url = ledger_url(ledger)
    names = services_named(services, list(choreography.services))
    keepers = setting("ports", ports)
    found: Any = load_keepers(keepers.value, keepers.folder) if keepers.value else []
    _log(log_level)
    times = {"grace": duration("grace", grace), "keep": duration("keep", keep)}
    return asyncio.run(_run(choreography, url, broker_url(broker), found, names, **times))


async def _run(
    choreography: Choreography, url: str, broker: str | None, keepers: Any, names: list[str] | None, *,
    grace: timedelta, keep: timedelta,
) -> int:  # fmt: skip
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, _stop, stopped, each)
    keepers = await keepers if hasattr(keepers, "__await__") else keepers
    services = None if names is None else [choreography.services[name] for name in names]
    try:
        opened = choreography.open(
            url, broker=broker, ports=as_list(keepers), services=services, grace=grace, keep=keep
        )
        async with opened as board:
            _greet(choreography, url, board, names)
            await _until_stopped(stopped, board)
            note(f"stopping: what runs has {shown_duration(grace)} to finish; a second signal does not wait")
    except ContractError as error:
        if "has no keeper" in str(error):
            raise Refusal(2, f"{error}. Here: --ports module:attr, a list of keepers") from error
        raise
    if board.failure is not None:
        raise board.failure
    note("stopped")
    return 130 if stopped.done() and stopped.result() is signal.SIGINT else 0


def _stop(stopped: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    """The first signal ends the work in order, the second at once."""
    if stopped.done():
        sys.exit(128 + number)
    stopped.set_result(number)


def _greet(choreography: Choreography, url: str, board: Board, names: list[str] | None) -> None:
    wanted = names or list(choreography.services)
    owned = list(board.work.tokens)
    note(
        f"callboard runs {choreography.name} on {masked(url)}: {', '.join(owned) or 'no service yet'}. Ctrl-C stops it"
    )
    others = [name for name in wanted if name not in owned]
    if others:
        note(f"standing by for {', '.join(others)}: another worker owns {'it' if len(others) == 1 else 'them'}")


async def _until_stopped(stopped: asyncio.Future[signal.Signals], board: Board) -> None:
    owned = set(board.work.tokens)
    while not stopped.done() and board.failure is None:
        await asyncio.wait([stopped], timeout=_LOOK)
        for name in sorted(set(board.work.tokens) - owned):
            note(f"took over {name}")
        owned |= set(board.work.tokens)


class _Lines(logging.Formatter):
    """A JSON object a line, for collectors of logs."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        standard = vars(logging.makeLogRecord({}))
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "text": record.getMessage(),
        }
        line |= {name: str(value) for name, value in vars(record).items() if name not in standard and name != "message"}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log(level: str) -> None:
    stream = logging.StreamHandler(sys.stderr)
    if not sys.stderr.isatty():
        stream.setFormatter(_Lines())
    else:
        stream.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[stream])
