"""What the demo shows while it runs: a table that lives where there is a terminal, plain lines where there is none."""

import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from types import TracebackType
from typing import NamedTuple, Self


class Progress(NamedTuple):
    """How far the orders are."""

    published: int
    orders: int
    running: int
    completed: int
    cancelled: int
    events: int


class Lines:
    """One line every two seconds, to standard error."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", file=sys.stderr, flush=True)

    def show(self, now: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 2
            self.say(
                f"{now.published}/{now.orders} published, {now.running} running, {now.completed} completed, "
                f"{now.cancelled} cancelled, {now.events} events"
            )


def screen() -> Lines:
    """The best that this terminal can show."""
    if sys.stderr.isatty() and find_spec("rich") is not None:
        from living import LivingTable

        return LivingTable()
    return Lines()


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Two columns: what, and how many. A row without a value begins a new part."""
    return "\n".join(f"  {what:<42} {value!s:>10}" if value != "" else f"\n{what}" for what, value in rows)
