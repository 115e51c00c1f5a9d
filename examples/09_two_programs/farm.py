"""Publishes from a process that owns no service (`services=[]`), as a web server would; another process does the work.

What is published is durable before anybody works on it, and who waits for a flow may wait in any process.
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from mill import FlourMilled, GrainDelivered, mill

WORKER = Path(__file__).with_name("worker.py")


async def main(url: str) -> None:
    async with mill.open(url, services=[]) as board:
        first = await board.publish(GrainDelivered(load_id="monday", sacks=3), idempotency_key="request-1")
        try:
            await first.completion(timeout=timedelta(seconds=0.2))
        except TimeoutError as error:
            print(f"{error}: nobody works yet, and nothing is lost")

        worker = await asyncio.create_subprocess_exec(sys.executable, str(WORKER), url)
        try:
            milled = (await first.completion(timeout=timedelta(seconds=20))).event(FlourMilled)
            assert milled is not None
            print(f"monday: {milled.kilos} kg, milled by the worker: {milled.pid == worker.pid != os.getpid()}")

            again = await board.publish(GrainDelivered(load_id="monday", sacks=3), idempotency_key="request-1")
            print(f"the same request again: the same flow: {again.id == first.id}, a new one: {again.is_new}")

            loads = [GrainDelivered(load_id=f"load-{number}", sacks=number) for number in range(1, 101)]
            done = [await flow.completion(timeout=timedelta(seconds=20)) for flow in await board.publish(loads)]
            kilos = sum(each.kilos for one in done if (each := one.event(FlourMilled)))
            print(f"{len(done)} loads more: {kilos} kg")
        finally:
            worker.terminate()
            print("the worker stopped with", await worker.wait())


if __name__ == "__main__":
    asyncio.run(main(f"sqlite:///{sys.argv[1] if len(sys.argv) > 1 else 'mill.db'}"))
