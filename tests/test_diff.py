"""What changed between two versions of contracts, and who breaks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import media
import shop
import trip
from callboard.cli.discovery import load_app
from callboard.cli.front import cli
from callboard.contracts.compatibility import fits
from callboard.contracts.difference import Change, difference
from callboard.contracts.file import ContractFile
from callboard.contracts.rolling import upgrade
from callboard.contracts.writing import write

SOURCE = """
from datetime import timedelta
from typing import Literal
from callboard import Choreography, Flow, FlowTimedOut, Service, event, failure, state

@event
class Ordered:
    order: str
    amount: int
    note: str = ""

@event
class Packed:
    order: str
    size: Literal["s", "m"]

@failure
class Empty:
    order: str

@event
class Paid:
    order: str

@failure
class Declined:
    order: str

@event
class Unpacked:
    order: str

@state(key="sku")
class Shelf:
    sku: str
    free: int = 0

desk, stock, money = Service("desk"), Service("stock"), Service("money")

@stock.reaction
def pack(ordered: Ordered) -> Packed | Empty: ...

@stock.reaction(compensates=pack)
def unpack(why: Declined, packed: Packed) -> Unpacked: ...

@money.reaction(needs=Ordered)
def charge(packed: Packed, ordered: Ordered) -> Paid | Declined: ...

@desk.reaction
def look(ordered: Ordered) -> None: ...

shop = Choreography("shop", desk, stock, money, flows=[
    Flow("order", key="order", starts=Ordered, succeeds=Paid, fails=Empty | Unpacked, timeout=timedelta(hours=1))])
"""

Edit = tuple[tuple[str, str], ...]


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], ContractFile]:
    """The contracts of the source with these edits."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    count = iter(range(100))

    def make(edits: Edit = ()) -> ContractFile:
        text = SOURCE
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        name = f"v{next(count)}_{tmp_path.name.replace('-', '_')}.py"
        (tmp_path / name).write_text(text, "utf-8")
        return write(load_app(f"{name}:shop", tmp_path))

    return make


CASES: dict[str, tuple[Edit, str, Sequence[str]]] = {
    "a field without a default": (
        (("amount: int", "amount: int\n    sku: str"),),
        "Ordered `sku: str` was added without a default",
        ["desk.look", "money.charge", "stock.pack"],
    ),
    "a field with a default": (
        (("amount: int", 'amount: int\n    sku: str = ""'),),
        "Ordered `sku: str` was added",
        [],
    ),
    "a field removed": (
        (("    amount: int\n", ""),),
        "Ordered `amount` was removed",
        ["desk.look", "money.charge", "stock.pack"],
    ),
    "an optional field removed": ((('    note: str = ""\n', ""),), "Ordered `note` was removed", []),
    "a type changed": (
        (("amount: int", "amount: str"),),
        "Ordered `amount` was int, and is str",
        ["desk.look", "desk.look", "money.charge", "money.charge", "stock.pack", "stock.pack"],
    ),
    "a type made wider": (  # only who is not upgraded yet cannot read it
        (('Literal["s", "m"]', 'Literal["s", "m", "l"]'),),
        "Packed `size` was Literal['s', 'm'], and is Literal['s', 'm', 'l']",
        ["money.charge", "stock.unpack"],
    ),
    "an event became a failure": (
        (("@event\nclass Unpacked", "@failure\nclass Unpacked"),),
        "Unpacked is a failure now",
        [],
    ),
    "a failure became an event": (
        (("@failure\nclass Declined", "@event\nclass Declined"),),
        "Declined is no failure any more",
        ["stock.unpack"],
    ),
    "an emitter lost": (
        (("-> Paid | Declined", "-> Paid"),),
        "Declined lost its emitter",
        ["stock.unpack"],
    ),
    "a hearer lost": (
        (("Empty | Unpacked", "Unpacked"),),
        "Empty lost its hearer",
        ["stock.pack"],
    ),
    "a compensation lost": (
        (
            (
                "@stock.reaction(compensates=pack)\ndef unpack(why: Declined, packed: Packed)",
                "@money.reaction\ndef unpack(why: Declined)",
            ),
        ),
        "stock.unpack is gone",
        ["stock.pack"],
    ),
    "a reaction renamed": (
        (("@desk.reaction\ndef look", '@desk.reaction(was="look")\ndef see'),),
        "desk.look is desk.see now",
        [],
    ),
    "a completion lost": (
        (("-> Paid | Declined", "-> Declined"),),
        "(order) lost a completion",
        ["(order)"],
    ),
    "a flow lost": (
        (('Flow("order"', 'Flow("purchase"'),),
        "(order) is gone",
        ["(order)"],
    ),
    "another key": ((('key="order"', 'key="amount"'),), "(order) key= was order, and is amount", ["(order)"]),
    "another deadline": ((("hours=1", "hours=2"),), "(order) timeout= was 3600.0, and is 7200.0", []),
    "an option": (
        (("@stock.reaction\n", "@stock.reaction(pivot=True)\n"),),
        "stock.pack pivot= was None, and is True",
        [],
    ),
    "another trigger": ((("look(ordered: Ordered)", "look(ordered: Ordered | Paid)"),), "desk.look hears +Paid", []),
    "a version": ((("@event\nclass Paid", "@event(version=2)\nclass Paid"),), "Paid version= was 1, and is 2", []),
}


