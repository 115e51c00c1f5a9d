"""What a file holds, as any other worker would read it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def ask(file: Path, query: str, *values: object) -> list[Any]:
    """Rows of the file as they are committed, through a connection of its own."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(query, values).fetchall()


def change(file: Path, statement: str, *values: object) -> int:
    """How many rows somebody changed behind everybody's back."""
    with closing(sqlite3.connect(file)) as db, db:
        return db.execute(statement, values).rowcount


def contents(file: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(db.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}


def logged(file: Path, kind: str) -> int:
    """How many events of this type stand in the log of the file."""
    query = "SELECT count(*) FROM log JOIN name ON name.number = log.type WHERE name.name = ?"
    return int(ask(file, query, kind)[0][0])
