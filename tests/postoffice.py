"""A post office for the tests of the command line: small, with everything in it that the commands show."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from click.testing import CliRunner, Result

from callboard import (
    Choreography,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    ReactionFailed,
    Retry,
    Service,
    event,
    failure,
    port,
    state,
)

FILE = Path(__file__)


@event
class LetterPosted:
    letter_id: str
    text: str = "hello"


@event
class LetterStamped:
    letter_id: str


@event
class LetterDelivered:
    letter_id: str


@failure
class AddressUnknown:
    letter_id: str


@event
class StampRefunded:
    letter_id: str


@event
class LetterReturned:
    letter_id: str


@event
class Receipt:
    letter_id: str


@state(key="letter_id")
class Envelope:
    letter_id: str
    stamped: bool = False


@port
class Till(Protocol):
    async def pay(self, letter_id: str) -> None: ...
    async def give_back(self, letter_id: str) -> None: ...


@port
class Van(Protocol):
    async def drive(self, text: str) -> bool: ...


counter, van = Service("counter"), Service("van")
QUICK = Retry(max_attempts=2, first_wait=timedelta(milliseconds=5))


@counter.reaction(retry=QUICK)
async def stamp(letter: LetterPosted, envelope: Envelope, till: Till) -> LetterStamped:
    await till.pay(letter.letter_id)
    envelope.stamped = True
    return LetterStamped(letter_id=letter.letter_id)


@counter.reaction(compensates=stamp)
async def refund(
    why: AddressUnknown | FlowCancelled[LetterPosted], stamped: LetterStamped | None, till: Till
) -> StampRefunded:
    letter_id = why.letter_id if isinstance(why, AddressUnknown) else why.started.letter_id
    await till.give_back(letter_id)
    return StampRefunded(letter_id=letter_id)


@counter.reaction
def send_back(refunded: StampRefunded) -> LetterReturned:
    return LetterReturned(letter_id=refunded.letter_id)


@van.reaction(needs=LetterPosted, pivot=True, retry=QUICK)
async def deliver(stamped: LetterStamped, letter: LetterPosted, van: Van) -> LetterDelivered | AddressUnknown:
    if await van.drive(letter.text):
        return LetterDelivered(letter_id=letter.letter_id)
    return AddressUnknown(letter_id=letter.letter_id)


@van.reaction(needs=Receipt)
def file_away(delivered: LetterDelivered, receipt: Receipt) -> None: ...


@van.reaction
def remind(late: FlowTimedOut[LetterPosted]) -> None: ...


@van.reaction
def complain(failed: ReactionFailed[LetterStamped]) -> None: ...


post = Choreography(
    "post",
    counter,
    van,
    incoming=Receipt,
    flows=[
        Flow(
            "letter",
            key="letter_id",
            starts=LetterPosted,
            succeeds=LetterDelivered,
            fails=LetterReturned,
            timeout=timedelta(minutes=5),
        )
    ],
)


def is_jammed() -> bool:
    return Path("traffic-jam").exists()


class HonestTill(Till):
    async def pay(self, letter_id: str) -> None: ...
    async def give_back(self, letter_id: str) -> None: ...


def is_flat() -> bool:
    return Path("flat-tyre").exists()


class RustyVan(Van):
    """Breaks down under "heavy" while a file `flat-tyre` lies there, is slow for "far", and finds no "nowhere".

    With "stuck" it goes on once there is no `traffic-jam`.
    """

    async def drive(self, text: str) -> bool:
        if text == "far":
            await asyncio.sleep(0.5)
        while text == "stuck" and is_jammed():  # noqa: ASYNC110  # a test in another process clears it
            await asyncio.sleep(0.05)
        if text == "heavy" and is_flat():
            raise RuntimeError("the tyre is flat\nand there is no spare one")
        return text != "nowhere"


def keepers() -> list[object]:
    return [HonestTill(), RustyVan()]


async def later_keepers() -> list[object]:
    return keepers()


def command(*args: str, **settings: Any) -> Result:
    """What `callboard ARGS` does, in this process."""
    from callboard.cli.front import cli

    return CliRunner().invoke(cli, args, prog_name="callboard", **settings)


def environment() -> dict[str, str]:
    """This one's, without what would tell a `callboard` anything."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}


def shell(*args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """What `callboard ARGS` does, in a process of its own."""
    line = [sys.executable, "-m", "callboard", *args]
    return subprocess.run(
        line, cwd=folder, env={**environment(), **env}, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def worker(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A `callboard run` that has begun."""
    line = [sys.executable, "-m", "callboard", "run", f"{FILE}:post", "--ledger", "sqlite:///post.db"]
    line += ["--ports", f"{FILE}:keepers", *args]
    with subprocess.Popen(line, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        told: list[str] = []
        for text in running.stderr:
            told.append(text)
            if "callboard runs post" in text:
                break
        else:
            raise AssertionError("".join(told))
        try:
            yield running
        finally:
            running.kill()