def named(change: Change) -> str:
    return f"{change.about} {change.text}"


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_told_with_everybody_who_breaks(name: str, version: Callable[..., ContractFile]) -> None:
    edits, said, victims = CASES[name]
    before, after = version(), version(edits)
    found = {named(each): each for each in difference(before, after)}
    assert said in found
    assert sorted(each.name for each in found[said].breaks) == list(victims)
    for each in found[said].breaks:
        assert each.line > 0
        assert each.how
    assert [bool(each.breaks) for each in difference(before, after)] == sorted(
        (bool(each.breaks) for each in found.values()), reverse=True
    )


STATEFUL = (
    ("def look(ordered: Ordered)", "def look(ordered: Ordered, shelf: Shelf)"),
    ("order: str\n    amount", "order: str\n    sku: str\n    amount"),
)


def test_a_state_that_cannot_be_read_any_more_breaks_who_takes_it(version: Callable[..., ContractFile]) -> None:
    before, after = version(STATEFUL), version((*STATEFUL, ("free: int = 0", 'free: str = ""')))
    (change,) = difference(before, after)
    assert (change.about, [each.name for each in change.breaks]) == ("Shelf", ["desk.look"])
    counted = version(
        (*STATEFUL, ("free: int = 0", 'free: str = ""'), ('key="sku"', 'key="sku", shape=2, upcast=dict'))
    )
    assert [each.breaks for each in difference(before, counted)] == [()]


@pytest.mark.parametrize("choreography", [shop.shop, trip.rides, media.media], ids=["shop", "rides", "media"])
def test_nothing_differs_from_itself(choreography: object) -> None:
    file = write(choreography)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert difference(file, file) == []
    assert upgrade(file, file).order == ()


@pytest.mark.parametrize(
    ("written", "read", "is_read"),
    [
        ("int", "int", True),
        ("int", "float", True),
        ("float", "int", False),
        ("str", "str | None", True),
        ("str | None", "str", False),
        ("str | int", "int | str", True),
        ("Literal['a']", "Literal['a', 'b']", True),
        ("Literal['a', 'b']", "Literal['a']", False),
        ("list[int]", "list[str]", False),
        ("list[int] | None", "list[int]", False),
        ("Decimal", "Any", True),
    ],
)
def test_a_type_is_read_by_one_that_is_as_wide(written: str, read: str, *, is_read: bool) -> None:
    assert fits(written, read) is is_read


def test_a_new_field_upgrades_who_says_it_before_who_reads_it(version: Callable[..., ContractFile]) -> None:
    before, after = version(), version((("size: Lit", "weight: int\n    size: Lit"),))
    assert upgrade(before, after).order == ("stock", "money")


def test_a_removed_field_upgrades_who_reads_it_before_who_says_it(version: Callable[..., ContractFile]) -> None:
    before, after = version((("size: Lit", "weight: int\n    size: Lit"),)), version()
    assert upgrade(before, after).order == ("money", "stock")


def test_a_changed_type_has_no_safe_order_and_its_walls_are_told(version: Callable[..., ContractFile]) -> None:
    before, after = version(), version((('size: Literal["s", "m"]', "size: int"),))
    found = upgrade(before, after)
    assert found.order == ()
    assert {(wall.emitter, wall.emitter_is_new, wall.reader) for wall in found.walls} == {
        ("stock", False, "money"),
        ("stock", True, "money"),
    }


