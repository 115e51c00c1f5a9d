"""The demo's display on a terminal; needs rich."""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from screen import Lines, Progress


class LivingTable(Lines):
    """Bars that grow, and the last things that happened."""

    def __init__(self) -> None:
        super().__init__()
        self._said: deque[str] = deque(maxlen=6)
        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
        self._now = Progress(0, 1, 0, 0, 0, 0)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        self._said.append(f"{time.monotonic() - self._began:5.1f} s  {text}")
        self._draw()

    def show(self, now: Progress) -> None:
        self._now = now
        self._draw()

    def _draw(self) -> None:
        now, bars = self._now, Table.grid(padding=(0, 2))
        counts = (
            ("published", now.published, "cyan"),
            ("running", now.running, "yellow"),
            ("completed", now.completed, "green"),
            ("cancelled, all given back", now.cancelled, "magenta"),
        )
        for what, count, colour in counts:
            bar = ProgressBar(total=now.orders, completed=count, width=40, complete_style=colour, finished_style=colour)
            bars.add_row(what, bar, str(count))
        seconds = time.monotonic() - self._began
        rate = f"{now.events} events, {now.events / max(seconds, 0.1):.0f}/s"
        self._live.update(Group(bars, Text(rate, style="dim"), *(Text(line) for line in self._said)))
