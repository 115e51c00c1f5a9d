"""Contracts of several repositories are checked as one, and a version against the one before."""

import json
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import shop
from callboard.checks.catalogue import check
from callboard.cli.front import cli
from callboard.contracts.file import SCHEMA, ContractFile, FieldSaid, ParameterSaid, ReactionSaid, RowSaid
from callboard.contracts.reading import read
from callboard.contracts.rolling import upgrade
from callboard.contracts.writing import write
from tests.test_diff import SOURCE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop of three services, as an app and as a file for each of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    put("was.py", SOURCE)
    for service in ("desk", "stock", "money"):
        assert (
            callboard("contract", "export", "was.py:shop", "--service", service, "-o", f"{service}.json").exit_code == 0
        )
    return tmp_path


def put(name: str, text: str) -> None:
    Path(name).write_text(text, "utf-8")


def callboard(*typed: str) -> Result:
    return CliRunner().invoke(cli, list(typed))


def codes(result: Result) -> list[str]:
    return [each["code"] for each in json.loads(result.stdout)["findings"]]


def test_files_are_checked_as_the_whole_that_they_make(folder: Path) -> None:
    whole = callboard("check", "was.py:shop", "--json")
    parts = callboard("check", "desk.json", "stock.json", "money.json", "--json")
    assert codes(parts) == codes(whole)
    assert parts.exit_code == whole.exit_code


def test_a_file_of_that_name_here_is_not_taken_for_the_code_behind_a_contract(folder: Path) -> None:
    whole = callboard("check", "desk.json", "stock.json", "money.json")
    put("was.py", SOURCE.replace("-> Packed | Empty: ...", "-> Packed | Empty: return None"))
    assert callboard("check", "desk.json", "stock.json", "money.json").stdout == whole.stdout
    assert "CB501" in codes(callboard("check", "was.py:shop", "--json"))


def test_what_a_missing_file_would_say_is_missed(folder: Path) -> None:
    assert "CB103" in codes(callboard("check", "desk.json", "stock.json", "--json"))


def test_a_file_and_an_app_are_checked_together(folder: Path) -> None:
    put(
        "front.py",
        SOURCE.replace('shop = Choreography("shop", desk, stock, money,', 'shop = Choreography("shop", desk,'),
    )
    found = callboard("check", "stock.json", "money.json", "front.py:shop", "--json")
    assert "CB103" not in codes(found)
    assert json.loads(found.stdout)["states"] > 3


def test_files_that_do_not_agree_on_an_event_are_told_apart(folder: Path) -> None:
    put("new.py", SOURCE.replace("size: Literal", "weight: int\n    size: Literal"))
    assert callboard("contract", "export", "new.py:shop", "--service", "money", "-o", "money.json").exit_code == 0
    found = callboard("check", "desk.json", "stock.json", "money.json", "--select", "CB502")
    assert found.exit_code == 1
    assert "money.charge cannot read the Packed that stock says: `weight` is missing" in found.stdout


