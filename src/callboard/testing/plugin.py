"""The pytest plugin: says which adapter a conformance suite is run on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[[str], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--callboard-broker` and `--callboard-ledger` name a function that makes an adapter."""
    group = parser.getgroup("callboard")
    for promise in ("broker", "ledger"):
        group.addoption(
            f"--callboard-{promise}",
            metavar="MODULE:FUNCTION",
            help=f"run callboard.testing.{promise}_suite on the {promise} that FUNCTION(place) makes: "
            "not open yet, and the same for the same place, a name that is new in each test",
        )


@pytest.fixture
def open_broker(request: pytest.FixtureRequest) -> Make:
    """Makes the broker under test."""
    return _maker(request, "broker")


@pytest.fixture
def open_ledger(request: pytest.FixtureRequest) -> Make:
    """Makes the ledger under test."""
    return _maker(request, "ledger")


def _maker(request: pytest.FixtureRequest, promise: str) -> Make:
    named: str | None = request.config.getoption(f"--callboard-{promise}")
    if not named:
        pytest.skip(f"name an adapter: --callboard-{promise}=my_package:open_{promise}")
    module, _, name = named.partition(":")
    if not name:
        raise pytest.UsageError(f"--callboard-{promise}={named}: write MODULE:FUNCTION")
    make: Make = getattr(importlib.import_module(module), name)
    return make
