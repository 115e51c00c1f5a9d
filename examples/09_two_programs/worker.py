"""Runs the services on the ledger that is named, until it is told to stop; then it finishes what it has begun."""

import asyncio
import signal
import sys

from mill import mill


async def work(url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with mill.open(url):  # owns what no live process owns, and stands by for the rest
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
