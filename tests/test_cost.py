"""What an order costs does not grow with what is in the ledger."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workload import order, shop
from callboard.ledgers.sqlite import SqliteLedger

SMALL = ("ledger", "name", "reaction", "hearer", "owner", "CONSTANT", "sqlite_schema")  # they have a row for each name
SOON = timedelta(seconds=10)


async def test_no_statement_of_an_order_reads_a_table_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    opened = SqliteLedger.open

    async def traced(self: SqliteLedger, *given: Any) -> None:
        await opened(self, *given)
        self._db.set_trace_callback(asked.add)

    monkeypatch.setattr(SqliteLedger, "open", traced)
    async with shop.open(f"sqlite:///{tmp_path}/shop.db") as board:
        for number in range(3):
            flow = await board.publish(order(number))
            assert (await flow.completion(timeout=SOON)).succeeded
        assert len(await board.flow("checkout", order(1).order_id).events()) == 4
    with sqlite3.connect(tmp_path / "shop.db") as db:
        plans = {
            asking: [str(step[3]) for step in db.execute(f"EXPLAIN QUERY PLAN {asking}")]
            for asking in asked
            if asking.startswith(("SELECT", "UPDATE", "DELETE")) and "sqlite_master" not in asking
        }
    assert any("flow_key" in step for steps in plans.values() for step in steps), "no flow was looked up"
    scans = {
        asking: steps
        for asking, steps in plans.items()
        if any(step.startswith("SCAN") and not any(word in step for word in SMALL) for step in steps)
    }
    assert not scans
