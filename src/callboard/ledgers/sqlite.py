"""One SQLite file (or memory): the outbox is the log, and a commit is the delivery.

WAL, `synchronous=FULL`. No statement waits inside SQLite: a taken lock is told at once as LedgerBusy and retried by
whoever asked. A service is owned by one process at a time: an operating-system lock in a file beside the ledger, freed
by the kernel when the process dies, and a token that every commit checks.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError

from callboard.errors import LedgerCorrupt, LedgerError, LedgerLost
from callboard.ledger import Entry, FlowRow, Memory, Note, Ownership, Parked, Position, Row, StateKey, Supplied
from callboard.ledgers.sqlite_layout import (
    GET_FLOW,
    GET_LOG,
    GET_PARKED,
    LAYOUT,
    STATE_TABLE,
    TABLES,
    entry_of,
    flow_of,
    marks,
    pack_wish,
    pages,
    parked_of,
    sqlite_errors,
    unpack_open,
)
from callboard.ledgers.sqlite_locks import ServiceLock, forks, refuse_fork, refuse_network_file_system
from callboard.ledgers.sqlite_transaction import SqliteTransaction
from callboard.ledgers.sqlite_upkeep import copied, faults, migrate, refuse_layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from callboard.ledger import Why

_UNTOLD = "deadline IS NOT NULL AND verdict IS NULL AND timed_out = 0 AND failing IS NULL"
_ASK = (
    "UPDATE parked SET asked = ?, due = ?, data = ? "
    "WHERE reaction = ? AND pos = ? AND effect = ? AND why = 'dead' AND asked IS NULL"
)
_COUNTS = "UPDATE ledger SET head = ?, edits = ?, prunes = ?, pruned_to = ?"
_REGISTER = (
    "INSERT INTO reaction (reaction, since, pos, hears, first) VALUES (?, ?, ?, ?, ?) ON CONFLICT (reaction) DO UPDATE "
    "SET hears = excluded.hears, since = iif(live, since, excluded.since), pos = iif(live, pos, excluded.pos), "
    "open = iif(live, open, NULL), live = 1"
)
_OWNED = "SELECT token, clean FROM owner WHERE service = ?"


class SqliteLedger:
    """A ledger in the SQLite file named by `url` ("sqlite:///shop.db", or "sqlite:///:memory:" for this process
    alone).
    """

    def __init__(self, url: str, *, synchronous: str = "FULL", read_only: bool = False) -> None:
        self.url = url
        self._read_only = read_only  # looked at as it is: nothing is created, written or owned
        self._path = url.removeprefix("sqlite:///")
        self._synchronous = synchronous
        self._in_memory = self._path == ":memory:"
        self._errors = sqlite_errors(url)
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._locks: dict[str, ServiceLock] = {}
        self._tokens: dict[str, int] = {}
        self._forks = forks()
        self._seen_version = -1
        self._checked = -1  # the version of the database for which
        self._good: dict[str, int] = {}  # these tokens were found good,
        self._counts = (0, 0, 0, 0)  # and these counts were read, or written since
        self._db: sqlite3.Connection

    # opening and closing

    async def open(self, names: Collection[str], states: Collection[str]) -> None:
        """Open or create the file; its tables, the names, and a table for each state are there."""
        if not self._in_memory:
            refuse_network_file_system(Path(self._path))
        if self._read_only:
            self._look()
            return
        with self._errors:
            self._db = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._db.execute("PRAGMA busy_timeout = 10000")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._prepare(names, states)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("PRAGMA busy_timeout = 0")
        self._load_names()

    def _look(self) -> None:
        path = Path(self._path)
        if not path.is_file():
            raise LedgerError(
                f"{self.url}: there is no such file: name the ledger of a worker, or begin one with `callboard run`"
            )
        with self._errors, contextlib.ExitStack() as undo:
            where = f"{path.absolute().as_uri()}?mode=ro"
            if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
                where += (
                    "&immutable=1"  # a copy on a medium that nobody writes: SQLite cannot lay its own files beside it
                )
            db = sqlite3.connect(where, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
            undo.callback(db.close)
            refuse_layout(db, self.url)
            self._db = db
            self._load_names()
            undo.pop_all()

    def _prepare(self, names: Collection[str], states: Collection[str]) -> None:
        layout = self._db.execute("PRAGMA user_version").fetchone()[0]
        if layout == 0:
            if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise LedgerError(f"{self.url}: this file holds other tables: name a file of its own for the ledger")
            for statement in TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO ledger (one, identity, head, edits) VALUES (1, ?, 0, 0)", (os.urandom(16),))
            self._db.execute(f"PRAGMA user_version = {LAYOUT}")
        else:
            migrate(self._db, self.url)
        self._db.executemany("INSERT OR IGNORE INTO name (name) VALUES (?)", [(name,) for name in sorted(names)])
        for state in sorted(states):
            self._db.execute(STATE_TABLE.format(state))

    def _load_names(self) -> None:
        self._know(dict(self._db.execute("SELECT number, name FROM name")))

    def _know(self, names: dict[int, str]) -> None:
        self._names = names
        self._numbers = {name: number for number, name in names.items()}

    async def close(self) -> None:
        """Give up every service that is still owned, and close the file."""
        if forks() != self._forks:
            return  # a fork has neither
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()
        self._db.close()

    async def identity(self) -> str:
        """What tells this file from every other; a copy of it has the same."""
        with self._errors:
            return bytes(self._db.execute("SELECT identity FROM ledger").fetchone()[0]).hex()

    # the log

    async def head(self) -> int:
        """The position of the newest event that was ever logged."""
        return self._one("SELECT head FROM ledger")

    async def moved(self) -> bool:
        """Whether another connection has committed since this was last asked."""
        version = self._one("PRAGMA data_version")
        moved, self._seen_version = version != self._seen_version, version
        return moved

    async def read(self, after: int, *, limit: int, types: Collection[str] | None = None) -> list[Entry]:
        """The entries behind `after`, in log order, only of `types` if they are given."""
        if types is None:
            return self._entries("WHERE pos > ? ORDER BY pos LIMIT ?", (after, limit))
        numbers = [self._numbers[name] for name in types if name in self._numbers]
        where = f"WHERE pos > ? AND type IN ({marks(len(numbers))}) ORDER BY pos LIMIT ?"
        return self._entries(where, (after, *numbers, limit))

    async def entries(self, positions: Collection[int]) -> list[Entry]:
        """The entries at these positions, in log order."""
        found: list[Entry] = []
        for page in pages(sorted(positions)):
            found += self._entries(f"WHERE pos IN ({marks(len(page))}) ORDER BY pos", tuple(page))
        return found

    async def flow_entries(self, flows: Collection[int]) -> list[Entry]:
        """All entries of these flows, in log order."""
        found: list[Entry] = []
        for page in pages(sorted(flows)):
            found += self._entries(f"WHERE flow IN ({marks(len(page))}) ORDER BY pos", tuple(page))
        return found

    async def find(self, event_id: str) -> Entry | None:
        """The entry with this id, looked up in its flow."""
        numbers = await self.flow_numbers([event_id[:26]])
        for entry in await self.flow_entries(numbers.values()):
            if entry.id == event_id:
                return entry
        return None

    def _entries(self, where: str, values: Sequence[Any]) -> list[Entry]:
        rows = self._all(GET_LOG + where, values)
        try:
            return [entry_of(row, self._names) for row in rows]
        except KeyError:  # another process has named something new
            self._load_names()
        except MsgspecError as error:
            raise self._corrupt(error) from error
        try:
            return [entry_of(row, self._names) for row in rows]
        except KeyError as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> LedgerCorrupt:
        where = f"{self.url}: a row of the log cannot be read ({error!r})"
        return LedgerCorrupt(f"{where}: run `callboard ledger verify`, and restore a backup if it agrees")

    # what is remembered

    async def states(self, keys: Collection[StateKey]) -> dict[StateKey, Row]:
        """The rows with these keys; version 0 and no data for one that does not exist."""
        by_state: dict[str, list[str]] = {}
        for state, key in keys:
            by_state.setdefault(state, []).append(key)
        found: dict[StateKey, Row] = dict.fromkeys(keys, Row(0, 1, None))
        for state, wanted in by_state.items():
            for page in pages(wanted):
                query = f'SELECT key, version, shape, data FROM "state_{state}" WHERE key IN ({marks(len(page))})'
                for key, version, shape, data in self._all(query, tuple(page)):
                    found[state, key] = Row(version, shape, data)
        return found

    async def memories(self, flows: Collection[int]) -> list[Memory]:
        """Everything remembered of these flows."""
        query = "SELECT flow, kind, name, part, pos FROM memory WHERE flow IN ({}) ORDER BY pos"
        return [Memory(*row) for row in self._paged(query, sorted(flows))]

    async def supplied(self, ids: Collection[str]) -> dict[str, Supplied]:
        """What these idempotency keys and ids from outside stand for; unknown ones are left out."""
        query = "SELECT id, pos, digest FROM supplied WHERE id IN ({})"
        return {row[0]: Supplied(*row) for row in self._paged(query, sorted(ids))}

    async def notes(self, flow: int) -> list[Note]:
        """The exceptions of a flow, oldest first."""
        query = "SELECT pos, reaction, flow, what, why, time FROM note WHERE flow = ? ORDER BY rowid"
        return [Note(*row) for row in self._all(query, (flow,))]

    async def parked(
        self,
        *,
        reactions: Collection[str] | None = None,
        flow: int | None = None,
        flows: Collection[int] | None = None,
        why: Collection[Why] | None = None,
        asked: bool = False,
        limit: int | None = None,
    ) -> list[Parked]:
        """The parked deliveries of these reactions, this flow, these reasons; in log order."""
        tests, values = ["1"], list[Any]()
        if reactions is not None:
            tests.append(f"reaction IN ({marks(len(reactions))})")
            values += sorted(reactions)
        if flow is not None:
            tests.append("flow = ?")
            values.append(flow)
        if flows is not None:
            tests.append(f"flow IN ({marks(len(flows))})")
            values += sorted(flows)
        if why is not None:
            tests.append(f"why IN ({marks(len(why))})")
            values += sorted(why)
        if asked:
            tests.append("asked IS NOT NULL")
        values.append(-1 if limit is None else limit)
        return [
            parked_of(row)
            for row in self._all(f"{GET_PARKED} WHERE {' AND '.join(tests)} ORDER BY pos LIMIT ?", values)
        ]

    # flows

    async def flows_by_key(self, keys: Collection[tuple[str, str]]) -> list[FlowRow]:
        """The flows with these (name, key) pairs."""
        found: list[FlowRow] = []
        for name in sorted({name for name, _ in keys}):
            of_name = [key for each, key in keys if each == name]  # pairs would not use the index
            found += map(flow_of, self._paged(f"{GET_FLOW} WHERE key IN ({{}}) AND name = ?", of_name, name))
        return found

    async def flows_by_number(self, numbers: Collection[int]) -> list[FlowRow]:
        """The rows of these flows."""
        return [flow_of(row) for row in self._paged(f"{GET_FLOW} WHERE number IN ({{}})", sorted(numbers))]

    async def flow_numbers(self, ids: Collection[str]) -> dict[str, int]:
        """The numbers of the flows with these ids; unknown ones are left out."""
        return dict(self._paged("SELECT id, number FROM flow WHERE id IN ({})", sorted(ids)))

    async def flows_due(self, now: int, names: Collection[str], *, limit: int) -> list[FlowRow]:
        """Flows without verdict whose deadline has passed and was not announced yet."""
        query = (
            f"{GET_FLOW} WHERE deadline <= ? AND {_UNTOLD} AND name IN ({marks(len(names))}) ORDER BY deadline LIMIT ?"
        )
        return [flow_of(row) for row in self._all(query, (now, *sorted(names), limit))]

    async def flows_failing(self, names: Collection[str]) -> list[FlowRow]:
        """Flows whose failed verdict waits for compensations."""
        query = f"{GET_FLOW} WHERE failing IS NOT NULL AND verdict IS NULL AND name IN ({marks(len(names))})"
        return [flow_of(row) for row in self._all(query, tuple(sorted(names)))]

    async def next_deadline(self, names: Collection[str], *, after: int = 0) -> int | None:
        """The earliest deadline that was not announced yet."""
        query = (
            f"SELECT deadline FROM flow WHERE {_UNTOLD} "
            f"AND deadline > ? AND name IN ({marks(len(names))}) ORDER BY deadline LIMIT 1"
        )
        rows = self._all(query, (after, *sorted(names)))
        return rows[0][0] if rows else None

    async def list_flows(
        self, *, name: str | None, status: str | None, before: int | None, limit: int, now: int
    ) -> list[FlowRow]:
        """The newest flows (of a name, with a status: running, stuck, succeeded, failed), below number `before`."""
        tests, values = ["name != ''"], list[Any]()
        if name is not None:
            tests.append("name = ?")
            values.append(name)
        if before is not None:
            tests.append("number < ?")
            values.append(before)
        if status == "running":
            tests.append("verdict IS NULL")
        elif status == "stuck":
            tests.append("verdict IS NULL AND deadline IS NOT NULL AND deadline <= ?")
            values.append(now)
        elif status is not None:
            tests.append("verdict = ?")
            values.append(status)
        query = f"{GET_FLOW} WHERE {' AND '.join(tests)} ORDER BY number DESC LIMIT ?"
        return [flow_of(row) for row in self._all(query, (*values, limit))]

    # who reads

    async def positions(self) -> list[Position]:
        """Where every reaction that this ledger knows stands."""
        query = "SELECT reaction, since, pos, open, live, hears, first, paused, by FROM reaction ORDER BY reaction"
        return [
            Position(
                name, since, pos, unpack_open(left) if left else (), bool(live),
                None if hears is None else _hears(hears), first, *paused,
            )
            for name, since, pos, left, live, hears, first, *paused in self._all(query, ())
        ]  # fmt: skip

    async def register(
        self, positions: Sequence[Position], renamed: Mapping[str, str], tokens: Mapping[str, int] | None = None
    ) -> None:
        """Add reactions that are new or were retired, note what the others hear, and carry over those that are renamed
        (old name to new) with all that is theirs.
        """
        async with self.transaction(tokens or {}):
            for old, new in renamed.items():
                self._rename(old, new)
            taken = dict(self._db.execute("SELECT coalesce(first, reaction), reaction FROM reaction"))
            for p in positions:
                hears = None if p.hears is None else json.dumps(p.hears)
                other = taken.get(p.reaction, p.reaction) != p.reaction  # who was called so keeps it in ids and keys
                first = f"{p.reaction}@{p.since}" if other else None
                self._db.execute(_REGISTER, (p.reaction, p.since, p.pos, hears, first))
        self._load_names()

    def _rename(self, old: str, new: str) -> None:
        self._db.execute("UPDATE reaction SET first = coalesce(first, reaction) WHERE reaction = ?", (old,))
        self._db.execute("DELETE FROM reaction WHERE reaction = ?", (new,))  # retired, or it has read nothing yet
        for table in ("reaction", "parked", "note"):
            self._db.execute(f"UPDATE {table} SET reaction = ? WHERE reaction = ?", (new, old))
        self._db.execute("UPDATE memory SET name = ? WHERE name = ?", (new, old))
        self._db.execute("UPDATE OR REPLACE hearer SET reaction = ? WHERE reaction = ?", (new, old))
        numbers = "(SELECT number FROM name WHERE name = ?)"
        for column, form in (("by", "{}"), ("type", "callboard.Timer[{}]")):
            self._db.execute("INSERT OR IGNORE INTO name (name) VALUES (?)", (form.format(new),))
            query = f"UPDATE log SET {column} = {numbers} WHERE {column} = {numbers}"
            self._db.execute(query, (form.format(new), form.format(old)))

    async def tell_hearers(self, hears: Mapping[str, Collection[str]]) -> None:
        """Which reactions of this build hear which types. What other builds have told stays."""
        rows = {(kind, reaction) for reaction, kinds in hears.items() for kind in kinds}
        if rows - set(self._all("SELECT type, reaction FROM hearer", ())):
            async with self.transaction({}):
                self._db.executemany("INSERT OR IGNORE INTO hearer VALUES (?, ?)", sorted(rows))

    async def hearers(self, types: Collection[str]) -> dict[str, list[str]]:
        """The reactions, of any build, that hear each of these types."""
        found: dict[str, list[str]] = {}
        query = f"SELECT type, reaction FROM hearer WHERE type IN ({marks(len(types))}) ORDER BY type, reaction"
        for kind, reaction in self._all(query, sorted(types)):
            found.setdefault(kind, []).append(reaction)
        return found

    async def own(self, service: str) -> Ownership | None:
        """Take the service for this process, or None while another live process owns it."""
        lock = None if self._in_memory else ServiceLock(Path(self._path), service)
        if lock is not None and not lock.take():
            return None
        try:
            ownership = self._take_over(service, lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if lock is not None:
            self._locks[service] = lock
        self._tokens[service] = ownership.token
        return ownership

    def _take_over(self, service: str, lock: ServiceLock | None) -> Ownership:
        with self._errors:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check({})
                before, clean = self._db.execute(_OWNED, (service,)).fetchone() or (0, True)
                token = before + 1
                self._db.execute(
                    "INSERT OR REPLACE INTO owner VALUES (?, ?, ?, 0)", (service, token, f"pid {os.getpid()}")
                )
                identity, head = self._db.execute("SELECT hex(identity), head FROM ledger").fetchone()
                if lock is not None:
                    lock.refuse_old_copy(identity, before, head)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        self._good[service] = token
        if lock is not None:
            lock.note(identity, token, head)
        return Ownership(token, bool(clean))

    async def disown(self, service: str, *, clean: bool) -> None:
        """Let another process own it; `clean` if nothing of it was running.

        If another owns it already, because this one was paused, that one's mark is left as it is.
        """
        with self._errors:
            self._db.execute("PRAGMA busy_timeout = 5000")
            query = "UPDATE owner SET clean = ? WHERE service = ? AND token = ?"
            token = self._tokens.pop(service, 0)
            self._db.execute(query, (clean, service, token))
            self._db.execute("PRAGMA busy_timeout = 0")
            identity, head = self._db.execute("SELECT hex(identity), head FROM ledger").fetchone()
        if lock := self._locks.pop(service, None):
            lock.note(identity, token, head)
            lock.release()

    async def owners(self) -> dict[str, str]:
        """Who owned each service last."""
        return dict(self._all("SELECT service, process FROM owner", ()))

    async def ask(self, letters: Sequence[Parked], notes: Sequence[Note], record: Note | None = None) -> list[bool]:
        """Leave what an operator wants on these dead letters: a wish, when it is due, an edited payload; one note each,
        and one for the record of the ledger.

        One commit. False for one that is no dead letter any more, or of which something is wanted already.
        """
        done: list[bool] = []
        async with self.transaction({}) as tx:
            for letter, note in zip(letters, notes, strict=True):
                wish = pack_wish(letter.asked).decode() if letter.asked else None
                values = (wish, letter.due, letter.data, letter.reaction, letter.pos, letter.effect)
                done.append(self._db.execute(_ASK, values).rowcount == 1)
                if done[-1]:
                    await tx.note([note])
            if any(done) and record is not None:
                await tx.note([record])
        return done

    async def verify(self) -> list[str]:
        """What is wrong with the database, in words; empty if nothing is."""
        return faults(self._all, on_disk=not self._in_memory)

    async def pruned_to(self) -> int:
        """No flow that was pruned began after this moment; 0 if none was."""
        return self._one("SELECT pruned_to FROM ledger")

    async def backup(self, place: str) -> None:
        """A copy of one moment is at `place`, whole and sound; work goes on meanwhile."""
        with copied(self.url, self._db, Path(place)) as copy:
            looked = SqliteLedger(f"sqlite:///{copy}", read_only=True)
            await looked.open((), ())
            try:
                found = await looked.verify()
            finally:
                await looked.close()
            if found:
                raise LedgerError(f"{self.url}: the copy is not sound, and was not kept: {found[0]}")

    def transaction(self, tokens: Mapping[str, int]) -> AbstractAsyncContextManager[SqliteTransaction]:
        """Begin with the write lock held.

        Raises LedgerBusy at once if it is taken, LedgerLost if a token is no longer ours.
        """
        return Commit(self, tokens)

    def begin(self, tokens: Mapping[str, int]) -> SqliteTransaction:
        """The write lock is held, and the tokens are good."""
        with self._errors:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check(tokens)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return SqliteTransaction(self._db, self._counts, self._numbers, self._names)

    def commit(self, tx: SqliteTransaction) -> None:
        """What was written is there for good, or nothing of it is."""
        with self._errors:
            try:
                if tx.moved:
                    self._db.execute(_COUNTS, (tx.head, tx.edits, tx.prunes, tx.pruned_to))
                self._db.execute("COMMIT")
            except BaseException:
                self.roll_back()
                raise
        self._counts = tx.head, tx.edits, tx.prunes, tx.pruned_to

    def roll_back(self) -> None:
        """Nothing that was written is there."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _check(self, tokens: Mapping[str, int]) -> None:
        refuse_fork(self.url, self._forks)
        version = 0 if self._in_memory else self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._checked and tokens.items() <= self._good.items():
            return  # nobody else has committed since
        layout = self._db.execute("PRAGMA user_version").fetchone()[0]
        if layout != LAYOUT:
            raise LedgerLost(
                f"{self.url}: a newer callboard migrated it to layout {layout}: restart this process with that version"
            )
        held = dict(self._db.execute("SELECT service, token FROM owner"))
        for service, token in tokens.items():
            if held.get(service) != token:
                raise LedgerLost(
                    f"{self.url}: {service} is owned by another process now: this one commits nothing more for it"
                )
        self._counts = self._db.execute("SELECT head, edits, prunes, pruned_to FROM ledger").fetchone()
        self._checked, self._good = version, held

    def _one(self, query: str) -> int:
        with self._errors:
            return int(self._db.execute(query).fetchone()[0])

    def _paged(self, query: str, wanted: Sequence[Any], *more: Any) -> Iterator[Any]:
        """The rows with one of the wanted values, which stand for `{}` in the query, as many as it takes at once."""
        for page in pages(wanted):
            yield from self._all(query.format(marks(len(page))), (*page, *more))

    def _all(self, query: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error:
            with self._errors:
                raise


@lru_cache(4096)
def _hears(told: str) -> tuple[str, ...]:
    return tuple(json.loads(told))


class Commit:
    """One transaction of a ledger: committed where its block ends, rolled back where that raises."""

    __slots__ = ("_ledger", "_tokens", "_tx")

    def __init__(self, ledger: SqliteLedger, tokens: Mapping[str, int]) -> None:
        self._ledger = ledger
        self._tokens = tokens

    async def __aenter__(self) -> SqliteTransaction:
        self._tx = self._ledger.begin(self._tokens)
        return self._tx

    async def __aexit__(self, cls: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._ledger.commit(self._tx)
            return
        self._ledger.roll_back()
        if isinstance(error, sqlite3.Error):
            with sqlite_errors(self._ledger.url):
                raise error
