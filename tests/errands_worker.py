"""Runs the bikes and the road of the errands until its input ends: python -m tests.errands_worker FOLDER."""

import asyncio
import sys

from tests.errands import build


async def work(folder: str) -> None:
    errands = build()
    bus = f"sqlite:///{folder}/bus.db"
    async with errands.choreography.open(
        f"sqlite:///{folder}/others.db", broker=bus, services=[errands.bikes, errands.road]
    ):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
