"""The pytest plugin: rehearses an app in virtual time, and says which adapter a conformance suite is run on."""

from __future__ import annotations

import functools
import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from callboard.choreography import Choreography
    from callboard.simulation.hunt import Hunt
    from callboard.testing.rehearsal import Keepers, Rehearsal

Make = Callable[[str], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--callboard-broker` and `--callboard-ledger` name a function that makes an adapter."""
    group = parser.getgroup("callboard")
    group.addoption(
        "--callboard-seed", type=int, default=None, metavar="SEED", help="live this world only, in tests that simulate"
    )
    group.addoption(
        "--callboard-ledgers", choices=["shared", "separate", "either"], default="shared",
        help="what the fixture `callboard` runs on: one ledger, or one for each service and a broker between",
    )  # fmt: skip
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
    from callboard.simulation.faults import named  # noqa: PLC0415
    from callboard.simulation.hunt import hunt  # noqa: PLC0415 - only a test that simulates pays for it
    from callboard.simulation.story import told  # noqa: PLC0415
    from callboard.simulation.world import Scene  # noqa: PLC0415

    first: int | None = request.config.getoption("--callboard-seed")

    def lived(choreography: Choreography, *, seeds: int = 100, **scene: Any) -> Hunt:
        if "faults" in scene:
            scene["faults"] = named(scene["faults"])
        found = hunt(Scene(choreography, **scene), range(seeds) if first is None else [first])
        for failure in found.failures:
            again = f"  replay:  pytest {request.node.nodeid} --callboard-seed={failure.seed}"
            pytest.fail("\n".join([*told(failure), again]), pytrace=False)
        if found.unsteady:
            pytest.fail("\n".join(found.unsteady), pytrace=False)
        return found

    return lived


@pytest.fixture
def callboard_app(request: pytest.FixtureRequest) -> Choreography:
    """What is rehearsed: `app` in [tool.callboard] of pyproject.toml. Say otherwise with a fixture of this name."""
    return named_app(request.config.rootpath)


@pytest.fixture
def callboard_keepers() -> Keepers:
    """The keepers of its ports, or a function that makes them: none, so they are made from the Protocols."""
    return ()


@pytest.fixture
def callboard(
    request: pytest.FixtureRequest, callboard_app: Choreography, callboard_keepers: Keepers
) -> Iterator[Rehearsal]:
    """The app in virtual time: `callboard.publish(...).run()`, then look at its path, state and verdict."""
    from callboard.testing.rehearsal import Rehearsal  # noqa: PLC0415 - only a test that rehearses pays for it

    options = cast("Any", request.config.option)
    seed, ledgers = options.callboard_seed or 0, options.callboard_ledgers
    rehearsal = Rehearsal(callboard_app, callboard_keepers, seed=seed, ledgers=ledgers)
    yield rehearsal
    rehearsal.close()


def pytest_configure(config: pytest.Config) -> None:
    """The mark is known, also where marks are strict."""
    config.addinivalue_line(
        "markers",
        "callboard_faults(*names, seeds=30): run this test under so many seeds of these faults (all, if none)",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test with the mark is run once for each seed."""
    mark = item.get_closest_marker("callboard_faults")
    if mark is None or not isinstance(item, pytest.Function):
        return
    from callboard.testing.seeds import under_faults  # noqa: PLC0415 - only a test with the mark pays for it

    only: int | None = item.config.getoption("--callboard-seed")
    count: int = mark.kwargs.get("seeds", 30)
    item.obj = under_faults(item.obj, mark.args, range(count) if only is None else range(only, only + 1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails tells the story of its last world."""
    report = yield
    rehearsal = getattr(item, "funcargs", {}).get("callboard")
    if report.when == "call" and report.failed and rehearsal is not None and hasattr(rehearsal, "story"):
        error = call.excinfo.exconly(tryshort=True) if call.excinfo is not None else ""
        again = f"  replay:  pytest {item.nodeid} --callboard-seed={rehearsal.seed}"
        report.sections.append(("callboard", f"{rehearsal.story(error.partition(chr(10))[0])}\n{again}"))
    return report


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


def named_app(folder: Path) -> Choreography:
    """The choreography that [tool.callboard] `app` names."""
    file = folder / "pyproject.toml"
    table = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    app = str(table.get("tool", {}).get("callboard", {}).get("app", ""))
    target, _, attribute = app.rpartition(":")
    if not target:
        raise pytest.UsageError(
            f'which app? Write `app = "module:attr"` into [tool.callboard] of {file}, or a fixture '
            "`callboard_app` that returns the Choreography"
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = importlib.import_module(target.removesuffix(".py").replace("/", "."))
    app_itself: Choreography = functools.reduce(getattr, attribute.split("."), cast("Any", module))
    return app_itself
