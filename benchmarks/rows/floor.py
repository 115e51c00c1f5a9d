"""Against a hand-written loop that leaves the same rows."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from benchmarks import floor, workload
from benchmarks.measure import Figures, Side
from benchmarks.rows import Answer, Options, Row, compare

_IN_FLIGHT = 500
# Ids and times differ from run to run; their lengths and differences do not. The version of a row is any number.
_SAME = {
    "log": "pos, length(id), flow, key, cause, (SELECT name FROM name WHERE number = type), "
    "(SELECT name FROM name WHERE number = by), data, more",
    "flow": "number, name, length(id), key, deadline - started, timed_out, failing, verdict, by, leaked",
    "state_Order": "key, version > 0, shape, data",
    "state_Reservation": "key, version > 0, shape, data",
    "state_Payment": "key, version > 0, shape, data",
    "state_Shipment": "key, version > 0, shape, data",
    "reaction": "reaction, since, pos",
    "supplied": "*",
    "parked": "*",
    "memory": "*",
    "note": "*",
}


def hand_written(folder: Path, orders: int, batch: int) -> Figures:
    """The floor as a side."""
    return floor.run(f"{folder}/floor.db", orders, batch)


def same_rows() -> None:
    """One order at a time leaves the same rows here and there: the floor does all that we do, and no more."""
    with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
        place = Path(folder)
        workload.run(place, 3, 1, until="completed")
        floor.run(f"{place}/floor.db", 3, 1)
        with sqlite3.connect(f"{place}/shop.db") as ours, sqlite3.connect(f"{place}/floor.db") as theirs:
            for table, columns in _SAME.items():
                query = f"SELECT {columns} FROM {table} ORDER BY 1, 2"
                here, there = ours.execute(query).fetchall(), theirs.execute(query).fetchall()
                assert here == there, f"{table}: we have {here}, the floor has {there}"


def measure(options: Options) -> Answer:
    """Both with batches of 500 orders: so many callers publish at once."""
    same_rows()
    orders = options.size(3_000)
    ours = Side("callboard", "benchmarks.workload:run", {"orders": orders, "in_flight": _IN_FLIGHT})
    theirs = Side("hand-written loop", "benchmarks.rows.floor:hand_written", {"orders": orders, "batch": _IN_FLIGHT})
    return compare(options, ours, theirs)


ROW = Row("floor", "a hand-written SQLite loop, same rows, same batches, FULL", 0.75, 0.9, measure)
