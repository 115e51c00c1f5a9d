"""One worker under test: `python -m tests.crash.worker <spec as JSON>`. It owns services, stands by, or only publishes.

It says what it did in JSON lines on its standard output, and ends at once when its standard input ends: no worker
outlives the harness.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from callboard import Service
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


def say(what: str, **told: Any) -> None:
    """Tell the harness. What was written to the pipe outlives this worker."""
    os.write(1, (json.dumps({"what": what, **told}) + "\n").encode())


class Orders:
    """What the harness wants: "enough" is published, or the worker is to "stop"."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.enough = asyncio.Event()
        self.stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        wishes = {"enough": self.enough.set, "stop": self.stop.set}
        for line in sys.stdin:
            loop.call_soon_threadsafe(wishes[line.strip()])
        os._exit(9)


async def main(spec: Spec) -> int:
    orders = Orders(asyncio.get_running_loop())
    scene = SCENES[spec.scene]()
    services: list[Service] = [scene.choreography.services[name] for name in spec.services]
    folder = Path(spec.folder)
    world = World(folder / "outside.db", spec.name, Random(f"{spec.seed}/{spec.name}"))
    ports = scene.keepers(world) if services else []
    url = f"sqlite:///{folder / 'ledger.db'}"
    async with scene.choreography.open(url, ports=ports, services=services, grace=timedelta(seconds=5)) as board:
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
    code = asyncio.run(main(given))
    sys.stdout.flush()
    os._exit(code)
