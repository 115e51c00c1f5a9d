"""A look at the ledger file from outside while others write to it: who owns what, and what of it is unfinished."""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from callboard import Choreography
from callboard.ledgers.sqlite_layout import unpack_open


@dataclass(frozen=True)
class Unfinished:
    """What some services had not finished at one moment."""

    unhandled: int  # events behind the position of a reaction that hears them
    open: int  # deliveries begun and not settled
    parked: int  # rows that are not dead letters
    undecided: int  # flows that were published and have no verdict

    @property
    def work(self) -> int:
        """Deliveries that are not finished."""
        return self.unhandled + self.open + self.parked


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, to be read only, as it is at the first look."""
    with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as file:
        file.execute("PRAGMA query_only = 1")
        file.execute("BEGIN")
        yield file


def owners(path: Path) -> dict[str, tuple[int, int]]:
    """The token of each service, and the number of the worker that took it last."""
    with reading(path) as file:
        rows = file.execute("SELECT service, token, process FROM owner").fetchall()
    return {service: (int(token), int(owner.removeprefix("pid "))) for service, token, owner in rows}


def unfinished(path: Path, choreography: Choreography, services: Collection[str], keys: str = "%") -> Unfinished:
    """What these services have not finished, and the flows with keys like `keys` that have no verdict."""
    with reading(path) as file:
        numbers: dict[str, int] = dict(file.execute("SELECT name, number FROM name"))
        unhandled = left = 0
        for reaction, pos, opened in file.execute("SELECT reaction, pos, open FROM reaction").fetchall():
            contract = choreography.contracts.get(reaction)
            if contract is None or contract.service not in services:
                continue
            left += sum(each <= pos for each in unpack_open(opened)) if opened else 0  # behind it: finished
            own = [kind.name for kind in contract.hears if not kind.name.startswith("callboard.ReactionFailed[")]
            kinds = ",".join(str(numbers[name]) for name in own if name in numbers)
            unhandled += _count(file, f"log WHERE pos > {pos} AND type IN ({kinds})")
        like = " OR ".join("reaction LIKE ?" for _ in services) or "0"
        parked = _count(file, f"parked WHERE why != 'dead' AND ({like})", [f"{service}.%" for service in services])
        undecided = _count(file, "flow WHERE verdict IS NULL AND name != '' AND key LIKE ?", [keys])
        return Unfinished(unhandled, left, parked, undecided)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the write lock of the file just now."""
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
            file.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        return False


def _count(file: sqlite3.Connection, what: str, values: Collection[str] = ()) -> int:
    return int(file.execute(f"SELECT count(*) FROM {what}", tuple(values)).fetchone()[0])
