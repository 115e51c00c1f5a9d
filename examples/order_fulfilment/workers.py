"""Worker processes of the shop: one runs some of the services, and may be killed at any moment."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from keepers import BankInAFile, CarrierInAFile

from shop import shop


class FastClock:
    """Runs `speed` times as fast as the clock on the wall, so that nobody waits half an hour to see a deadline pass."""

    def __init__(self, began: datetime, speed: float) -> None:
        self._began = began
        self._speed = speed

    def now(self) -> datetime:
        return self._began + (datetime.now(UTC) - self._began) * self._speed


class Worker:
    """One process of the operating system that owns these services."""

    def __init__(self, folder: Path, services: Sequence[str], began: datetime, speed: float) -> None:
        self.services = tuple(services)
        self._folder = folder
        self._options = ["--folder", str(folder), "--began", began.isoformat(), "--speed", str(speed)]
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "workers.log").open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable, __file__, *self._options, *self.services, stderr=log
            )

    async def kill(self) -> None:
        """It is gone when this returns, whatever it was doing."""
        assert self._running is not None
        with contextlib.suppress(ProcessLookupError):
            self._running.kill()
        await self._running.wait()

    async def stop(self) -> int:
        """It has finished what it had begun, and nothing new. Returns its exit code."""
        assert self._running is not None
        with contextlib.suppress(ProcessLookupError):
            self._running.terminate()
        return await self._running.wait()

    @property
    def died(self) -> bool:
        return self._running is not None and self._running.returncode is not None


async def work(folder: Path, names: Sequence[str], clock: FastClock) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    services = [shop.services[name] for name in names]
    keepers = [BankInAFile(folder / "bank.db"), CarrierInAFile(folder / "carrier.db")]
    async with shop.open(f"sqlite:///{folder / 'shop.db'}", ports=keepers, services=services, clock=clock):
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--began", type=datetime.fromisoformat, required=True)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("services", nargs="+", choices=list(shop.services))
    given = parser.parse_args()
    asyncio.run(work(given.folder, given.services, FastClock(given.began, given.speed)))


if __name__ == "__main__":
    main()
