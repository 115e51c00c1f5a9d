"""What is done to a SQLite ledger beside the work: it is migrated, looked over for faults, and copied."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from callboard.errors import LedgerError
from callboard.ledgers.sqlite_layout import LAYOUT, MIGRATIONS, sqlite_errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Ask = Callable[[str, Sequence[Any]], list[Any]]

_SHOWN = 20  # faults of one kind


def migrate(db: sqlite3.Connection, url: str) -> None:
    """The ledger has this callboard's layout, in the caller's transaction.

    A worker of an older callboard commits nothing more from then on; one that reads goes on. Raises LedgerError for a
    layout that only a newer callboard knows.
    """
    layout = db.execute("PRAGMA user_version").fetchone()[0]
    if layout > LAYOUT:
        raise LedgerError(
            f"{url}: its layout is {layout}, this callboard knows layout {LAYOUT}: "
            "run the version of callboard that wrote it"
        )
    for step in range(layout, LAYOUT):
        for statement in MIGRATIONS[step].split(";"):
            db.execute(statement)
    if layout < LAYOUT:
        db.execute(f"PRAGMA user_version = {LAYOUT}")


def refuse_layout(db: sqlite3.Connection, url: str) -> None:
    """Raises LedgerError for a file that can be looked at only once it is migrated, or by another callboard."""
    layout = db.execute("PRAGMA user_version").fetchone()[0]
    if layout == LAYOUT:
        return
    fix = "`callboard ledger migrate` makes it one" if 0 < layout < LAYOUT else "name another file"
    raise LedgerError(f"{url}: its layout is {layout}, a ledger of this callboard has {LAYOUT}: {fix}")


# What must not be there, as a query for it and a text for each row.
_FAULTS = (
    ("SELECT max(pos), (SELECT head FROM ledger) AS head FROM log HAVING max(pos) > head",
     "the log goes to position {}, the head says {}"),
    ("SELECT reaction, pos, head FROM reaction, ledger WHERE pos > head", "{} stands at {}, behind the head {}"),
    ("SELECT id, count(*) FROM log GROUP BY id HAVING count(*) > 1", "the event {} stands {} times in the log"),
    ("SELECT reaction, pos FROM parked p WHERE NOT EXISTS (SELECT 1 FROM log l WHERE l.pos = p.pos)",
     "{}@{} is parked, and its event is not in the log"),
    ("""SELECT reaction, count(*) FROM parked p WHERE instr(reaction, '(') = 0 AND NOT EXISTS
        (SELECT 1 FROM reaction r WHERE r.reaction = p.reaction AND r.live) GROUP BY reaction""",
     "{} has {} parked deliveries, and is no reaction that this ledger knows: nobody will take them up"),
    ("SELECT s.id, s.pos, head FROM supplied s, ledger WHERE s.pos > head", "{!r} stands for {}, behind the head {}"),
    ("SELECT id, pos FROM supplied s WHERE gone IS NULL AND NOT EXISTS (SELECT 1 FROM log l WHERE l.pos = s.pos)",
     "{!r} stands for {}, which is not in the log"),
    ("SELECT name, key, number FROM flow f WHERE NOT EXISTS (SELECT 1 FROM log l WHERE l.flow = f.number)",
     "{}/{} has no event in the log: number {}"),
    ("SELECT name, key, verdict FROM flow WHERE (verdict IS NULL) != (ended IS NULL)",
     "{}/{} has a verdict ({}) without a time, or a time without a verdict"),
    ("SELECT pos, type FROM log WHERE NOT EXISTS (SELECT 1 FROM name WHERE number = type)",
     "the event at {} is of type number {}, which has no name"),
)  # fmt: skip


def faults(ask: Ask, *, on_disk: bool = True) -> list[str]:
    """What is wrong with the database, in words; empty if nothing is."""
    found = [row[0] for row in (ask("PRAGMA integrity_check", ()) if on_disk else ()) if row[0] != "ok"]
    for query, text in _FAULTS if not found else ():
        found += [text.format(*row) for row in ask(f"{query} LIMIT {_SHOWN}", ())]
    return found


@contextmanager
def copied(url: str, db: sqlite3.Connection, place: Path) -> Iterator[Path]:
    """A copy of one moment, under another name while the caller looks at it; at `place` if that raises nothing."""
    if place.exists():
        raise LedgerError(f"{place}: is there already: a backup replaces nothing, name another file")
    beside = place.with_name(f"{place.name}.part")
    beside.unlink(missing_ok=True)
    try:
        with sqlite_errors(url):
            db.execute("VACUUM INTO ?", (str(beside),))
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        yield beside
        beside.rename(place)
    finally:
        for name in ("", "-wal", "-shm"):
            beside.with_name(f"{beside.name}{name}").unlink(missing_ok=True)