def test_an_upgrade_without_a_safe_order_is_an_error_and_one_with_it_is_told(folder: Path) -> None:
    put("new.py", SOURCE.replace('size: Literal["s", "m"]', "size: int"))
    assert callboard("contract", "export", "was.py:shop", "-o", "was.json").exit_code == 0
    found = callboard("check", "new.py:shop", "--against", "was.json", "--select", "CB503")
    assert found.exit_code == 1
    assert (
        "the old stock says Packed, which the new money cannot read: `size` is Literal['s', 'm'], not int"
        in found.stdout
    )
    put("newer.py", SOURCE.replace("size: Literal", "weight: int\n    size: Literal"))
    found = callboard("check", "newer.py:shop", "--against", "was.json", "--select", "CB503")
    assert (found.exit_code, "upgrade stock, then money" in found.stdout) == (0, True)
    same = callboard("check", "was.py:shop", "--against", "was.json", "--select", "CB503")
    assert "no findings" in same.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("}", "", "it cannot be read as a contract"),
        ("contract/v1", "contract/v7", "another version, callboard.contract/v7"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(old: str, new: str, said: str, folder: Path) -> None:
    put("money.json", Path("money.json").read_text("utf-8").replace(old, new))
    result = callboard("check", "stock.json", "money.json")
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert "money.json" in result.stderr


def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    result = callboard("check", "mony.json")
    assert (result.exit_code, "mony.json: it cannot be read" in result.stderr) == (2, True)


def test_the_target_is_clean_also_when_it_is_read_from_files() -> None:
    files: list[ContractFile] = [write(shop.shop, each) for each in shop.shop.services]
    whole = check(shop.shop).findings
    assert [(each.code, each.about) for each in check(read(files), files=files).findings] == [
        (each.code, each.about) for each in whole
    ]
    assert {each.severity for each in whole} <= {"information"}


def test_twenty_services_are_upgraded_one_by_one() -> None:
    before, after = ladder(20, "int"), ladder(20, "int", new="size")
    found = upgrade(before, after)
    assert found.order == tuple(f"s{number:02}" for number in range(20))
    walled = upgrade(before, ladder(20, "str"))
    assert walled.order == ()
    assert len(walled.walls) == 2 * 19


def test_each_mixture_is_looked_at_once_and_only_what_stands_in_the_way_is_told() -> None:
    before, after = ladder(13, "int", ear=0), ladder(13, "int", new="size", ear=0)  # all hear what s00 says
    quarrel = {"s01.go": reacting("s01", "E00", "X"), "s02.go": reacting("s02", "X", "E02")}
    found = upgrade(with_event(before, "X", "int", quarrel), with_event(after, "X", "str", quarrel))
    assert (found.order, found.looked) == ((), 1 + 2**10)  # s00, then any of those that do not quarrel
    apart = upgrade(with_event(ladder(3, "int"), "X", "int", {}), with_event(ladder(3, "int", new="n"), "X", "str", {}))
    assert apart.order == ("s00", "s01", "s02")


def test_services_that_nothing_joins_do_not_block_each_other() -> None:
    one, other = (ladder(6, "int", new=new, deaf={1, 3}) for new in ("", "size"))
    walled = msgspec.structs.replace(other, events={**other.events, "E04": ladder(1, "str").events["E00"]})
    found = upgrade(one, walled)
    assert {wall.emitter for wall in found.walls} == {"s04"}
    assert found.looked < 10


def reacting(name: str, hears: str, says: str) -> ReactionSaid:
    return ReactionSaid(f"{name}.py", 1, {"heard": ParameterSaid("trigger", (hears,))}, says)


def with_event(file: ContractFile, name: str, kind: str, reactions: dict[str, ReactionSaid]) -> ContractFile:
    events = {**file.events, name: RowSaid("E", {"key": FieldSaid(kind, required=True)})}
    return msgspec.structs.replace(file, events=events, reactions={**file.reactions, **reactions})


def ladder(services: int, kind: str, new: str = "", deaf: Collection[int] = (), ear: int | None = None) -> ContractFile:
    """Each service hears the one before it, if that is not in `deaf`, or all hear the one that is named by `ear`.

    `new` is a field that all events have got.
    """
    said = {"key": FieldSaid(kind, required=True), **({new: FieldSaid("int", required=True)} if new else {})}
    names = tuple(f"s{number:02}" for number in range(services))
    reactions: dict[str, ReactionSaid] = {}
    for number, name in enumerate(names):
        spoken = number - 1 if ear is None else ear
        heard = f"E{spoken:02}" if number and spoken not in deaf else f"Start{number}"
        reactions[f"{name}.go"] = reacting(name, heard, f"E{number:02}")
    events = {f"E{number:02}": RowSaid("E", said) for number in range(services)}
    return ContractFile(SCHEMA, "ladder", names, events, {}, {}, reactions, {})
