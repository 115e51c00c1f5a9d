"""The README and the examples say what is so: their code runs, prints what stands there, and finds what is planted."""

import importlib.util
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from callboard import Choreography
from callboard.drawings import mermaid
from tests.support.pages import ROOT, blocks, play, python, write_files

EXAMPLES = ROOT / "examples"
ORDERS = EXAMPLES / "order_fulfilment"
README = (ROOT / "README.md").read_text("utf-8")
FAILS_AND_RECOVERS = "## A flow that fails and recovers"


REFERENCE = "\n".join(blocks((ROOT / "docs/reference.md").read_text("utf-8"), "python"))


def load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


# the README


def test_the_snippet_has_24_lines_and_declares_a_choreography(tmp_path: Path) -> None:
    snippet = blocks(README, "python")[0]
    assert len([line for line in snippet.splitlines() if line.strip()]) == 24
    shop = snippet_of(tmp_path)
    assert [node.path for node in shop.nodes()] == ["inventory.reserve"]


def snippet_of(folder: Path) -> Choreography:
    path = folder / "snippet.py"
    path.write_text(blocks(README, "python")[0])
    shop = load(path).shop
    assert isinstance(shop, Choreography)
    return shop


def test_the_graph_in_the_readme_is_the_one_of_the_snippet(tmp_path: Path) -> None:
    assert blocks(README, "mermaid") == [mermaid.draw(snippet_of(tmp_path))]


def test_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    snippet, opened, theatre = blocks(README, "python")
    for code, printed in zip((snippet + opened, theatre), blocks(README, "text"), strict=True):
        program = tmp_path / "program.py"
        program.write_text(code)
        done = python(program, cwd=tmp_path)
        assert (done.stdout, done.returncode) == (printed, 0), done.stderr


def test_the_readme_shows_what_check_finds(tmp_path: Path) -> None:
    theatre = blocks(README, "python")[2].replace("taken: PaymentTaken | None", "taken: PaymentTaken")
    (tmp_path / "theatre.py").write_text(theatre)
    done = python("-m", "callboard", "check", "theatre.py:theatre", cwd=tmp_path)
    told = [re.sub(r"\s*theatre\.py:\d+.*", "", line) for line in done.stdout.splitlines()]
    shown = blocks(README, "console")[0].splitlines()[1:]
    told = [line for line in told if line.strip()]
    assert told[: len(shown)] == shown
    assert [line[:13] for line in told[len(shown) :: 2]] == ["warning CB305", "theatre: 1 er"]


def test_the_undo_of_the_readme_without_what_it_undoes_is_told_as_that(tmp_path: Path) -> None:
    theatre = blocks(README, "python")[2].replace("@seats.reaction(compensates=hold)", "@seats.reaction")
    (tmp_path / "theatre.py").write_text(theatre)
    done = python("-m", "callboard", "check", "theatre.py:theatre", cwd=tmp_path)
    told = [line for line in done.stdout.splitlines() if line.startswith(("error", "warning", "   fix"))]
    assert [line[:13] for line in told[::2]] == ["error CB203  ", "warning CB305"]
    assert "write @seats.reaction(compensates=hold) above give_back: SeatHeld is then the effect" in told[1]


def test_the_readme_shows_a_flow_that_recovers_before_it_speaks_of_the_inside() -> None:
    before, _, after = README.partition(FAILS_AND_RECOVERS)
    shown = after[: after.index("```text", after.index("give_back"))]
    assert re.findall(r"\b(ledger|outbox|inbox|hop|mover|intake|relay)s?\b", (before + shown).lower()) == []


@pytest.mark.typing
def test_the_code_of_the_readme_passes_both_type_checkers(tmp_path: Path) -> None:
    snippet, opened, theatre = blocks(README, "python")
    for name, code in (("snippet.py", snippet + opened), ("theatre.py", theatre), ("reference.py", REFERENCE)):
        (tmp_path / name).write_text(code)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    for checker in (("mypy", "--strict", "."), ("pyright", "-p", ".", "--pythonpath", sys.executable)):
        done = python("-m", *checker, cwd=tmp_path)
        assert done.returncode == 0, done.stdout


