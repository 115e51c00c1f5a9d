"""Tells of a reaction that does not return: it stands in the way of everything else in its process.

Nobody can interrupt a function that runs in the loop's own thread, so nothing is done about it: what it is doing is
said, under the name of the reaction, once its `timeout=` is over. `blocking=True` gives it a thread of its own.
"""

from __future__ import annotations

import logging
import sys
import threading
from traceback import format_stack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from callboard.contract import Contract
    from callboard.hops.work import Work

LOG = logging.getLogger("callboard")
_LONGEST, _SHORTEST = 1.0, 0.005  # seconds between two looks


class Watchdog:
    """A thread that looks at what the thread of the loop is doing."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._watched = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="callboard watchdog", daemon=True)
        self._frame: FrameType | None = None  # the run that was seen at the last look
        self._seen = 0.0  # for how long

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._frame = None

    def _watch(self) -> None:
        contracts = self._work.choreography.contracts.values()
        shortest = min((each.options.timeout.total_seconds() for each in contracts), default=_LONGEST)
        wait = max(_SHORTEST, min(_LONGEST, shortest / 4))
        while not self._stop.wait(wait):
            self._look(wait)

    def _look(self, passed: float) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - for debuggers # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._watched)
        top, codes = frame, {r.reaction.function.__code__: r.contract for r in list(self._work.readers.values())}
        while frame is not None and frame.f_code not in codes:
            frame = frame.f_back
        if frame is None or top is None or frame is not self._frame:
            self._frame, self._seen = frame, 0.0
            return
        contract, before = codes[frame.f_code], self._seen
        self._seen += passed
        if before < contract.options.timeout.total_seconds() <= self._seen:
            self._tell(contract, top)

    def _tell(self, contract: Contract, top: FrameType) -> None:
        LOG.error(
            "%s has not returned for %s, and nothing else of this process goes on meanwhile. It cannot be interrupted: "
            "say blocking=True on it (%s), or await what it waits for. It is here:\n%s",
            contract.path,
            contract.options.timeout,
            contract.where,
            "".join(format_stack(top)),
        )
