"""A SQLite ledger that fails where a test wants it to, and that can die as its owner's death would leave it."""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from callboard.errors import LedgerBusy, LedgerError
from callboard.ledger import Entry, Row, StateKey
from callboard.ledgers.sqlite import SqliteLedger
from callboard.ledgers.sqlite_transaction import SqliteTransaction

Trick = Callable[[], object]  # may be async


class Crash(BaseException):
    """The owner dies here: nobody may catch it on the way."""


def busy() -> None:
    raise LedgerBusy("somebody else is committing, as the test has it")


def disk_full() -> None:
    raise LedgerError("database or disk is full, as the test has it")


def crash() -> None:
    raise Crash


class StagedLedger(SqliteLedger):
    """Tricks are played on its next commits: before they begin, at their end, or once they are done."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        super().__init__(url, synchronous="OFF", read_only=read_only)
        self.before: deque[Trick] = deque()  # a commit has not begun
        self.at_end: deque[Trick] = deque()  # everything is written, nothing is committed
        self.after: deque[Trick] = deque()  # it is committed, and nobody knows yet
        self.reading: deque[Trick] = deque()  # entries, flows or rows are read
        self.commits = 0
        self.is_dead = False

    @asynccontextmanager
    async def transaction(self, tokens: Mapping[str, int]) -> AsyncIterator[SqliteTransaction]:
        await _play(self.before)
        async with super().transaction(tokens) as tx:
            yield tx
            await _play(self.at_end)
        self.commits += 1
        await _play(self.after)

    async def entries(self, positions: Collection[int]) -> list[Entry]:
        await _play(self.reading)
        return await super().entries(positions)

    async def read(self, after: int, *, limit: int, types: Collection[str] | None = None) -> list[Entry]:
        await _play(self.reading)
        return await super().read(after, limit=limit, types=types)

    async def flow_entries(self, flows: Collection[int]) -> list[Entry]:
        await _play(self.reading)
        return await super().flow_entries(flows)

    async def states(self, keys: Collection[StateKey]) -> dict[StateKey, Row]:
        await _play(self.reading)
        return await super().states(keys)

    def die(self) -> None:
        """What was not committed is gone; the locks are free, as the kernel leaves them."""
        if not self.is_dead:
            self.is_dead = True
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for lock in self._locks.values():
                lock.release()
            self._locks.clear()
            self._db.close()

    async def close(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            await super().close()

    # what a test asks

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Rows of the file as they are committed."""
        return self._all(query, values)

    def doubled(self) -> list[tuple[str, int]]:
        """Ids that stand in the log more than once."""
        return self.rows("SELECT id, count(*) FROM log GROUP BY id HAVING count(*) > 1")


async def _play(tricks: deque[Trick]) -> None:
    if tricks:
        played = tricks.popleft()()
        if inspect.isawaitable(played):
            await played


async def ticks(count: int = 8) -> None:
    """Tasks go on until they wait for something that a test has in its hand."""
    for _ in range(count):
        await asyncio.sleep(0)
