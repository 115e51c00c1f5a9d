"""Builds that do less than they should: one guarantee or one design left out, to see what it costs.

They are planted into the running program and exist nowhere in callboard. A plant whose place is gone fails by name.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from callboard.codecs.json import JsonCodec
from callboard.hops import limits, react, reading, work
from callboard.hops.work import Work
from callboard.ledgers import sqlite_transaction
from callboard.ledgers.sqlite import SqliteLedger
from callboard.ledgers.sqlite_layout import marks
from callboard.ledgers.sqlite_transaction import SqliteTransaction
from callboard.run import Runner
from callboard.tracker import Tracker
from callboard.watchdog import Watchdog


def plant(place: Any, name: str, make: Callable[[Any], Any]) -> None:
    """What is there is replaced by what `make` makes of it."""
    setattr(place, name, make(getattr(place, name)))


def one_commit_an_event() -> None:
    """A commit holds one event that is published, or the reactions to one event."""
    plant(reading, "PAGE", lambda _: 1)
    plant(react, "PAGE", lambda _: 1)
    plant(Work, "fuse", lambda _: False)

    def in_turn(publish: Any) -> Any:
        async def alone(work: Any, group: Any) -> None:
            if not group.seen:
                await publish(work, group)

        return alone

    plant(react, "_publish", in_turn)


def no_tracker() -> None:
    """Nobody follows the flows: there are no verdicts."""

    def blind(begin: Any) -> Any:
        def begun(self: Tracker, *given: Any, **more: Any) -> None:
            begin(self, *given, **more)
            self.paths = ()

        return begun

    plant(Tracker, "__init__", blind)


def _none(*_: Any) -> None:
    """In place of what returns nothing, or None."""


def _plan(_: Any, reader: Any) -> Any:
    return reader.plan


def _nothing(_: Any) -> Any:
    async def nothing(*given: Any, **more: Any) -> None:
        return None

    return nothing


def no_sync() -> None:
    """A commit is not on the disk when it returns: what was committed last may be lost with the power."""
    plant(SqliteLedger.__init__, "__kwdefaults__", lambda known: {**known, "synchronous": "NORMAL"})


def no_reading_back() -> None:
    """What is written is not read back before it is committed."""
    plant(JsonCodec.__init__, "__kwdefaults__", lambda known: {**known, "verify": False})


def no_owner() -> None:
    """A commit does not look whether another process owns the service by now."""
    plant(SqliteLedger, "_check", lambda _: _none)


def no_others() -> None:
    """Nobody else may commit to the file."""

    async def never(self: SqliteLedger) -> bool:
        first, self._seen_version = self._seen_version == -1, 0  # pyright: ignore[reportPrivateUsage]
        return first

    plant(SqliteLedger, "moved", lambda _: never)


def no_same_start() -> None:
    """A start that is published twice begins two flows."""

    async def unknown(self: SqliteLedger, keys: Any) -> list[Any]:
        return []

    plant(SqliteLedger, "flows_by_key", lambda _: unknown)


def no_order() -> None:
    """No line has an order: nothing is asked of what stands before a delivery."""
    plant(reading, "_short_way", lambda _: _plan)


def no_positions() -> None:
    """Where a reaction stands is not written: a restart would begin at the beginning."""
    plant(SqliteTransaction, "advance", _nothing)


def no_limits() -> None:
    """An event may be of any size."""
    plant(limits, "PAYLOAD", lambda _: float("inf"))


def no_watchdog() -> None:
    """Nobody looks whether a reaction holds up the loop."""
    plant(Watchdog, "start", lambda _: _none)


def no_retention() -> None:
    """Nothing is ever forgotten."""
    plant(Runner, "_prune", _nothing)


def _without_index(name: str) -> None:
    def prepared(prepare: Any) -> Any:
        def dropped(self: Any, *given: Any) -> None:
            prepare(self, *given)
            self._db.execute(f"DROP INDEX IF EXISTS {name}")

        return dropped

    plant(SqliteLedger, "_prepare", prepared)


def no_flow_index() -> None:
    """The events of one flow can be found only by reading all of them."""
    _without_index("log_flow")


def no_id_index() -> None:
    """A flow cannot be found by its id, and two may have the same."""
    _without_index("flow_id")


def no_fusing() -> None:
    """Each hop is a commit of its own."""
    plant(Work, "fuse", lambda _: False)


def no_short_way() -> None:
    """Each run goes through all that a run may need."""
    plant(work, "plan_of", lambda _: _none)


# What might be faster, with every guarantee kept.


def no_collector() -> None:
    """Python's cycle collector is off."""
    gc.disable()


def rare_collector() -> None:
    """It looks at a hundred times as many objects before it begins."""
    gc.set_threshold(70_000, 10, 10)


def frozen_heap() -> None:
    """What is there once the ledger is open is never looked at by the collector again."""

    def opened(open_it: Any) -> Any:
        async def frozen(self: Any, *given: Any) -> None:
            await open_it(self, *given)
            gc.freeze()

        return frozen

    plant(SqliteLedger, "open", opened)


def _with_pragma(*pragmas: str) -> None:
    def opened(open_it: Any) -> Any:
        async def tuned(self: Any, *given: Any) -> None:
            await open_it(self, *given)
            for pragma in pragmas:
                self._db.execute(f"PRAGMA {pragma}")

        return tuned

    plant(SqliteLedger, "open", opened)


def rare_checkpoints() -> None:
    """The file is brought up to date after ten thousand pages, not after a thousand."""
    _with_pragma("wal_autocheckpoint = 10000")


def large_cache() -> None:
    """SQLite keeps 64 MB of pages, not 2."""
    _with_pragma("cache_size = -64000")


def mapped_file() -> None:
    """SQLite reads the file through memory."""
    _with_pragma("mmap_size = 268435456")


def long_statements() -> None:
    """256 rows of the log in a statement, not 64."""
    rows = 256
    plant(sqlite_transaction, "_LOG_ROWS", lambda _: rows)
    plant(sqlite_transaction, "_PUT_64", lambda put: put.partition("(?")[0] + marks(rows, 8))


def large_groups() -> None:
    """A group takes four times as much."""
    plant(reading, "PAGE", lambda size: 4 * size)
    plant(react, "PAGE", lambda size: 4 * size)
    plant(react, "_LARGEST", lambda size: 4 * size)
