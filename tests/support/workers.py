"""Workers of their own: a choreography that several of them run on one file, and how they are begun and killed.

Run as a module it is such a worker: `python -m tests.support.workers publish counter.db`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from callboard import Choreography, Context, Flow, LedgerError, Retry, Service, event, port, run

ROOT = Path(__file__).parent.parent.parent


@event
class Asked:
    name: str


@event
class Answered:
    name: str


@port
class Till(Protocol):
    async def ring(self, name: str, *, key: str) -> None: ...


counter = Service("counter")


@counter.reaction(retry=Retry(max_attempts=3, first_wait=timedelta(0)), pivot=True)
async def serve(asked: Asked, till: Till, ctx: Context) -> Answered:
    await till.ring(asked.name, key=ctx.idempotency_key())
    return Answered(name=asked.name)


shop = Choreography(
    "counter", counter, flows=[Flow("visit", key="name", starts=Asked, succeeds=Answered, timeout=None)]
)


class Reporting(Till):
    """Says who rang; the one called "poison" ends the worker, and nobody answers the one called "stuck"."""

    async def ring(self, name: str, *, key: str) -> None:
        print("rang", name, key, flush=True)
        if name == "poison":
            os._exit(17)
        if name == "stuck":
            await asyncio.Event().wait()


async def _publish(url: str) -> None:
    async with shop.open(url, services=[]) as board:
        await board.publish(Asked(name="first"))
        os.kill(os.getpid(), signal.SIGKILL)


async def _own(url: str) -> None:
    async with shop.open(url, ports=[Reporting()]) as board:
        print("owns", *board.work.tokens, flush=True)
        await asyncio.Event().wait()


async def _prune(url: str) -> None:
    """As `own`, and forgets what is over at once."""
    with patch.object(run, "_PRUNE_REST", 0.001):
        async with shop.open(url, ports=[Reporting()], keep=timedelta(microseconds=1)) as board:
            print("owns", *board.work.tokens, flush=True)
            await asyncio.Event().wait()


async def _last(url: str) -> None:
    """Until the board stops by itself."""
    async with shop.open(url, ports=[Reporting()]) as board:
        print("owns", *board.work.tokens, flush=True)

        async def never() -> None:
            return None

        try:
            await board.until(never, None, "it goes on")
        except LedgerError as error:
            print(error.__cause__, flush=True)
            os._exit(3)


async def _work(url: str) -> None:
    """Until nothing more is to be done."""
    async with shop.open(url, ports=[Reporting()]) as board:

        async def at_rest() -> bool | None:
            parked = await board.work.ledger.parked()
            flows = await board.work.ledger.list_flows(name=None, status="running", before=None, limit=100, now=0)
            return True if len(flows) == sum(row.why == "dead" for row in parked) else None

        await board.until(at_rest, timedelta(seconds=20), "never at rest")


class Worker:
    """One that was begun; what it says is read line by line."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running

    async def says(self) -> str:
        """Its next line; empty once it has ended."""
        assert self._running.stdout is not None
        return (await self._running.stdout.readline()).decode().strip()

    async def ends(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await self._running.wait()

    async def kill(self) -> None:
        """Killed, as `kill -9` does it."""
        if self._running.returncode is None:
            self._running.kill()
        await self._running.wait()


@asynccontextmanager
async def a_worker(what: str, file: Path) -> AsyncIterator[Worker]:
    """A worker on this file; it does not outlive the block."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.workers", what, str(file), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    worker = Worker(running)
    try:
        async with asyncio.timeout(30):
            yield worker
    finally:
        await worker.kill()


if __name__ == "__main__":
    asyncio.run(
        {"publish": _publish, "own": _own, "prune": _prune, "last": _last, "work": _work}[sys.argv[1]](
            f"sqlite:///{sys.argv[2]}"
        )
    )
