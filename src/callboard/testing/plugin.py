"""The pytest plugin: says which adapter a conformance suite is run on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from callboard.choreography import Choreography
    from callboard.simulation.hunt import Hunt

Make = Callable[[str], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--callboard-broker` and `--callboard-ledger` name a function that makes an adapter."""
    group = parser.getgroup("callboard")
    group.addoption(
        "--callboard-seed", type=int, default=None, metavar="SEED", help="live this world only, in tests that simulate"
    )
    for promise in ("broker", "ledger"):
        group.addoption(
            f"--callboard-{promise}",
            metavar="MODULE:FUNCTION",
            help=f"run callboard.testing.{promise}_suite on the {promise} that FUNCTION(place) makes: "
            "not open yet, and the same for the same place, a name that is new in each test",
        )


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Callable[..., Hunt]:
    """`simulate(shop, seeds=100)` lives so many worlds of the choreography; the test fails with the story of the first
    that breaks. What the Scene of a simulation takes can be given too: faults, keepers, flows, ledgers.
    """
    from callboard.simulation.hunt import hunt  # noqa: PLC0415 - only a test that simulates pays for it
    from callboard.simulation.story import told  # noqa: PLC0415
    from callboard.simulation.world import Scene  # noqa: PLC0415

    first: int | None = request.config.getoption("--callboard-seed")

    def lived(choreography: Choreography, *, seeds: int = 100, **scene: Any) -> Hunt:
        found = hunt(Scene(choreography, **scene), range(seeds) if first is None else [first])
        for failure in found.failures:
            again = f"  replay:  pytest {request.node.nodeid} --callboard-seed={failure.seed}"
            pytest.fail("\n".join([*told(failure), again]), pytrace=False)
        if found.unsteady:
            pytest.fail("\n".join(found.unsteady), pytrace=False)
        return found

    return lived


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
