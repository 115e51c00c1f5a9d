"""The pytest plugin: rehearses an app, in virtual time or on a ledger and a broker that options name, on which the
conformance suites run too.
"""

from __future__ import annotations

import functools
import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from callboard.testing.adapters import Real, new_place, refuse_real

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from callboard.choreography import Choreography
    from callboard.simulation.hunt import Hunt
    from callboard.simulation.world import LEDGERS
    from callboard.testing.real import Places
    from callboard.testing.rehearsal import Keepers, Rehearsal

Make = Callable[[str], Any]
OURS = {"ledger": ("sqlite",), "broker": ("memory", "sqlite")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is rehearsed on, and which seed is lived."""
    group = parser.getgroup("callboard")
    group.addoption(
        "--callboard-seed", type=int, default=None, metavar="SEED", help="live this world only, in tests that simulate"
    )
    group.addoption(
        "--callboard-ledgers", choices=["shared", "separate", "either"], default=None,
        help="what the fixture `callboard` runs on: one ledger, or one for each service and a broker between",
    )  # fmt: skip
    for promise, ours in OURS.items():
        group.addoption(
            f"--callboard-{promise}",
            metavar="|".join([*ours, "MODULE:FUNCTION"]),
            help=f"fixture `callboard` and callboard.testing.{promise}_suite run on this: ours, or the {promise} that "
            "FUNCTION(place) makes: not open yet, and the same for the same place, a name that is new in each test",
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

    refuse_real()
    first: int | None = request.config.getoption("--callboard-seed")

    def lived(choreography: Choreography, *, seeds: int = 100, **scene: Any) -> Hunt:
        if seeds < 1 or (first or 0) < 0:
            pytest.fail(f"simulate(seeds={seeds}), seed {first}: seeds are 0 and more, and at least one", pytrace=False)
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
    """The app with a clock that the test turns: `callboard.publish(...).run()`, then look at its path and verdict."""
    from callboard.testing.rehearsal import Rehearsal  # noqa: PLC0415 - only a test that rehearses pays for it

    options = cast("Any", request.config.option)
    seed: int = options.callboard_seed or 0
    ledgers: LEDGERS = options.callboard_ledgers or "shared"
    places = places_of(request.config, request.getfixturevalue("tmp_path")) if Real.options else None
    rehearsal = Rehearsal(callboard_app, callboard_keepers, seed=seed, ledgers=ledgers, places=places)
    yield rehearsal
    rehearsal.close()


def places_of(config: pytest.Config, folder: Path) -> Places:
    """What is real, in a test that has this folder."""
    from callboard.testing.real import Places  # noqa: PLC0415

    options = cast("Any", config.option)
    ledgers, named = options.callboard_ledgers, options.callboard_broker
    if ledgers == "either":
        pytest.fail("--callboard-ledgers=either: only a seed can choose; say shared or separate", pytrace=False)
    if ledgers == "shared" and named:
        text = f"--callboard-broker={named}: one shared ledger needs no broker; leave one of them out"
        pytest.fail(text, pytrace=False)
    if ledgers == "separate" and not named:
        named = "memory"
    ledger = maker(options.callboard_ledger or "sqlite", "ledger", config.rootpath, folder)
    broker = maker(named, "broker", config.rootpath, folder) if named else None
    return Places(ledger, broker, new_place)


def pytest_configure(config: pytest.Config) -> None:
    """The mark is known, also where marks are strict."""
    config.addinivalue_line(
        "markers",
        "callboard_faults(*names, seeds=30): run this test under so many seeds of these faults (all, if none)",
    )
    given = {name: config.getoption(f"--callboard-{name}") for name in [*OURS, "ledgers"]}
    told = " ".join(f"--callboard-{name}={value}" for name, value in given.items() if value)
    before, Real.options = Real.options, told if any(given[name] for name in OURS) else ""
    config.add_cleanup(lambda: setattr(Real, "options", before))


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test with the mark is run once for each seed."""
    mark = item.get_closest_marker("callboard_faults")
    if mark is None or not isinstance(item, pytest.Function):
        return
    from callboard.testing.seeds import under_faults  # noqa: PLC0415 - only a test with the mark pays for it

    item.obj = under_faults(item.obj, mark, item.config.getoption("--callboard-seed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails tells the story of its last world."""
    report = yield
    rehearsal = getattr(item, "funcargs", {}).get("callboard")
    if report.when == "call" and report.failed and rehearsal is not None and hasattr(rehearsal, "story"):
        error = call.excinfo.exconly(tryshort=True) if call.excinfo is not None else ""
        option = Real.options or f"--callboard-seed={rehearsal.seed}"
        again = f"  replay:  pytest {item.nodeid} {option}"
        report.sections.append(("callboard", f"{rehearsal.story(error.partition(chr(10))[0])}\n{again}"))
    return report


@pytest.fixture
def open_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the broker under test."""
    return _under_test(request, "broker", tmp_path)


@pytest.fixture
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the ledger under test."""
    return _under_test(request, "ledger", tmp_path)


def _under_test(request: pytest.FixtureRequest, promise: Literal["ledger", "broker"], folder: Path) -> Make:
    named: str | None = request.config.getoption(f"--callboard-{promise}")
    if not named:
        pytest.skip(f"name an adapter: --callboard-{promise}=my_package:open_{promise}")
    return maker(named, promise, request.config.rootpath, folder)


def named_app(folder: Path) -> Choreography:
    """The choreography that [tool.callboard] `app` names."""
    file = folder / "pyproject.toml"
    table = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    app = str(table.get("tool", {}).get("callboard", {}).get("app", ""))
    if ":" not in app:
        pytest.fail(
            f'which app? Write `app = "module:attr"` into [tool.callboard] of {file}, or a fixture '
            "`callboard_app` that returns the Choreography",
            pytrace=False,
        )
    found: Choreography = imported(folder, app, f"[tool.callboard] app of {file}")
    return found


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
