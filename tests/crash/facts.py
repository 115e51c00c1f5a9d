"""Everything that lies in the ledger and outside of it when a crash test has come to rest."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .look import reading
from .scenes import Scene

Fault = tuple[str, str]  # the counter, and what it counts in words


class Logged(NamedTuple):
    """One event of the log."""

    pos: int
    id: str
    type: str
    flow: int
    by: str
    cause: int
    key: str | None
    data: dict[str, Any]


@dataclass
class Facts:
    """Everything that is in the two files."""

    log: list[Logged]
    by_flow: dict[int, list[Logged]]
    verdicts: dict[str, str | None]  # of each flow, by key
    ids: dict[str, str]
    numbers: dict[str, int]
    states: dict[str, dict[str, dict[str, Any]]]
    ledger: Path
    outside: Path

    def types(self, key: str) -> Counter[str]:
        """How often each type is in the flow with this key."""
        return Counter(event.type for event in self.by_flow[self.numbers[key]])

    def of(self, key: str, kind: str) -> list[dict[str, Any]]:
        """What the events of a type in a flow say."""
        return [event.data for event in self.by_flow[self.numbers[key]] if event.type == kind]

    def asked(self, query: str) -> list[Any]:
        """Rows of the outside file."""
        with reading(self.outside) as file:
            return file.execute(query).fetchall()


def gather(folder: Path, scene: Scene) -> Facts:
    """Read both files."""
    ledger = folder / "ledger.db"
    with reading(ledger) as file:
        names: dict[int, str] = dict(file.execute("SELECT number, name FROM name"))
        columns = "SELECT pos, id, type, flow, by, cause, key, data FROM"
        query = f"{columns} log UNION ALL {columns} witness_log ORDER BY pos"
        log = [
            Logged(pos, id_, names[kind], flow, names[by] if by else "", cause, key, json.loads(data) or {})
            for pos, id_, kind, flow, by, cause, key, data in file.execute(query)
        ]
        columns = "SELECT key, verdict, id, number FROM"
        query = f"{columns} flow WHERE name = ?1 UNION ALL {columns} witness_flow WHERE name = ?1"
        flows = file.execute(query, (scene.flow,)).fetchall()
        states = {name: _states(file, name) for name in scene.choreography.states}
    by_flow: dict[int, list[Logged]] = defaultdict(list)
    for event in log:
        by_flow[event.flow].append(event)
    return Facts(
        log, by_flow, {row[0]: row[1] for row in flows}, {row[0]: row[2] for row in flows},
        {row[0]: row[3] for row in flows}, states, ledger, folder / "outside.db",
    )  # fmt: skip


def _states(file: sqlite3.Connection, name: str) -> dict[str, dict[str, Any]]:
    return {key: json.loads(data) for key, data in file.execute(f'SELECT key, data FROM "state_{name}"')}


def _receipts(facts: Facts, scene: Scene) -> Counter[str]:
    """What the edits from outside have added to each stock."""
    added: Counter[str] = Counter()
    for key, row in facts.states[scene.stock.__name__].items():
        if key.startswith("receipt-"):
            added[scene.stocks[int(key.rpartition("-")[2]) % len(scene.stocks)]] += row["free"]
    edits = Counter(event.data["dial"] for event in facts.log if event.type == "Reading")
    for dial, many in edits.items():
        publisher, _, what = dial.rpartition("-")
        if what == "edits":
            kept = sum(key.startswith(f"receipt-{publisher}-") for key in facts.states[scene.stock.__name__])
            if kept != many:
                added["(receipts)"] += kept - many
    return added


def stock_faults(facts: Facts, scene: Scene, taken: Counter[str]) -> Iterator[Fault]:
    added = _receipts(facts, scene)
    if added["(receipts)"]:
        yield "events without their state, or reverse", f"edits: {added['(receipts)']} more receipts than readings"
    for key in scene.stocks:
        free = facts.states[scene.stock.__name__][key]["free"]
        wanted = scene.first_stock + added[key] - taken[key]
        if free != wanted:
            yield "stock not adding up", f"{key}: {free} free, should be {wanted}"
