"""What the commands print: data on stdout, the rest on stderr; tables, JSON, times and durations."""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import click

from callboard.cli.command import Refusal

PROPERTY = "%\r\n:,"  # what GitHub wants escaped in front of the second `::`
_TONES = {
    "failure": "red",
    "compensation": "magenta",
    "timer": "cyan",
    "wait": "yellow",
    "good": "green",
    "quiet": "bright_black",
}
_PASSWORD = re.compile(r"(\w://[^\s:/@]*:)\S+(?=@)|(?i:(\b(?:password|passwd|secret|token|api_?key)=))[^&\s'\"]+")


def masked(text: str) -> str:
    """The text without the passwords of the URLs in it."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", text)


def is_colored(stream: TextIO) -> bool:
    """Whether escapes may be written there, by --color, NO_COLOR, TERM, FORCE_COLOR, or else if it is a terminal."""
    ctx = click.get_current_context(silent=True)
    asked = None if ctx is None else ctx.meta.get("callboard.color")
    if asked is not None:
        return bool(asked)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def say(text: str = "", tone: str = "") -> None:
    """A line of data."""
    if not _can_write(sys.stdout):
        from callboard.drawings.tree import plain

        text = plain(text)
    styled = click.style(text, fg=_TONES[tone]) if tone and is_colored(sys.stdout) else text
    click.echo(styled, color=is_colored(sys.stdout))


def write_out(text: str, file: str | None) -> None:
    """The lines of `text` into this file, or as data."""
    if file is None:
        for line in text.rstrip("\n").split("\n"):
            say(line)
        return
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        raise Refusal(2, f"{file} cannot be written: {error.strerror}") from error


def note(text: str) -> None:
    """A line for whoever sits there, not for the next program in the pipe."""
    click.echo(masked(text), err=True)


def say_json(schema: str, content: dict[str, Any]) -> None:
    """One object that says what it is."""
    document = {"schema": f"callboard.{schema}/v1", **content}
    click.echo(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], tones: Sequence[str] = ()) -> None:
    """Aligned columns; folded to the width of a terminal, never cut off. No rows, no table."""
    rows = list(rows)
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    colored = is_colored(sys.stdout)
    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for number, row in enumerate(rows):
        tone = _TONES.get(tones[number], "") if number < len(tones) else ""
        drawn.add_row(*(Text(cell) for cell in row), style=tone.replace("bright_black", "dim") or None)
    console = Console(
        file=sys.stdout,
        width=None if is_terminal else 10_000,
        force_terminal=colored,
        color_system="standard" if colored else None,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), color=colored)


def _can_write(stream: TextIO) -> bool:
    try:
        "─▶╌".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def instant(micros: int | None) -> str:
    """A moment as ISO 8601 in UTC; empty for none."""
    if micros is None:
        return ""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_moment(micros: int) -> str:
    """A moment for people: to the second, UTC."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def shown_duration(duration: timedelta | int) -> str:
    """A duration, or microseconds, in the two largest units that matter: `1.4 s`, `2 h 5 min`."""
    seconds = duration / 1_000_000 if isinstance(duration, int) else duration.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    for size, unit, below, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if abs(seconds) >= size:
            whole, rest = divmod(int(abs(seconds)), size)
            tail = f" {rest // below} {smaller}" if rest // below else ""
            return f"{'-' if seconds < 0 else ''}{whole} {unit}{tail}"
    return f"{seconds:g} s"


def near(file: str) -> str:
    """The file, seen from here where it lies below."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def escaped(text: str, letters: str = "%\r\n") -> str:
    """The text with these letters as GitHub wants them in the command of a workflow."""
    for letter in letters:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def counted(number: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
