"""Seeds over several processes: the same worlds, counted in the order of their seeds."""

from __future__ import annotations

import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Any

from callboard.cli.command import Refusal
from callboard.simulation.hunt import Lived, live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from callboard.simulation.world import Scene

_BATCH = 8  # seeds that one process is given at a time
_scenes: list[Scene] = []  # of this process: each imports the app anew


def spread(jobs: int, seeds: Iterable[int], make: Callable[..., Scene], *given: object) -> Iterator[Lived]:
    """Each seed lived, in order, by so many workers (0: one for each core) that call `make` with what is given."""
    count = jobs or os.cpu_count() or 1
    pool = ProcessPoolExecutor(count, get_context("spawn"), partial(_begin, make, *given))
    left, ahead = iter(seeds), deque[Any]()
    try:
        while True:
            while len(ahead) < 2 * count and (batch := [*islice(left, _BATCH)]):
                ahead.append(pool.submit(_live, batch))
            if not ahead:
                return
            yield from ahead.popleft().result()
    except BrokenProcessPool as error:
        raise Refusal(
            2, "a process of --jobs has ended: can the app be imported anew? Try it without --jobs"
        ) from error
    except KeyboardInterrupt:
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make: Callable[..., Scene], *given: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked for us ends us
    _scenes.append(make(*given))


def _live(seeds: list[int]) -> list[Lived]:
    """Without its story, where nobody asks for it."""
    lived = [live(_scenes[0], seed) for seed in seeds]
    return [
        each if each.is_looked_into else Lived(replace(each.ending, lines=[], trace=[]), each.seen) for each in lived
    ]
