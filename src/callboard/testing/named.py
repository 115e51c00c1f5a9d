"""What options name: the adapters that tests run on, and the app."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[str], Any]

OURS = {"ledger": ("sqlite",), "broker": ("memory", "sqlite")}


def maker(named: str, promise: Literal["ledger", "broker"], root: Path, folder: Path) -> Make:
    """The function that makes the adapter of an option: one of ours, with its files in `folder`, or MODULE:FUNCTION."""
    if named == "memory" and promise == "broker":
        from callboard.brokers.memory import MemoryBroker  # noqa: PLC0415 - only who names it imports it

        one = MemoryBroker()
        return lambda _: one
    if named == "sqlite":
        from callboard.brokers.sqlite import SqliteBroker  # noqa: PLC0415
        from callboard.ledgers.sqlite import SqliteLedger  # noqa: PLC0415

        make = SqliteLedger if promise == "ledger" else SqliteBroker
        return lambda place: make(f"sqlite:///{folder / place}.{promise}", synchronous="OFF")
    option = f"--callboard-{promise}={named}"
    if ":" not in named:
        pytest.fail(f"{option}: write MODULE:FUNCTION, or {' or '.join(OURS[promise])}", pytrace=False)
    made: Make = imported(root, named, option)
    return made


def imported(root: Path, named: str, where: str) -> Any:
    """What `module:attr` names, seen from the root of the tests. The test fails if there is no such thing."""
    module, _, attribute = named.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        found = importlib.import_module(module.removesuffix(".py").replace("/", "."))
        return functools.reduce(getattr, attribute.split("."), found)
    except (ModuleNotFoundError, AttributeError) as error:
        pytest.fail(f"{where}: {error}", pytrace=False)
