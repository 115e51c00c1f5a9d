"""What one commit writes into a SQLite ledger: plain statements, many rows each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from callboard.ledgers.sqlite_layout import PUT_LOG, STATE_TABLE, is_plain, marks, more_of, pack, pack_wish, pages
from callboard.ledgers.sqlite_lent import SqliteLent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from callboard.ledger import Entry, FlowRow, Memory, Note, Parked, Position, StateKey, StateWrite, Supplied

_LOG_ROWS = 64
# The driver takes an int, a str and a bytearray as they are, and looks long for how None and bytes are to be adapted.
_PUT_PLAIN = "INSERT INTO log (pos, id, type, flow, time, cause, by, data) VALUES "
_PUT_64 = _PUT_PLAIN + marks(_LOG_ROWS, 8)
_PUT_RARE = PUT_LOG + marks(1, 10)
_PUT_PARKED = (
    "INSERT OR REPLACE INTO parked "
    "(reaction, pos, effect, flow, line, why, due, attempts, error, missing, asked, data) VALUES "
)
_PUT_FLOW = "INSERT INTO flow (number, name, id, key, started, deadline) VALUES "
_PUT_ENDED = "INSERT INTO flow (number, name, id, key, started, deadline, verdict, ended, by) VALUES "
_PLACES = "pos = max(pos, ?), open = nullif(?, ''), paused = nullif(?, 0), by = nullif(?, '')"
_SET_FLOW = (
    "UPDATE flow SET deadline = ?, timed_out = ?, failing = ?, verdict = ?, ended = ?, by = ?, leaked = ? "
    "WHERE number = ? AND name = ? AND coalesce(verdict, ?) IS ?"
)


class SqliteTransaction:
    """The writes of one commit, with the write lock held."""

    def __init__(
        self, db: sqlite3.Connection, counts: tuple[int, int, int, int], numbers: dict[str, int], names: dict[int, str]
    ) -> None:
        self._counts = self.head, self.edits, self.prunes, self.pruned_to = counts
        self._db = db
        self._numbers = numbers
        self._names = names

    @property
    def moved(self) -> bool:
        """Whether it counted something."""
        return self._counts != (self.head, self.edits, self.prunes, self.pruned_to)

    async def append(self, entries: Sequence[Entry]) -> None:
        """Log these; their positions run on from `head`."""
        if not entries:
            return
        numbers = self._numbers
        for name in {e.type for e in entries} | {e.by for e in entries if e.by}:
            if name not in numbers:
                numbers = {**numbers, name: self._number(name)}
        rare = [(e, more_of(e)) for e in entries if e.key is not None or not is_plain(e)]
        plain = entries if not rare else [e for e in entries if e.key is None and is_plain(e)]
        for page in pages(plain, _LOG_ROWS):
            values: list[Any] = []
            for e in page:
                by = numbers[e.by] if e.by else 0
                values += (e.pos, e.id, numbers[e.type], e.flow, e.time, e.cause, by, bytearray(e.data))
            self._db.execute(_PUT_64 if len(page) == _LOG_ROWS else _PUT_PLAIN + marks(len(page), 8), values)
        self._many(
            _PUT_RARE,
            [
                (e.pos, e.id, numbers[e.type], e.flow, e.time, e.key, e.cause, numbers.get(e.by or "", 0), e.data, more)
                for e, more in rare
            ],
        )
        self.head = max(self.head, entries[-1].pos)

    def _many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._db.executemany(statement, rows)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:  # not kept until the commit is known to hold: a lost one is read again
            self._db.execute("INSERT OR IGNORE INTO name (name) VALUES (?)", (name,))
            number = int(self._db.execute("SELECT number FROM name WHERE name = ?", (name,)).fetchone()[0])
        return number

    async def save(self, rows: Sequence[StateWrite]) -> None:
        """Store these state rows as they are. Their versions were decided by the caller."""
        kept: dict[str, list[Any]] = {}
        for state, key, version, shape, data in rows:
            if data is None:
                self._db.execute(f'DELETE FROM "state_{state}" WHERE key = ?', (key,))
            else:
                kept.setdefault(state, []).extend((key, version, shape, bytearray(data)))
        for state, values in kept.items():
            for page in pages(values, 400):
                self._db.execute(
                    f'INSERT INTO "state_{state}" (key, version, shape, data) VALUES {marks(len(page) // 4, 4)} '
                    "ON CONFLICT (key) DO UPDATE "
                    "SET version = excluded.version, shape = excluded.shape, data = excluded.data",
                    page,
                )

    async def versions(self, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The versions of these rows under the lock; 0 for one that does not exist."""
        found = dict.fromkeys(keys, 0)
        by_state: dict[str, list[str]] = {}
        for state, key in keys:
            by_state.setdefault(state, []).append(key)
        for state, wanted in by_state.items():
            for page in pages(wanted):
                query = f'SELECT key, version FROM "state_{state}" WHERE key IN ({marks(len(page))})'
                found.update({(state, key): version for key, version in self._db.execute(query, tuple(page))})
        return found

    async def park(self, rows: Sequence[Parked]) -> None:
        """Add or replace these parked deliveries."""
        for page in pages(rows, 60):
            values: list[object] = []
            for p in page:
                values += (
                    p.reaction, p.pos, p.effect, p.flow, p.line, p.why, p.due, p.attempts, p.error, p.missing,
                    pack_wish(p.asked).decode() if p.asked else None, p.data,
                )  # fmt: skip
            self._db.execute(_PUT_PARKED + marks(len(page), 12), values)

    async def unpark(self, keys: Sequence[tuple[str, int, int]]) -> None:
        """Forget these parked deliveries, by (reaction, position, effect)."""
        self._many("DELETE FROM parked WHERE reaction = ? AND pos = ? AND effect = ?", keys)

    async def remember(self, rows: Sequence[Memory]) -> None:
        """Keep these memories."""
        self._many("INSERT OR IGNORE INTO memory VALUES (?, ?, ?, ?, ?)", rows)

    async def note(self, rows: Sequence[Note]) -> None:
        """Write these exceptions down."""
        self._many("INSERT INTO note VALUES (?, ?, ?, ?, ?, ?)", rows)

    async def advance(self, positions: Sequence[Position]) -> None:
        """Move these reactions to where they stand now; never back, though their owner may be reading the log again."""
        rows = [(p.pos, pack(p.open) if p.open else "", p.paused or 0, p.by or "", p.reaction) for p in positions]
        self._many(f"UPDATE reaction SET {_PLACES} WHERE reaction = ?", rows)

    async def supply(self, rows: Sequence[Supplied]) -> None:
        """Remember these idempotency keys and ids from outside."""
        self._many("INSERT INTO supplied (id, pos, digest) VALUES (?, ?, ?)", rows)

    async def start_flows(self, rows: Sequence[FlowRow]) -> None:
        """Begin these flows; one may have its verdict already. Their keys must be new."""
        running = [f for f in rows if f.verdict is None]
        ended = [f for f in rows if f.verdict is not None]
        for page in pages(running, 100):
            values: list[Any] = [v for f in page for v in (f.number, f.name, f.id, f.key, f.started, f.deadline)]
            self._db.execute(_PUT_FLOW + marks(len(page), 6), values)
        for page in pages(ended, 100):
            values = []
            for f in page:
                values += (f.number, f.name, f.id, f.key, f.started, f.deadline, f.verdict, f.ended, f.by)
            self._db.execute(_PUT_ENDED + marks(len(page), 9), values)
        if late := [f for f in rows if f.timed_out or f.failing is not None or f.leaked is not None]:
            await self.update_flows(late)

    async def update_flows(self, rows: Sequence[FlowRow]) -> None:
        """Store what the tracker decided; the verdict that a flow has is left alone."""
        values = [
            (
                *(f.deadline, f.timed_out, f.failing, f.verdict, f.ended, f.by, f.leaked),
                *(f.number, f.name, f.verdict, f.verdict),
            )
            for f in rows
        ]
        self._many(_SET_FLOW, values)

    async def edit(self) -> None:
        """Tell the owner's process that state was changed from outside its reactions."""
        self.edits += 1

    async def lend(self) -> SqliteLent:
        """SQL of a reaction becomes part of this commit."""
        return SqliteLent(self._db)

    async def prune(self, flows: Collection[int], *, kept: Collection[str], upto: int, now: int) -> int:
        """Forget these flows but for their events of the types `kept`; returns how many events went."""
        spared = [self._numbers[name] for name in kept if name in self._numbers]
        gone = 0
        for page in pages(sorted(flows)):
            these, numbers = f"IN ({marks(len(page))})", tuple(page)
            of_them = f"pos IN (SELECT pos FROM log WHERE flow {these})"
            self._db.execute(f"DELETE FROM supplied WHERE digest = x'' AND {of_them}", numbers)
            self._db.execute(f"UPDATE supplied SET gone = ? WHERE {of_them}", (now, *numbers))
            going = f"FROM log WHERE flow {these} AND type NOT IN ({marks(len(spared))})"
            self._count(going, (*numbers, *spared))
            gone += self._db.execute(f"DELETE {going}", (*numbers, *spared)).rowcount
            for table, column in (("memory", "flow"), ("note", "flow"), ("flow", "number")):
                self._db.execute(f"DELETE FROM {table} WHERE {column} {these}", numbers)
        self.pruned_to = max(self.pruned_to, upto)
        self.prunes += 1
        return gone

    def _count(self, going: str, values: Sequence[int]) -> None:
        """How many events of each type have gone, and the newest of them: what folds the log cannot begin before it."""
        query = "SELECT (SELECT name FROM name WHERE number = type), count(*), max(pos)"
        for name, count, newest in self._db.execute(f"{query} {going} GROUP BY type", values).fetchall():
            before = "WHERE flow = 0 AND kind = 'pruned' AND name = ?"
            known = self._db.execute(f"SELECT part, pos FROM memory {before}", (name,)).fetchone() or (0, 0)
            self._db.execute(f"DELETE FROM memory {before}", (name,))
            row = (0, "pruned", name, str(int(known[0]) + count), max(known[1], newest))
            self._db.execute("INSERT INTO memory VALUES (?, ?, ?, ?, ?)", row)

    async def forget(self, before: int, *, limit: int) -> int:
        """Forget idempotency keys of flows that were pruned before this moment; returns how many."""
        late = "SELECT id FROM supplied WHERE gone IS NOT NULL AND gone < ? LIMIT ?"
        return self._db.execute(f"DELETE FROM supplied WHERE id IN ({late})", (before, limit)).rowcount

    async def retire(self, reactions: Collection[str]) -> None:
        """Nobody waits for these reactions any more; registered again they start anew."""
        rows = [(reaction,) for reaction in reactions]
        self._many("UPDATE reaction SET live = 0, open = NULL WHERE reaction = ?", rows)

    async def place(self, positions: Sequence[Position]) -> None:
        """These stand there from now on, wherever they stood before."""
        rows = [(p.reaction, p.since, p.pos, p.live, json.dumps(p.hears or ())) for p in positions]
        self._many("INSERT OR REPLACE INTO reaction (reaction, since, pos, live, hears) VALUES (?, ?, ?, ?, ?)", rows)

    async def fill(self, state: str, source: str | None) -> int:
        """The rows of `state` are those of the state `source` (None: there are none); returns how many there were."""
        self._db.execute(STATE_TABLE.format(state))
        before = self._db.execute(f'DELETE FROM "state_{state}"').rowcount
        if source is not None:
            self._db.execute(f'INSERT INTO "state_{state}" SELECT * FROM "state_{source}"')
        return before
