"""The pytest plugin: an app in virtual time in the user's tests, as docs/testing.md has them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from callboard import Choreography
from callboard.testing.crashes import crash_everywhere
from callboard.testing.plugin import places_of
from media import media
from trip import rides

from .planted import no_key, whole_shop

ROOT = Path(__file__).parent.parent
_PROJECT = """
[tool.callboard]
app = "shop:shop"

[tool.pytest.ini_options]
addopts = "--strict-markers"
filterwarnings = ["error"]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of the user's, with the order choreography."""
    shop = (ROOT / "examples" / "order_fulfilment" / "shop.py").read_text("utf-8")
    pytester.makepyfile(shop=shop)
    pytester.path.joinpath("pyproject.toml").write_text(_PROJECT, "utf-8")
    return pytester


def blocks(page: str = "testing.md") -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("ledgers", ["shared", "separate"])
def test_the_tests_of_the_page_pass(project: pytest.Pytester, ledgers: str) -> None:
    project.makepyfile(test_page="\n".join(blocks()))
    ran = project.runpytest_subprocess("-q", f"--callboard-ledgers={ledgers}")
    ran.assert_outcomes(passed=6)


@pytest.mark.slow
def test_whoever_reads_of_the_simulation_has_an_invariant_and_a_test_under_faults(project: pytest.Pytester) -> None:
    own, whole, marked = blocks("simulate.md")
    project.makepyfile(shop=f"{blocks('getting-started.md')[0]}\n{own}", test_whole=whole, test_marked=marked)
    project.runpytest_subprocess("-q").assert_outcomes(passed=2)
    wrong = "\n@shop.invariant\ndef no_order_is_lost(world): assert not world.events(SoldOut), 'no lamp left'\n"
    with project.path.joinpath("shop.py").open("a", encoding="utf-8") as file:
        file.write(wrong)
    ran = project.runpytest_subprocess("-q")
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(["*invariant: no_order_is_lost: no lamp left*"])


_MINE = """
import tempfile
from functools import cache

from callboard.brokers.memory import MemoryBroker
from callboard.ledgers.sqlite import SqliteLedger

open_broker = cache(lambda place: MemoryBroker())


def open_ledger(place):
    return SqliteLedger(f"sqlite:///{tempfile.gettempdir()}/{place}.db", synchronous="OFF")
"""
_REAL = """
import shop
from test_page import callboard_keepers, order


def test_a_wrong_path(callboard):
    assert callboard.publish(order()).run().path == "OrderCreated > OrderCompleted"


def test_many_worlds(simulate):
    simulate(shop.shop, seeds=1)
"""


