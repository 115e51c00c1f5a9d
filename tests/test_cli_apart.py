"""The command line where services keep ledgers of their own: two workers on two files, a bus, others publish."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.postoffice import FILE, command, shell, worker

BUS = ("--broker", "sqlite:///bus.db")
COUNTER = ("--ledger", "sqlite:///counter.db", *BUS, "--services", "counter")
VAN = ("--ledger", "sqlite:///van.db", *BUS, "--services", "van")


def letter(name: str, text: str = "hello") -> str:
    return json.dumps({"letter_id": name, "text": text})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLBOARD_APP", f"{FILE}:post")
    return tmp_path


@pytest.fixture
def office(folder: Path) -> Iterator[Path]:
    with worker(folder, *COUNTER), worker(folder, *VAN):
        yield folder


def at(ledger: str, *args: str) -> Result:
    return command(*args, "--ledger", f"sqlite:///{ledger}.db")


def answered(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_letter_published_from_a_third_ledger_is_delivered_by_two_workers_on_two_files(office: Path) -> None:
    told = shell(
        *("publish", "LetterPosted", letter("1"), "--ledger", "sqlite:///gate.db", *BUS, "--wait", "20s", "--json"),
        folder=office,
        CALLBOARD_APP=f"{FILE}:post",
    )
    assert told.returncode == 0, told.stderr
    (item,) = json.loads(told.stdout)["items"]
    assert (item["name"], item["key"], item["verdict"], item["by"]) == (
        "letter",
        "1",
        "succeeded",
        "LetterDelivered",
    )
    types = [each["type"] for each in answered(at("counter", "flows", "show", "letter/1", "--json"))["events"]]
    assert types[:3] == ["LetterPosted", "LetterStamped", "LetterDelivered"]


def test_a_refusal_from_elsewhere_is_told_with_exit_code_1(office: Path) -> None:
    assert at("gate", "publish", "LetterPosted", letter("1"), *BUS, "--wait", "20s").exit_code == 0
    result = at("other", "publish", "LetterPosted", letter("1", "another"), *BUS, "--wait", "20s")
    assert result.exit_code == 1
    assert "letter '1' has ended (succeeded): a key names one flow" in result.stderr


def test_the_ledger_that_keeps_a_flow_needs_no_broker_to_publish_into_it_or_to_cancel_it(office: Path) -> None:
    (office / "flat-tyre").touch()
    assert at("counter", "publish", "LetterPosted", letter("1", "heavy")).exit_code == 0
    result = at("counter", "flows", "cancel", "letter/1", "--yes")
    assert result.exit_code == 0, result.stderr
    assert at("counter", "flows", "wait", "letter/1", "--timeout", "20s").exit_code == 1
    story = answered(at("counter", "flows", "show", "letter/1", "--json"))
    assert story["flow"]["verdict"] == "failed"
    assert {"StampRefunded", "LetterReturned"} <= {each["type"] for each in story["events"]}


def test_what_was_published_before_the_first_worker_came_is_done_when_it_comes(folder: Path) -> None:
    assert at("gate", "publish", "LetterPosted", letter("1"), *BUS).exit_code == 0
    assert at("counter", "publish", "LetterPosted", letter("2"), *BUS).exit_code == 0  # and so its file is there
    with worker(folder, *COUNTER), worker(folder, *VAN):
        for name, ledger in (("1", "gate"), ("2", "counter")):
            result = at(ledger, "publish", "LetterPosted", letter(name), *BUS, "--wait", "20s")
            assert result.exit_code == 0, result.stderr
    assert len(answered(at("counter", "flows", "list", "--json"))["items"]) == 2


def test_a_ledger_that_does_not_keep_the_flow_asks_for_the_broker_and_names_the_one_that_does(office: Path) -> None:
    assert at("gate", "publish", "LetterPosted", letter("1"), *BUS, "--wait", "20s").exit_code == 0
    for ledger in ("van", "gate"):
        result = at(ledger, "publish", "LetterPosted", letter("2"))
        assert result.exit_code == 2
        assert "letter is kept in the ledger of counter" in result.stderr
        assert "say --broker URL, as its workers do, or name the ledger of counter" in result.stderr
        result = at(ledger, "flows", "cancel", "letter/1", "--yes")
        assert result.exit_code == 4
        assert "the ledger of counter keeps letter, name that one with --ledger" in result.stderr


def test_a_worker_that_forgot_the_broker_of_its_ledger_is_refused(folder: Path) -> None:
    with worker(folder, *COUNTER):
        pass
    result = command("run", "--ledger", "sqlite:///counter.db", "--ports", f"{FILE}:keepers", "--services", "counter")
    assert result.exit_code == 3
    assert "give it the broker that it was run with, open(broker=...) or --broker" in result.stderr


def test_a_broker_where_the_workers_have_none_is_refused(folder: Path) -> None:
    with worker(folder):
        pass
    result = at("post", "publish", "LetterPosted", letter("1"), *BUS)
    assert result.exit_code == 2
    assert "was run without a broker, so it keeps its flows itself: leave --broker away" in result.stderr


def test_a_broker_that_is_none_is_refused_by_its_name(folder: Path) -> None:
    result = at("gate", "publish", "LetterPosted", letter("1"), "--broker", "carrier-pigeon")
    assert result.exit_code != 0
    assert "'carrier-pigeon' names no broker: write sqlite:///bus.db" in result.stderr
    assert not (folder / "carrier-pigeon").exists()


def test_a_broker_that_is_away_is_told_with_how_many_wait_and_no_more_once_it_is_back(folder: Path) -> None:
    road = ("--broker", "sqlite:///bus/bus.db")
    said = command("publish", "LetterPosted", letter("1"), "--ledger", "sqlite:///counter.db", *road)
    assert "published here, on its way to the ledger that keeps it" in said.stdout
    with worker(folder, "--ledger", "sqlite:///counter.db", *road, "--services", "counter"):
        assert "up to 1 event wait" in until(lambda: at("counter", "services").stdout, "the broker is away since")
        assert "is there once it was let in" in at("counter", "flows", "list").stderr
        assert "is there once it was let in" in at("counter", "flows", "wait", "letter/1").stderr
        (folder / "bus").mkdir()
        until(lambda: str("away since" in at("counter", "services").stdout), "False")
        assert "letter/1" in until(lambda: at("counter", "flows", "list").stdout, "letter/1")


def until(look: Callable[[], str], text: str) -> str:
    """What is seen once the text is in it. Fails after half a minute."""
    limit = time.monotonic() + 30
    while text not in (seen := look()):
        assert time.monotonic() < limit, seen
    return seen