PAGES = [
    "README.md",
    "docs/README.md",
    "docs/getting-started.md",
    "docs/incidents.md",
    "docs/pattern.md",
    "docs/reference.md",
    "docs/tutorial/1-check.md",
    "docs/tutorial/2-simulate.md",
    "examples/README.md",
    "examples/order_fulfilment/README.md",
    "examples/showcase/README.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


# the first ten minutes


def test_getting_started_prints_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/getting-started.md").read_text("utf-8")
    write_files(text, tmp_path)
    expected, printed = play(blocks(text, "console"), tmp_path)
    assert printed == expected
    tests = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py", "test_network.py", cwd=tmp_path)
    assert tests.returncode == 0, tests.stdout


# the reference


def test_the_snippets_of_the_reference_are_one_program_whose_tests_pass(tmp_path: Path) -> None:
    assert run_the_reference(tmp_path, REFERENCE) == 0


def test_what_the_reference_says_of_a_late_guest_is_so(tmp_path: Path) -> None:
    careless = REFERENCE.replace('needs=RoomHeld, once="end",', "needs=RoomHeld,")
    assert careless != REFERENCE
    assert run_the_reference(tmp_path, careless, "-k", "late_guest") == 1


def run_the_reference(folder: Path, program: str, *options: str) -> int:
    (folder / "test_reference.py").write_text(program)
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_reference.py", cwd=folder)
    print(done.stdout)
    return done.returncode


# the examples


def test_every_example_has_its_transcript_and_its_line_in_the_index() -> None:
    index = (EXAMPLES / "README.md").read_text("utf-8")
    folders = sorted(path.name for path in EXAMPLES.iterdir() if list(path.glob("*.py")))
    assert folders == sorted(path.parent.name for path in load(EXAMPLES / "run_all.py").transcripts())
    assert [name for name in folders if f"[{name}](" not in index] == []


def test_a_transcript_is_compared_line_by_line() -> None:
    differences = load(EXAMPLES / "run_all.py").differences
    assert differences(["a", "~ b[0-9]+"], ["a", "b12"]) == []
    assert len(differences(["a", "~ b[0-9]+"], ["x", "b12c"])) == 2
    assert len(differences(["a"], ["a", "more"])) == len(differences(["a", "more"], ["a"])) == 1


# recorded orders


def test_two_replays_give_the_same_verdicts(tmp_path: Path) -> None:
    first, second = (python(ORDERS / "replay.py", cwd=tmp_path) for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    verdicts = re.compile(r"^verdicts (\w+)", re.MULTILINE)
    assert verdicts.findall(first.stdout) == verdicts.findall(second.stdout) != []


PLANTED = {
    "its parcel was dispatched before the payment": (
        "@shipping.reaction(needs=PaymentCollected, ",
        "@shipping.reaction(",
    ),
    "it is lost": ("timeout=timedelta(days=90)", "timeout=timedelta(days=3650)"),
    "the till holds 1 payments": ("await till.give_back(", "(lambda key: None)("),
}


@pytest.mark.parametrize("found", PLANTED)
def test_a_replay_finds_a_planted_break(tmp_path: Path, found: str) -> None:
    folder = shutil.copytree(ORDERS, tmp_path / "orders")
    text = (folder / "recorded.py").read_text("utf-8")
    before, after = PLANTED[found]
    assert before in text
    (folder / "recorded.py").write_text(text.replace(before, after))
    done = python(folder / "replay.py", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert found in done.stdout


# a bad day in the shop

SMALL_DAY = ("--orders", 40, "--rate", 40, "--kills", 1, "--speed", 600, "--seed", 11)

AUDIT = """
import sys
from pathlib import Path
from random import Random
sys.path.insert(0, sys.argv[1])
from audit import audit
from demo import STOCK, orders_of_the_day
report = audit(Path(sys.argv[2]), orders_of_the_day(40, Random(11)), STOCK)
print(report.charged_twice, report.lost_orders, report.not_given_back)
"""

ONE_END = "SELECT pos FROM log JOIN name ON number = type WHERE name = 'OrderCancelled' LIMIT 1"
ALL_BUT_POS = "id, type, flow, time, key, cause, by, data, more"
ONE_CHARGE = "SELECT key FROM key WHERE state = 'charged' LIMIT 1"
ONE_PARCEL = "SELECT key FROM booking WHERE state = 'booked' LIMIT 1"
ONE_REFUND = "SELECT n FROM movement WHERE cents < 0 LIMIT 1"

# What is done to the files, and the three counters that come of it.
TAMPERED = {
    "nothing": ("shop.db", "SELECT 1", "0 0 0"),
    "a second charge": (
        "bank.db",
        f"INSERT INTO movement (key, card, cents) SELECT 'x', card, cents FROM movement WHERE key = ({ONE_CHARGE})",
        "1 0 0",
    ),
    "money kept": ("bank.db", f"DELETE FROM movement WHERE n = ({ONE_REFUND})", "0 0 1"),
    "an order without an end": ("shop.db", f"DELETE FROM log WHERE pos = ({ONE_END})", "0 1 0"),
    "an end that is doubled": (
        "shop.db",
        f"INSERT INTO log SELECT pos + 100000, {ALL_BUT_POS} FROM log WHERE pos = ({ONE_END})",
        "0 1 0",
    ),
    "a parcel that is not there": ("carrier.db", f"DELETE FROM booking WHERE key = ({ONE_PARCEL})", "0 1 0"),
    "stock taken": (
        "shop.db",
        """UPDATE "state_Shelf" SET data = '{"sku":"lamp","free":0}' WHERE key = 'lamp'""",
        "0 0 [1-9][0-9]*",
    ),
}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small bad day that went well."""
    folder = tmp_path_factory.mktemp("day") / "files"
    done = python(ORDERS / "demo.py", *SMALL_DAY, "--folder", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_bad_day_ends_with_three_zeros_and_every_finding_is_found(day: Path, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(AUDIT)
    for what, (file, statement, expected) in TAMPERED.items():
        folder = shutil.copytree(day, tmp_path / what)
        with closing(sqlite3.connect(folder / file)) as db, db:
            assert db.execute(statement).rowcount != 0, what
        done = python(tmp_path / "count.py", ORDERS, folder, cwd=tmp_path)
        assert re.fullmatch(expected, done.stdout.strip()), (what, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_shop_that_makes_up_its_keys_charges_twice(tmp_path: Path) -> None:
    folder = shutil.copytree(ORDERS, tmp_path / "orders")
    text = (
        (folder / "shop.py")
        .read_text("utf-8")
        .replace("key=ctx.idempotency_key()", "key=str(ctx.attempt)+ctx.event_id")
    )
    (folder / "shop.py").write_text(text)
    done = python(folder / "demo.py", *SMALL_DAY, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"charged twice +[1-9]", done.stdout), done.stdout