@pytest.mark.parametrize(
    "options",
    [
        "--callboard-ledger=mine:open_ledger --callboard-broker=mine:open_broker",
        pytest.param("--callboard-ledger=sqlite", marks=pytest.mark.slow),
        pytest.param("--callboard-ledger=sqlite --callboard-ledgers=separate", marks=pytest.mark.slow),
        pytest.param("--callboard-broker=sqlite", marks=pytest.mark.slow),
    ],
)
def test_the_tests_of_the_page_pass_on_what_the_options_name(
    project: pytest.Pytester, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    project.makepyfile(mine=_MINE, test_page="\n".join(blocks()), test_real=_REAL)
    ran = project.runpytest_subprocess("-q", "-rs", *options.split())
    text = ran.stdout.str()
    ran.assert_outcomes(passed=4, skipped=3, failed=1)  # two are of faults and crashes, one lives many worlds
    assert f"only a simulated world has seeds, faults and crashes: run it without {options}" in text
    assert "inventory.reserve -> InventoryReservationFailed#o-1" in text
    assert f"test_a_wrong_path {options}\n" in text


def test_options_that_go_not_together_are_refused(pytester: pytest.Pytester, tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        with pytest.raises(pytest.fail.Exception) as told:
            places_of(pytester.parseconfig(*options), tmp_path)
        return str(told.value)

    assert refused("--callboard-ledger=postgres") == "--callboard-ledger=postgres: write MODULE:FUNCTION, or sqlite"
    assert "write MODULE:FUNCTION, or memory or sqlite" in refused("--callboard-broker=kafka")
    assert "No module named 'nowhere'" in refused("--callboard-ledger=nowhere:open_ledger")
    assert "no attribute 'open_it'" in refused("--callboard-ledger=tempfile:open_it")
    assert "only a seed can choose" in refused("--callboard-ledger=sqlite", "--callboard-ledgers=either")
    assert "needs no broker" in refused("--callboard-broker=sqlite", "--callboard-ledgers=shared")


_FAULTY = """
import asyncio

import anyio
import pytest
import shop
from test_page import callboard_keepers, order


def test_a_wrong_path(callboard):
    callboard.put(shop.Shelf(sku="pen", free=5))
    assert callboard.publish(order()).run().path == "OrderCreated > OrderCancelled"


def look(callboard):
    callboard.put(shop.Shelf(sku="pen", free=5))
    callboard.publish(order()).run()
    return len([call for call in callboard.calls if call.name == "Bank.charge"])


@pytest.mark.callboard_faults("lose", "late", seeds=40)
def test_the_bank_is_called_once(callboard):
    assert look(callboard) == 1


@pytest.mark.asyncio
@pytest.mark.callboard_faults("lose", "late", seeds=40)
async def test_it_is_called_once_under_asyncio(callboard):
    await asyncio.sleep(0)
    assert look(callboard) == 1


class TestUnderAnyio:
    @pytest.mark.anyio
    @pytest.mark.callboard_faults("lose", "late", seeds=40)
    async def test_it_is_called_once_under_anyio(self, callboard, anyio_backend_name):
        await anyio.sleep(0)
        if look(callboard) != 1:
            pytest.fail("called " + anyio_backend_name)


def test_a_refused_publish(callboard):
    flow = callboard.publish(order())
    callboard.silence(shop.ship)


@pytest.mark.callboard_faults("crash")
def test_without_the_fixture():
    pass


@pytest.mark.callboard_faults("crash", seeds=0)
def test_of_no_seed(callboard):
    pass


@pytest.mark.callboard_faults("crush")
def test_of_an_unknown_fault(callboard):
    pass
"""


def test_a_failure_tells_the_sequence_and_the_seed_that_lives_it_again(project: pytest.Pytester) -> None:
    project.makepyfile(test_page=blocks()[0], test_faulty=_FAULTY)
    ran = project.runpytest_subprocess("-q", "test_faulty.py", "-o", "asyncio_mode=strict")
    text = ran.stdout.str()
    ran.assert_outcomes(failed=8)
    assert "- OrderCreated > OrderCancelled" in text
    assert "inventory.reserve -> ItemsReserved#o-1" in text
    assert "called asyncio" in text
    shrunk = r"to 1 in \d+ runs; it takes only:\n    - Bank\.charge in payments\.charge#o-1 takes place, and its answer"
    assert len(re.findall(shrunk, text)) == 3  # also where the test is awaited
    assert text.count("its answer is lost  <<<") == 3
    assert "asynchronous generator" not in text  # of a world, which the loop of the test has nothing to do with
    assert "the services are running by now" in text
    assert "takes the fixture `callboard`" in text
    assert "there is no fault 'crush'" in text
    assert "callboard_faults(seeds=0): it takes names of faults and seeds=, a number from 1 on" in text
    (seed,) = set(re.findall(r"test_the_bank_is_called_once --callboard-seed=(\d+)", text))
    again = project.runpytest_subprocess("-q", "test_faulty.py", "-k", "bank", f"--callboard-seed={seed}")
    again.assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("make", "pure"),
    [(whole_shop, ()), (lambda: rides, ()), (lambda: media, ("Ffmpeg",))],
    ids=["shop", "trip", "media"],
)
def test_a_crash_at_any_boundary_changes_nothing(make: Callable[[], Choreography], pure: tuple[str, ...]) -> None:
    points = crash_everywhere(make(), pure=pure)
    assert len(points) == len(set(points)) > 20
    for boundary in ("before it commits", "after it committed"):
        assert any(boundary in point for point in points)
    assert make is not whole_shop or any(" awaits" in point for point in points)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "pure"),
    [(whole_shop, ()), (lambda: rides, ()), (lambda: media, ("Ffmpeg",))],
    ids=["shop", "trip", "media"],
)
def test_a_crash_at_any_boundary_between_ledgers_changes_nothing(
    make: Callable[[], Choreography], pure: tuple[str, ...]
) -> None:
    points = crash_everywhere(make(), ledgers="separate", pure=pure)
    for boundary in ("before it sends", "after it sent", "after it committed the arrived"):
        assert any(boundary in point for point in points)


def test_a_crash_that_changes_the_end_is_told_with_its_point() -> None:
    with pytest.raises(AssertionError, match=r"crash shop after Till.charge in payments.charge#order-1") as told:
        crash_everywhere(no_key())
    assert "+ outside Till.charge(" in str(told.value)
