"""One worker under test: `python -m tests.crash.worker <spec as JSON>`. It owns services, stands by, or only publishes.

It says what it did in JSON lines on its standard output, and ends at once when its standard input ends: no worker
outlives the harness.
"""

import asyncio
import json
import logging
import os
import resource
import signal
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec

from callboard import Service, SystemClock, run
from callboard.board import Board
from callboard.hops.retention import DEFAULT_KEEP
from tests.crash import witness
from tests.crash.outside import World
from tests.crash.publisher import Publisher
from tests.crash.scenes import SCENES


class Spec(msgspec.Struct, kw_only=True):
    """What the harness tells a worker."""

    name: str  # of this life of it
    scene: str
    folder: str
    seed: str
    services: list[str]  # none: it publishes
    publisher: str = ""  # whose orders it publishes
    begin: int = 0  # the first order that is not known to be acknowledged
    dials: dict[str, int] = {}  # the last reading of each dial that was acknowledged
    edits: int = 0
    build: int = 0  # reactions of the lines have other names in each
    keep: float | None = None  # seconds; None: as long as by default


class TurnedClock(SystemClock):
    """The machine's, and somebody turns it: by so many seconds as the file says, forwards or back."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._file.read_text() or "0"))


def say(what: str, **told: Any) -> None:
    """Tell the harness. What was written to the pipe outlives this worker."""
    os.write(1, (json.dumps({"what": what, **told}) + "\n").encode())


class Orders:
    """What the harness wants: "enough" is published, the disk is "full" or has "room", the worker is to "stop".

    A second SIGTERM ends it at once, as that of `callboard run` does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.enough = asyncio.Event()
        self.stop = asyncio.Event()
        self.board: Board | None = None
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        wishes = {"enough": self.enough.set, "stop": self.stop.set, "full": self._fill, "room": self._make_room}
        for line in sys.stdin:
            loop.call_soon_threadsafe(wishes[line.strip()])
        os._exit(9)

    def _terminated(self) -> None:
        if self.stop.is_set():
            sys.exit(128 + signal.SIGTERM)
        self.stop.set()

    def _fill(self) -> None:
        """The ledger may not grow any more: no page of it, or no file of this worker beyond its largest."""
        ledger: Any = self.board.work.ledger if self.board is not None else None
        if ledger is None:
            return
        if Random(os.getpid()).random() < 0.5:
            ledger._all(f"PRAGMA max_page_count = {ledger._one('PRAGMA page_count')}", ())
        else:
            files = [file for file in Path(ledger.url.removeprefix("sqlite:///")).parent.iterdir() if file.is_file()]
            largest = max(file.stat().st_size for file in files)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        say("full")

    def _make_room(self) -> None:
        ledger: Any = self.board.work.ledger if self.board is not None else None
        if ledger is not None:
            ledger._all("PRAGMA max_page_count = 1000000", ())
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


async def main(spec: Spec) -> int:
    orders = Orders(asyncio.get_running_loop())
    scene = SCENES[spec.scene](spec.build)
    services: list[Service] = [scene.choreography.services[name] for name in spec.services]
    folder = Path(spec.folder)
    world = World(folder / "outside.db", spec.name, Random(f"{spec.seed}/{spec.name}"))
    ports = scene.keepers(world) if services else []
    url = f"sqlite:///{folder / 'ledger.db'}"
    clock = TurnedClock(folder / "clock")
    keep = DEFAULT_KEEP if spec.keep is None else timedelta(seconds=spec.keep)
    async with scene.choreography.open(
        url, ports=ports, services=services, grace=timedelta(seconds=5), clock=clock, keep=keep
    ) as board:
        orders.board = board
        say("ready")
        publishing: asyncio.Task[None] | None = None
        if not services:
            chance = Random(f"{spec.seed}/{spec.name}")
            publisher = Publisher(board, scene, spec.publisher, chance=chance, say=say, enough=orders.enough)
            publishing = asyncio.create_task(publisher.run(spec.begin, spec.dials, spec.edits))
        while board.failure is None and not orders.stop.is_set():
            if publishing is not None and publishing.done():
                publishing.result()
            await asyncio.sleep(0.01)
        if publishing is not None:
            publishing.cancel()
        if board.failure is not None:
            say("failed", why=type(board.failure).__name__, text=str(board.failure))
            return 3
    say("stopped")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    given = msgspec.json.decode(sys.argv[1], type=Spec)
    witness.install(given.name)
    with patch.object(run, "_PRUNE_REST", 0.2 if given.keep is not None else run._PRUNE_REST):
        code = asyncio.run(main(given))
    sys.stdout.flush()
    os._exit(code)
