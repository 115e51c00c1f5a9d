"""The ledger that comes with callboard keeps the promise of a ledger."""

from pathlib import Path

import pytest

from callboard.ledgers.sqlite import SqliteLedger
from callboard.testing.ledger_suite import *  # noqa: F403
from callboard.testing.ledger_suite import OpenLedger


@pytest.fixture
def open_ledger(tmp_path: Path) -> OpenLedger:
    return lambda place: SqliteLedger(f"sqlite:///{tmp_path / place}.db", synchronous="OFF")
