"""The tables of a SQLite ledger, how rows are read from them, and how sqlite3's errors are told."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from callboard.errors import LedgerBusy, LedgerCorrupt, LedgerError
from callboard.ledger import Entry, FlowRow, Parked, Scatter, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAYOUT = 2
PAGE = 400  # rows in one statement; below SQLite's limit of bound values

TABLES = """
CREATE TABLE ledger (one INTEGER PRIMARY KEY CHECK (one = 1), identity BLOB NOT NULL, head INTEGER NOT NULL,
    edits INTEGER NOT NULL, pruned_to INTEGER NOT NULL DEFAULT 0, prunes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE name (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE log (pos INTEGER PRIMARY KEY, id TEXT NOT NULL, type INTEGER NOT NULL, flow INTEGER NOT NULL,
    time INTEGER NOT NULL,
    key TEXT, cause INTEGER NOT NULL, by INTEGER NOT NULL, data BLOB NOT NULL, more BLOB);
CREATE INDEX log_flow ON log (flow);
CREATE TABLE supplied (id TEXT PRIMARY KEY, pos INTEGER NOT NULL, digest BLOB NOT NULL, gone INTEGER) WITHOUT ROWID;
CREATE INDEX supplied_pos ON supplied (pos);
CREATE INDEX supplied_gone ON supplied (gone) WHERE gone IS NOT NULL;
CREATE TABLE flow (number INTEGER NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, key TEXT, started INTEGER NOT NULL,
    deadline INTEGER, timed_out INTEGER NOT NULL DEFAULT 0, failing INTEGER, verdict TEXT, ended INTEGER, by TEXT,
    leaked TEXT,
    PRIMARY KEY (number, name)) WITHOUT ROWID;
CREATE UNIQUE INDEX flow_key ON flow (key, name) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX flow_id ON flow (id, name);
CREATE INDEX flow_due ON flow (deadline) WHERE deadline IS NOT NULL AND verdict IS NULL AND timed_out = 0;
CREATE INDEX flow_failing ON flow (failing) WHERE failing IS NOT NULL AND verdict IS NULL;
CREATE TABLE reaction (reaction TEXT PRIMARY KEY, since INTEGER NOT NULL, pos INTEGER NOT NULL, open BLOB,
    live INTEGER NOT NULL DEFAULT 1, hears TEXT, first TEXT, paused INTEGER, by TEXT) WITHOUT ROWID;
CREATE TABLE hearer (type TEXT NOT NULL, reaction TEXT NOT NULL, PRIMARY KEY (type, reaction)) WITHOUT ROWID;
CREATE TABLE owner (service TEXT PRIMARY KEY, token INTEGER NOT NULL, process TEXT NOT NULL,
    clean INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE parked (reaction TEXT NOT NULL, pos INTEGER NOT NULL, effect INTEGER NOT NULL, flow INTEGER NOT NULL,
    line TEXT NOT NULL,
    why TEXT NOT NULL, due INTEGER, attempts INTEGER NOT NULL, error TEXT, missing TEXT, asked TEXT, data BLOB,
    PRIMARY KEY (reaction, pos, effect)) WITHOUT ROWID;
CREATE INDEX parked_flow ON parked (flow);
CREATE INDEX parked_asked ON parked (asked) WHERE asked IS NOT NULL;
CREATE TABLE memory (flow INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, part TEXT NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (flow, kind, name, part, pos)) WITHOUT ROWID;
CREATE TABLE note (pos INTEGER NOT NULL, reaction TEXT NOT NULL, flow INTEGER NOT NULL, what TEXT NOT NULL,
    why TEXT NOT NULL,
    time INTEGER NOT NULL);
CREATE INDEX note_flow ON note (flow);
"""

# What makes a ledger of an older layout one of the next. Steps only add: another worker may be reading meanwhile.
MIGRATIONS = {
    1: """
ALTER TABLE ledger ADD COLUMN pruned_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN prunes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE supplied ADD COLUMN gone INTEGER;
CREATE INDEX supplied_pos ON supplied (pos);
CREATE INDEX supplied_gone ON supplied (gone) WHERE gone IS NOT NULL;
ALTER TABLE reaction ADD COLUMN hears TEXT;
ALTER TABLE reaction ADD COLUMN first TEXT;
CREATE TABLE hearer (type TEXT NOT NULL, reaction TEXT NOT NULL, PRIMARY KEY (type, reaction)) WITHOUT ROWID;
ALTER TABLE reaction ADD COLUMN paused INTEGER;
ALTER TABLE reaction ADD COLUMN by TEXT;
UPDATE parked SET asked = json_object('what', asked) WHERE asked IS NOT NULL;
""",
}

STATE_TABLE = (
    'CREATE TABLE IF NOT EXISTS "state_{}" '
    "(key TEXT PRIMARY KEY, version INTEGER NOT NULL, shape INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID"
)
PUT_LOG = "INSERT INTO log (pos, id, type, flow, time, key, cause, by, data, more) VALUES "
GET_LOG = "SELECT pos, id, type, flow, time, key, cause, by, data, more FROM log "
GET_PARKED = "SELECT reaction, pos, effect, flow, line, why, due, attempts, error, missing, asked, data FROM parked "
GET_FLOW = "SELECT number, name, id, key, started, deadline, timed_out, failing, verdict, ended, by, leaked FROM flow "

T = TypeVar("T")
LogRow = tuple[int, str, int, int, int, "str | None", int, int, bytes, "bytes | None"]


class More(msgspec.Struct, array_like=True):
    """The attributes of an entry that few entries have."""

    scatters: tuple[tuple[str, str, int, int], ...] = ()
    causes: tuple[int, ...] = ()
    source: str | None = None
    version: int = 1
    causation_id: str | None = None


pack = msgspec.msgpack.Encoder().encode
unpack_more = msgspec.msgpack.Decoder(More).decode
pack_wish = msgspec.json.Encoder().encode
unpack_wish = msgspec.json.Decoder(Wish).decode
unpack_open = msgspec.msgpack.Decoder(tuple[int, ...]).decode


def is_plain(entry: Entry) -> bool:
    """Whether the entry has none of the attributes that few entries have."""
    return entry.version == 1 and not (entry.scatters or entry.causes or entry.source)


def more_of(entry: Entry) -> bytes | None:
    """What of the entry goes into the `more` column; None for nearly all."""
    if is_plain(entry):
        return None
    frames = tuple((frame.type, frame.id, frame.ordinal, frame.size) for frame in entry.scatters)
    return pack(More(frames, entry.causes, entry.source, entry.version, entry.causation_id))


def entry_of(row: LogRow, names: Mapping[int, str]) -> Entry:
    """The entry that a row of the log holds."""
    pos, event_id, kind, flow, time, key, cause, by, data, more = row
    entry = Entry(pos, event_id, names[kind], flow, time, data, key, cause, names[by] if by else None)
    if more is not None:
        rare = unpack_more(more)
        entry.scatters = tuple(Scatter(*frame) for frame in rare.scatters)
        entry.causes, entry.source, entry.version = rare.causes, rare.source, rare.version
        entry.causation_id = rare.causation_id
    return entry


def parked_of(row: Sequence[Any]) -> Parked:
    """The parked delivery that a row holds."""
    parked = Parked(*row)
    if parked.asked is not None:
        parked.asked = unpack_wish(row[10])
    return parked


def flow_of(row: Sequence[Any]) -> FlowRow:
    """The flow that a row holds."""
    flow = FlowRow(*row)
    flow.timed_out = bool(flow.timed_out)
    return flow


def pages(rows: Sequence[T], size: int = PAGE) -> Sequence[Sequence[T]]:
    """`rows` in pieces of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@lru_cache(4096)
def marks(count: int, columns: int = 0) -> str:
    """Placeholders for `count` values, or for `count` rows of so many columns."""
    one = "(" + ",".join("?" * columns) + ")" if columns else "?"
    return ",".join([one] * count)


_FIXES = {
    "disk is full": "free some space; nothing was committed, and work goes on by itself once there is room",
    "readonly": "make the file and its folder writable for this user",
    "disk I/O error": "check the disk; nothing of this commit was kept",
    "unable to open": "check that the folder exists and is writable",
}


class sqlite_errors:  # noqa: N801 - read as `with sqlite_errors(url)`; a generator would take longer
    """Translate what sqlite3 raises into our words. The cause stays chained."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, _cls: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            text = str(error)
            if "locked" in text or "busy" in text:
                raise LedgerBusy(f"{self._url}: another process is committing") from error
            hint = next((fix for part, fix in _FIXES.items() if part in text), "the cause is below")
            raise LedgerError(f"{self._url}: {text}: {hint}") from error
        if isinstance(error, sqlite3.DatabaseError):
            fix = "run `callboard ledger verify`, and restore a backup if it agrees"
            raise LedgerCorrupt(f"{self._url}: {error}: {fix}") from error