def git(folder: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **who})


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two revisions of a package in src/, and a third that is not committed."""
    package = tmp_path / "src" / "store"
    package.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "src"), *sys.path])
    git(tmp_path, "init", "-q")
    for text in (SOURCE, SOURCE.replace("amount: int", "amount: int\n    sku: str")):
        (package / "__init__.py").write_text(text, "utf-8")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", "x")
    (package / "__init__.py").write_text(SOURCE.replace("amount: int", "amount: str"), "utf-8")
    return tmp_path


def line_of(text: str) -> int:
    """Where it stands once a line has come in further up."""
    return next(number for number, line in enumerate(SOURCE.splitlines(), 2) if line.startswith(text))


def diff(*typed: str) -> Result:
    return CliRunner().invoke(cli, ["diff", *typed, "--app", "src/store/__init__.py:shop"])


def test_two_revisions_are_compared_without_touching_the_checkout(checkout: Path) -> None:
    before = (checkout / "src" / "store" / "__init__.py").read_text("utf-8")
    result = diff("HEAD~1", "HEAD")
    assert result.exit_code == 1
    assert "breaks   Ordered `sku: str` was added without a default" in result.stdout
    assert f"src/store/__init__.py:{line_of('def pack')}" in result.stdout
    assert "upgrade in this order" not in result.stdout  # it comes from outside, so nobody here says it
    assert (checkout / "src" / "store" / "__init__.py").read_text("utf-8") == before
    assert sorted(each.name for each in checkout.iterdir()) == [".git", "src"]


def test_a_revision_is_compared_with_what_is_not_committed_yet(checkout: Path) -> None:
    assert "Ordered `amount` was int, and is str" in diff("HEAD~1").stdout


def test_a_module_on_the_path_is_that_of_the_revision(checkout: Path) -> None:
    typed = ["diff", "HEAD~1", "HEAD", "--app", "store:shop"]
    found = CliRunner().invoke(cli, typed)
    assert (found.exit_code, "`sku: str` was added" in found.stdout) == (1, True)


def test_a_file_is_compared_with_a_revision(checkout: Path) -> None:
    typed = ["contract", "export", "src/store/__init__.py:shop", "-o", "was.json"]
    assert CliRunner().invoke(cli, typed).exit_code == 0
    result = diff("was.json", "HEAD")
    assert "Ordered `amount` was str, and is int; `sku: str` was added without a default" in result.stdout
    assert diff("was.json", "was.json").stdout == "0 changes from was.json to was.json, 0 of them break somebody\n"


def test_what_breaks_is_told_to_programs_and_to_github(checkout: Path) -> None:
    told = json.loads(diff("HEAD~1", "HEAD", "--json").stdout)
    assert told["schema"] == "callboard.diff/v1"
    assert [each["name"] for each in told["changes"][0]["breaks"]] == ["desk.look", "money.charge", "stock.pack"]
    lines = diff("HEAD~1", "HEAD", "-f", "github").stdout.splitlines()
    assert lines[0] == (
        f"::error file=src/store/__init__.py,line={line_of('def look')},"
        "title=Ordered `sku%3A str` was added without a default"
        "::desk.look cannot read what was said before: `sku` is missing"
    )


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("HAED",), 4, "'HAED' is neither a file nor a revision"),
        (("--help-me",), 2, "--help-me"),
        (("HEAD", "-x"), 2, "-x"),
    ],
)
def test_what_cannot_be_compared_is_refused(typed: tuple[str, ...], code: int, said: str, checkout: Path) -> None:
    result = diff(*typed)
    assert result.exit_code == code
    assert said in result.stderr


def test_a_revision_that_does_not_import_is_refused_with_its_own_line(checkout: Path) -> None:
    (checkout / "src" / "store" / "__init__.py").write_text("import nowhere\n", "utf-8")
    git(checkout, "commit", "-qam", "x")
    result = diff("HEAD", "HEAD~1")
    assert result.exit_code == 2
    assert "in HEAD, src/store/__init__.py cannot be imported: ModuleNotFoundError" in result.stderr


def test_outside_of_git_a_revision_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert diff("HEAD").exit_code == 2
