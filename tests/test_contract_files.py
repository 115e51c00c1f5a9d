"""Contracts survive being written to files and read back without the code."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from click.testing import CliRunner, Result

import media
import shop
import trip
from callboard import Choreography, ContractError
from callboard.cli.front import cli
from callboard.contracts.file import SCHEMA, ContractFile, load, parse
from callboard.contracts.reading import read
from callboard.contracts.writing import write
from callboard.drawings import json as document
from tests import postoffice

ALL = {"shop": shop.shop, "rides": trip.rides, "media": media.media, "post": postoffice.post}


@pytest.fixture(params=ALL)
def choreography(request: pytest.FixtureRequest) -> Choreography:
    return ALL[request.param]


def plain(file: ContractFile) -> dict[str, Any]:
    """What it says, but for what only the code of its values knows."""
    said = json.loads(file.text())
    for each in (*said["events"].values(), *said["states"].values()):
        each.pop("made_of", None)
    return {**said, "values": {}}


def reread(file: ContractFile) -> ContractFile:
    return parse(file.text().encode(), "here")


def edges(choreography: Choreography) -> set[tuple[str, str, str, str]]:
    return {(str(each.event), each.source, each.target, each.kind) for each in choreography.edges()}


def unordered(value: Any) -> Any:
    """With every list sorted: the order of declarations says nothing."""
    match value:
        case [*parts]:
            return sorted(map(unordered, parts), key=repr)
        case dict():
            return {name: unordered(each) for name, each in cast("dict[str, Any]", value).items()}
        case _:
            return value


def test_what_was_written_is_read_and_written_the_same(choreography: Choreography) -> None:
    file = write(choreography)
    assert reread(file) == file
    assert plain(write(read([reread(file)]))) == plain(file)


def test_the_graph_of_the_file_is_the_graph_of_the_code(choreography: Choreography) -> None:
    read_back = json.loads(document.draw(read([reread(write(choreography))])))
    of_code = json.loads(document.draw(choreography))
    assert unordered(read_back) == unordered(of_code)


def test_files_of_single_services_make_the_whole_again(choreography: Choreography) -> None:
    parts = [reread(write(choreography, service)) for service in choreography.services]
    assert edges(read(parts)) == edges(choreography)


def test_reactions_keep_the_place_where_they_are_written(choreography: Choreography) -> None:
    found = read([write(choreography)])
    for path, contract in choreography.contracts.items():
        assert Path(found.contracts[path].file).resolve() == Path(contract.file).resolve()
        assert found.contracts[path].line == contract.line
        assert found.contracts[path].is_async == contract.is_async


def test_what_is_here_keeps_its_own_classes() -> None:
    here = Choreography("part", *(each for name, each in shop.shop.services.items() if name != "payments"))
    whole = read([write(shop.shop, "payments")], here)
    assert edges(whole) >= edges(here)
    assert whole.contracts["payments.charge"].triggers[0].types[0] is shop.shop.events["ItemsReserved"]


def test_the_same_contracts_give_the_same_text(choreography: Choreography) -> None:
    assert write(choreography).text() == write(choreography).text()
    assert json.loads(write(choreography).text())["schema"] == SCHEMA


def test_a_service_in_two_files_is_refused() -> None:
    file = write(shop.shop, "payments")
    with pytest.raises(ContractError, match="two services named 'payments'"):
        read([file, file])


def without_events(file: ContractFile) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(file, events={}))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("}", "", "cannot be read as a contract"),
        ('"schema"', '"sigma"', "its schema is ''"),
        ("contract/v1", "contract/v9", "another version, callboard.contract/v9"),
        ('"line": ', '"line": "x", "was": ', r"at `\$\.(flows|reactions)"),
    ],
)
def test_a_file_that_is_no_contract_is_refused_with_the_place(old: str, new: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        parse(write(shop.shop).text().replace(old, new).encode(), "here.json")


def test_a_file_that_names_what_it_does_not_tell_of_is_refused() -> None:
    with pytest.raises(ContractError, match="does not say what that is"):
        read([parse(without_events(write(shop.shop)), "here.json")])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="No such file"):
        load(tmp_path / "none.json")


def export(*typed: str) -> Result:
    return CliRunner().invoke(cli, ["contract", "export", f"{Path(postoffice.__file__)}:post", *typed])


def test_a_contract_is_exported_to_stdout_or_to_a_file(tmp_path: Path) -> None:
    said = export().stdout
    assert parse(said.encode(), "stdout").name == "post"
    assert export("-o", str(tmp_path / "post.json")).exit_code == 0
    assert (tmp_path / "post.json").read_text("utf-8") == said


def test_one_service_is_exported_alone() -> None:
    found = parse(export("--service", "van").stdout.encode(), "stdout")
    assert {path.partition(".")[0] for path in found.reactions} == {"van"}


def test_a_service_that_there_is_not_is_named_with_the_one_that_was_meant() -> None:
    result = export("--service", "vam")
    assert (result.exit_code, "did you mean 'van'" in result.stderr) == (4, True)
    assert export("-o", "/no/such/folder/x").exit_code == 2
