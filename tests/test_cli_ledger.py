"""The commands that look at a ledger, on a real file with real flows in it."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from callboard import Choreography
from callboard.cli import prune
from tests.postoffice import (
    FILE,
    HonestTill,
    LetterPosted,
    RustyVan,
    command,
    post,
)

URL = "sqlite:///post.db"
APP = f"{FILE}:post"


async def fill() -> None:
    """Flows of every kind: one that succeeded, one undone, one whose worker gave up, one that waits to be read."""
    async with post.open(URL, ports=[HonestTill(), RustyVan()]) as board:
        good = await board.publish(LetterPosted(letter_id="good"))
        await good.completion(timedelta(seconds=10))
        nowhere = await board.publish(LetterPosted(letter_id="nowhere", text="nowhere"))
        await nowhere.completion(timedelta(seconds=10))
        for name in ("heavy", "heavy/2"):
            heavy = await board.publish(LetterPosted(letter_id=name, text="heavy"))
            await board.until(dead(board, name), timedelta(seconds=10), "no dead letter")
            assert heavy.is_new
    async with post.open(URL, services=[]) as board:
        await board.publish(LetterPosted(letter_id="unread"))


def dead(board: Any, name: str) -> Any:
    async def look() -> bool | None:
        row = await board.flow("letter", name).row()
        return True if await board.work.ledger.parked(flow=row.number, why=["dead"]) else None

    return look


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    before = Path.cwd()
    os.chdir(folder)
    try:
        (folder / "flat-tyre").touch()
        asyncio.run(fill())
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def ledger(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for each test, in the folder that the test runs in."""
    for file in filled.iterdir():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLBOARD_LEDGER", URL)
    for name in ("APP", "PORTS", "SERVICES", "DEBUG", "COLOR"):
        monkeypatch.delenv(f"CALLBOARD_{name}", raising=False)
    return tmp_path / "post.db"


def said(*typed: str, code: int = 0) -> str:
    result = command(*typed)
    assert result.exit_code == code, result.output
    return result.stdout


def told(*typed: str, code: int = 0) -> Any:
    found = json.loads(said(*typed, "--json", code=code))
    assert found["schema"].startswith("callboard.")
    assert found["schema"].endswith("/v1")
    return found


def refused(*typed: str, code: int) -> str:
    result = command(*typed)
    assert result.exit_code == code, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    return result.stderr


# flows


def test_the_list_has_every_flow_with_its_status_and_what_it_waits_for() -> None:
    found = {each["key"]: each for each in told("flows", "list")["items"]}
    assert {key: each["status"] for key, each in found.items()} == {
        "good": "succeeded",
        "nowhere": "failed",
        "heavy": "running",
        "heavy/2": "running",
        "unread": "running",
    }
    assert found["good"]["by"] == "LetterDelivered"
    assert found["heavy"]["parked"][0]["why"] == "dead"
    text = said("flows", "list")
    assert "letter/heavy " in text
    assert "dead letter van.deliver@" in text
    assert "the tyre is flat …" in text
    assert "spare" not in text  # an error's first line is enough in a list


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (("--status", "succeeded"), ["good"]),
        (("--status", "running"), ["unread", "heavy/2", "heavy"]),
        (("--status", "stuck"), []),
        (("--name", "letter", "--limit", "1"), ["unread"]),
        (("--name", "parcel"), []),
    ],
    ids=" ".join,
)
def test_the_list_can_be_narrowed(typed: tuple[str, ...], keys: list[str]) -> None:
    assert [each["key"] for each in told("flows", "list", *typed)["items"]] == keys


def test_a_list_that_goes_on_says_how() -> None:
    first = told("flows", "list", "--limit", "3")
    assert first["next"] is not None
    rest = told("flows", "list", "--limit", "3", "--before", str(first["next"]))
    assert rest["next"] is None
    assert [each["key"] for each in first["items"] + rest["items"]] == ["unread", "heavy/2", "heavy", "nowhere", "good"]
    result = command("flows", "list", "--limit", "3")
    assert f"--before {first['next']}" in result.stderr


def test_a_deadline_that_passed_without_a_verdict_is_stuck_in_the_list_and_on_the_page(ledger: Path) -> None:
    with sqlite3.connect(ledger) as db:
        db.execute("UPDATE flow SET deadline = started + 1 WHERE key = 'heavy'")
    db.close()
    assert [each["key"] for each in told("flows", "list", "--status", "stuck")["items"]] == ["heavy"]
    assert told("flows", "show", "heavy")["flow"]["status"] == "stuck"
    assert "deadline: passed" in said("flows", "show", "heavy")


def test_a_flow_is_told_by_cause_with_what_was_undone() -> None:
    text = said("flows", "show", "letter/nowhere", "--app", APP)
    assert [line.partition("   +")[0] for line in text.splitlines()[3:8]] == [
        "#1 LetterPosted",
        "└─ counter.stamp → #2 LetterStamped",
        "   └─ van.deliver → #3 AddressUnknown",
        "      └─ counter.refund → #4 StampRefunded",
        "         └─ counter.send_back → #5 LetterReturned",
    ]
    for word in ("closes counter.stamp", "undone", "verdict: failed", "by LetterReturned", "nothing was left undone"):
        assert word in text


def test_the_page_of_a_flow_in_full() -> None:
    events = told("flows", "show", "letter/nowhere")["events"]
    types = {each["id"]: each["type"] for each in events}
    assert [(each["type"], each.get("reaction"), types.get(each.get("causationid"))) for each in events] == [
        ("LetterPosted", None, None),
        ("LetterStamped", "counter.stamp", "LetterPosted"),
        ("AddressUnknown", "van.deliver", "LetterStamped"),
        ("StampRefunded", "counter.refund", "AddressUnknown"),
        ("LetterReturned", "counter.send_back", "StampRefunded"),
    ]
    assert events[0]["data"] == {"letter_id": "nowhere", "text": "nowhere"}
    assert {each["correlationid"] for each in events} == {events[0]["id"]}
    assert events[1]["remarks"] == ["undone"]


def test_events_stand_below_their_cause_whatever_the_clock_said(ledger: Path) -> None:
    before = [line.partition("   ")[0] for line in said("flows", "show", "letter/nowhere").splitlines()[3:]]
    with sqlite3.connect(ledger) as db:  # a clock that ran backwards
        db.execute("UPDATE log SET time = 9000000000000000 - time")
    db.close()
    after = [line.partition("   ")[0] for line in said("flows", "show", "letter/nowhere").splitlines()[3:]]
    assert after[:5] == before[:5]


def test_attempts_and_the_dead_letter_are_told_where_they_belong() -> None:
    text = said("flows", "show", "letter/heavy", "--app", APP)
    first = text.index("✗ attempt 1: RuntimeError: the tyre is flat")
    second = text.index("✗ attempt 2: RuntimeError: the tyre is flat")
    failed = text.index("ReactionFailed[LetterStamped]")
    letter = text.index("dead letter van.deliver@")
    assert first < second < failed < letter
    assert "waits for: van.deliver: dead letter" in text
    assert "no verdict yet" in text
    assert "van.complain: done, emitted nothing" in text


def test_without_the_app_the_story_is_the_same_but_for_those_who_left_no_trace() -> None:
    text = said("flows", "show", "letter/heavy")
    assert "✗ attempt 2" in text
    assert "van.complain" not in text


def test_what_nobody_has_come_to_yet_is_told() -> None:
    text = said("flows", "show", "unread", "--app", APP)
    assert "counter.stamp: has not come to it yet" in text
    assert "waits for: counter.stamp: has not come to it yet (LetterPosted #1)" in text


def test_a_flow_is_named_by_name_and_key_by_id_by_an_event_or_by_its_key(ledger: Path) -> None:
    flow = told("flows", "show", "letter/nowhere")
    for target in ("nowhere", flow["flow"]["id"], flow["events"][-1]["id"], "letter/nowhere"):
        assert told("flows", "show", target)["flow"]["key"] == "nowhere"
    assert told("flows", "show", "letter/heavy/2")["flow"]["key"] == "heavy/2"
    assert told("flows", "show", "heavy/2")["flow"]["key"] == "heavy/2"


def test_a_flow_that_is_not_there_is_told_with_the_nearest() -> None:
    assert "did you mean 'letter/good'?" in refused("flows", "show", "letter/god", code=4)
    assert "did you mean 'nowhere'?" in refused("flows", "wait", "nowher", code=4)
    text = refused("flows", "show", "xyz", code=4)
    assert "no such flow: 'xyz'" in text
    assert "flows list" in text
    assert "pruned" not in text


def test_what_events_carry_is_shown_when_asked_for() -> None:
    assert '{"letter_id":"good","text":"hello"}' in said("flows", "show", "good", "--data")
    assert "hello" not in said("flows", "show", "good")


def test_waiting_for_a_verdict_tells_it_by_the_exit_code() -> None:
    assert "succeeded" in said("flows", "wait", "good")
    assert "failed" in said("flows", "wait", "nowhere", code=1)
    result = command("flows", "wait", "heavy", "--timeout", "50ms")
    assert result.exit_code == 1
    assert "no verdict within 50 ms" in result.stderr


def test_the_log_can_be_followed_from_behind() -> None:
    lines = said("flows", "tail", "--lines", "3", "--for", "0s").splitlines()
    assert len(lines) == 3
    assert "letter/unread" in lines[-1]
    assert "LetterPosted" in lines[-1]
    lines = said("flows", "tail", "nowhere", "--lines", "99").splitlines()  # it has its verdict, so this ends
    assert [line.split()[2] for line in lines] == [
        "LetterPosted",
        "LetterStamped",
        "AddressUnknown",
        "StampRefunded",
        "LetterReturned",
    ]
    objects = [json.loads(line) for line in said("flows", "tail", "nowhere", "--json", "--lines", "2").splitlines()]
    assert [each["type"] for each in objects] == ["StampRefunded", "LetterReturned"]
    assert {each["schema"] for each in objects} == {"callboard.event/v1"}


# explain


def test_a_flow_is_explained_by_its_path_and_what_it_waits_for() -> None:
    assert "LetterPosted → LetterStamped → AddressUnknown → StampRefunded → LetterReturned" in said(
        "explain", "letter/nowhere"
    )
    assert "dead letter van.deliver@" in said("explain", "letter/heavy")
    assert told("explain", "letter/heavy")["waits_for"]


def test_an_event_is_explained_by_who_heard_it() -> None:
    stamped = told("flows", "show", "letter/heavy")["events"][1]["id"]
    text = said("explain", stamped, "--app", APP)
    assert "cause   #1 LetterPosted, emitted by counter.stamp" in text
    assert "van.deliver: attempt 1: RuntimeError" in text
    assert "dead letter" in text
    assert told("explain", stamped)["answers"][0]["reaction"] == "van.deliver"
    assert "holds no event" in refused("explain", f"{stamped[:26]}.zzzz", code=4)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("LetterPosted", ["event", "letter_id: str", "outside", "counter.stamp", "flow letter, by its letter_id"]),
        ("AddressUnknown", ["failure", "van.deliver", "counter.refund, which compensates stamp"]),
        ("FlowTimedOut[LetterPosted]", ["speaks of", "flow letter, when its deadline passes", "van.remind"]),
        ("FlowCancelled[LetterPosted]", ["when it is cancelled"]),
        ("Receipt", ["outside", "van.file_away"]),
        ("LetterDelivered", ["ends", "flow letter"]),
        ("van.deliver", ["needs=LetterPosted", "Van, a port", "a pivot, it cannot be undone", "pivot=True"]),
        (
            "stamp",
            ["undone by", "counter.refund", "Till: compensated", "Envelope, a state, found or new"],
        ),
        ("refund", ["compensation", "compensates", "given if there is one"]),
        ("letter", ["succeeds", "LetterDelivered", "5 min after its start", "counter, whose owner"]),
        ("counter", ["service", "stamp: LetterPosted → LetterStamped", "Envelope", "Till", "letter"]),
        ("Envelope", ["state", "private to each flow", "counter.stamp"]),
        ("Van", ["port", "van.deliver"]),
    ],
)
def test_what_the_app_declares_is_explained(target: str, words: list[str]) -> None:
    text = said("explain", target, "--app", APP)
    for word in words:
        assert word in text
    assert told("explain", target, "--app", APP)["facts"]


def test_a_reaction_is_explained_with_where_it_stands_if_a_ledger_is_named() -> None:
    facts = told("explain", "van.deliver", "--app", APP, "--ledger", URL)["facts"]
    assert facts["parked"] == ["2 dead"]
    assert facts["events behind"] == ["0"]
    assert "owner" in facts
    assert "parked" not in told("explain", "van.deliver", "--app", APP)["facts"]


def test_a_finding_and_an_error_are_explained() -> None:
    assert "@stock.reaction(compensates=hold)" in said("explain", "cb203")
    assert "began a flow, and that flow still runs" in said("explain", "FlowIsOpen")
    assert told("explain", "FlowIsOpen")["facts"]["is a"] == ["FlowError", "CallboardError"]
    assert "has no 'Exception'" in refused("explain", "Exception", "--app", APP, code=4)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    assert "did you mean 'LetterPosted'?" in refused("explain", "LetterPostd", "--app", APP, code=4)
    assert "--app" in refused("explain", "LetterPosted", code=4)


# dead letters


def letters() -> list[str]:
    return [each["id"] for each in told("dead-letters", "list")["items"]]


def test_dead_letters_are_listed_with_their_flow_and_their_error() -> None:
    items = told("dead-letters", "list")["items"]
    assert [each["flow"] for each in items] == ["letter/heavy", "letter/heavy/2"]
    assert items[0]["id"] == f"van.deliver@{items[0]['position']}"
    what, more, place = items[0]["error"].splitlines()
    assert (what, more) == ("RuntimeError: the tyre is flat", "and there is no spare one")
    assert re.fullmatch(r" +at tests\.postoffice\.deliver:\d+ < tests\.postoffice\.drive:\d+", place)
    assert items[0]["attempts"] == 2
    text = said("dlq", "list")
    assert "the tyre is flat …" in text
    assert "LetterStamped" in text


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (("--reaction", "van.deliver"), 2),
        (("--reaction", "van"), 2),
        (("--reaction", "counter"), 0),
        (("--flow", "letter/heavy"), 1),
        (("--flow", "heavy/2"), 1),
        (("--error", "TYRE"), 2),
        (("--error", "engine"), 0),
        (("--limit", "1"), 1),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value),
)
def test_dead_letters_can_be_narrowed(typed: tuple[str, ...], count: int) -> None:
    assert len(told("dead-letters", "list", *typed)["items"]) == count


def test_a_dead_letter_is_shown_in_full() -> None:
    text = said("dead-letters", "show", letters()[0])
    for word in ("van.deliver", "LetterStamped", "attempt 1", "attempt 2", "spare", '{"letter_id":"heavy"}', "replay"):
        assert word in text
    assert len(told("dead-letters", "show", letters()[0])["notes"]) == 2
    assert "there is no dead letter" in refused("dead-letters", "show", "van.deliver@999999", code=4)


def asked(ledger: Path) -> list[str | None]:
    db = sqlite3.connect(ledger)
    try:
        rows = db.execute("SELECT asked FROM parked WHERE why = 'dead' ORDER BY pos")
        return [None if wish is None else json.loads(wish)["what"] for (wish,) in rows]
    finally:
        db.close()


def test_a_replay_is_a_wish_that_is_left_for_the_owner(ledger: Path) -> None:
    first, second = letters()
    assert said("dead-letters", "replay", first, "--yes") == f"{first}: asked\n"
    assert asked(ledger) == ["replay", None]
    assert "replay asked by" in said("flows", "show", "heavy")
    assert said("dead-letters", "discard", second, "--yes", "--json")
    assert asked(ledger) == ["replay", "discard"]


def test_a_second_click_is_the_same_replay(ledger: Path) -> None:
    first, second = letters()
    said("dead-letters", "replay", first, "--yes", "--as", "ann")
    assert "asked already by ann" in said("dead-letters", "replay", first, "--yes")
    before = dead_rows(ledger)[0]
    assert "asked already by ann" in said("dead-letters", "replay", first, second, "--yes")
    assert asked(ledger) == ["replay", "replay"]
    assert dead_rows(ledger)[0] == before
    assert "replay was asked already by ann" in said("dead-letters", "discard", first, "--yes", code=1)


def dead_rows(ledger: Path) -> list[Any]:
    with closing(sqlite3.connect(ledger)) as db:
        return db.execute("SELECT pos, asked, due, data FROM parked WHERE why = 'dead' ORDER BY pos").fetchall()


def at_work(*typed: str) -> Callable[..., Any]:
    """What is typed while a worker runs; its van has a flat tyre as long as the file says so."""

    async def do() -> Result:
        async with post.open(URL, ports=[HonestTill(), RustyVan()]):
            return await asyncio.to_thread(command, *typed)

    return lambda: asyncio.run(do())


def test_a_replay_is_watched_until_it_is_known_what_came_of_it(ledger: Path) -> None:
    first, second = letters()
    failed = at_work("dead-letters", "replay", "--all", "--yes", "--wait", "20s", "--note", "new tyre")()
    assert failed.exit_code == 1
    assert f"{first}: no, failed again; asked by" in failed.stdout
    (ledger.parent / "flat-tyre").unlink()
    done = at_work("dead-letters", "replay", first, "--yes", "--wait", "20s", "--as", "ann")()
    assert done.exit_code == 0
    assert f"{first}: done, emitted LetterDelivered; asked by ann (rp-" in done.stdout
    assert [each["id"] for each in told("dead-letters", "list")["items"]] == [second]
    story = said("flows", "show", "heavy", "--app", APP)
    assert "asked: replay by ann (rp-" in story
    assert "replayed: done, emitted LetterDelivered; asked by ann" in story
    assert "new tyre" in said("dead-letters", "show", second)


def test_a_bulk_replay_has_a_rate_and_its_wishes_outlive_the_command(ledger: Path) -> None:
    result = command("dead-letters", "replay", "--reaction", "van", "--yes", "--rate", "30/m", "--wait", "10ms")
    assert result.exit_code == 1
    assert "It stays asked for" in result.stdout
    first, second = (row[2] for row in dead_rows(ledger))
    assert second - first == 2_000_000
    assert "is no rate" in command("dead-letters", "replay", "--all", "--yes", "--rate", "fast").output


def test_a_dry_run_says_what_would_be_refused_and_changes_nothing(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("UPDATE flow SET verdict = 'failed' WHERE key = 'heavy'")
    first, second = letters()
    result = command("dead-letters", "replay", "--all", "--dry-run")
    assert f"replay {first}: RuntimeError: the tyre is flat … (letter/heavy has its verdict, failed" in result.stderr
    assert "1 of these would be refused" in result.stderr
    items = told("dead-letters", "replay", "--all", "--dry-run")["items"]
    assert "verdict" in items[0]["why_not"]
    assert items[1] == {"id": second, "done": False, "why_not": "dry run", "came": None}
    assert asked(ledger) == [None, None]


def test_even_though_ended_shows_the_verdict_first(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("UPDATE flow SET verdict = 'failed' WHERE key = 'heavy'")
    result = command("dead-letters", "replay", letters()[0], "--even-though-ended", "--yes")
    assert result.exit_code == 0
    assert "its flow has its verdict: failed" in result.stderr
    assert asked(ledger) == ["replay", None]


def test_dead_letters_of_one_cause_are_one_group() -> None:
    [group] = told("dead-letters", "groups")["items"]
    assert (group["dead_letters"], group["flows"], group["reaction"]) == (2, 2, "van.deliver")
    assert group["group"].startswith("1-")
    assert group["group"] in said("dead-letters", "groups")
    short = group["group"][2:6]
    assert len(told("dead-letters", "list", "--group", short)["items"]) == 2
    assert told("dead-letters", "list", "--group", "0000")["items"] == []
    assert len(told("dead-letters", "replay", "--group", short, "--yes")["items"]) == 2


def test_a_dead_letter_is_edited_with_its_lineage(ledger: Path) -> None:
    first = letters()[0]
    dry = command("dead-letters", "edit", first, "--set", "letter_id=heavy", "--app", APP, "--dry-run")
    assert "nothing is different" in dry.stderr
    for typed, word in (
        (("--set", "letter_id=light"), "stays 'heavy'"),
        (("--set", "letter_id=5"), "letter_id"),
        (("{",), "nothing was written"),
        (("--set", "letter_id"), "write NAME=JSON"),
        ((), "what is to be changed?"),
    ):
        assert word in refused("dead-letters", "edit", first, *typed, "--app", APP, "--yes", code=2)
    assert [row[3] for row in dead_rows(ledger)] == [None, None]
    same = json.dumps({"letter_id": "heavy"})
    assert "edited" in said("dead-letters", "edit", first, same, "--app", APP, "--yes", "--as", "ann", "--note", "#7")
    assert dead_rows(ledger)[0][3] == b'{"letter_id":"heavy"}'
    shown = said("dead-letters", "show", first)
    assert "edited: by ann (#7): nothing is different" in shown
    assert "came as" in shown


def test_a_flow_that_has_its_verdict_refuses_a_replay(ledger: Path) -> None:
    with sqlite3.connect(ledger) as db:
        db.execute("UPDATE flow SET verdict = 'failed' WHERE key = 'heavy'")
    db.close()
    result = command("dead-letters", "replay", letters()[0], "--yes")
    assert result.exit_code == 1
    assert "letter/heavy has its verdict" in result.stdout
    assert asked(ledger) == [None, None]


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_nothing_is_changed_without_a_yes(verb: str, ledger: Path) -> None:
    first = letters()[0]
    assert "--yes" in refused("dead-letters", verb, first, code=2)
    result = command("dead-letters", verb, "--all", "--dry-run")
    assert result.exit_code == 0
    assert first in result.stderr
    assert "nothing was changed" in result.stderr
    assert "which ones?" in refused("dead-letters", verb, "--yes", code=2)
    assert asked(ledger) == [None, None]


def test_who_sits_at_a_terminal_is_asked(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.cli.asking.is_interactive", lambda: True)

    def answer(word: str) -> Result:
        return command("dead-letters", "replay", "--reaction", "van.deliver", "--limit", "1", input=f"{word}\n")

    assert answer("n").exit_code == 1
    assert asked(ledger) == [None, None]
    assert answer("y").exit_code == 0
    assert asked(ledger) == ["replay", None]


# services and the ledger itself


def test_services_are_shown_with_their_owner_lag_and_parked_work() -> None:
    services = {each["name"]: each for each in told("services", APP)["items"]}
    assert services["counter"]["owner"]["runs"]  # this process was the last owner, and it lives
    reactions = {each["path"]: each for service in services.values() for each in service["reactions"]}
    assert reactions["counter.stamp"]["lag"] == 1  # the letter that nobody has read
    assert reactions["van.deliver"]["parked"] == {"dead": 2}
    text = said("services", "--app", APP)
    assert "2 dead" in text
    assert "van.deliver" in said("services")


def test_the_status_of_a_ledger_counts_what_it_holds() -> None:
    held = told("ledger", "status")
    assert held["flows"] == {"running": 3, "stuck": 0, "succeeded": 1, "failed": 1}
    assert held["parked"]["dead"] == 2
    assert held["services"] == ["counter", "van"]
    assert "3 running, 1 succeeded, 1 failed" in said("ledger", "status")


def test_a_sound_ledger_verifies_and_a_broken_one_does_not(ledger: Path) -> None:
    assert said("ledger", "verify") == "sound: no fault was found\n"
    with sqlite3.connect(ledger) as db:
        db.execute("UPDATE reaction SET pos = 1000000")
    db.close()
    text = said("ledger", "verify", code=1)
    assert "van.deliver stands at 1000000" in text
    ledger.write_bytes(ledger.read_bytes()[:5000] + b"\xff" * 3000 + ledger.read_bytes()[8000:])
    assert told("ledger", "verify", code=1)["sound"] is False


def test_what_is_no_ledger_is_told(ledger: Path) -> None:
    (ledger.parent / "notes.txt").write_text("these are notes, and quite a lot of them\n" * 100)
    assert "not a database" in refused("flows", "list", "--ledger", "sqlite:///notes.txt", code=3)
    with sqlite3.connect(ledger.parent / "other.db") as db:
        db.execute("CREATE TABLE t (a)")
    db.close()
    foreign = "this file holds other tables: name a file of its own for the ledger"
    assert foreign in refused("flows", "list", "--ledger", "sqlite:///other.db", code=3)
    with sqlite3.connect(ledger.parent / "later.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "its layout is 99" in refused("flows", "list", "--ledger", "sqlite:///later.db", code=3)
    assert "lives inside its own worker" in refused("flows", "list", "--ledger", "sqlite:///:memory:", code=3)


def test_reading_changes_not_a_byte(ledger: Path) -> None:
    before = ledger.read_bytes()
    for typed in (
        ("flows", "list"),
        ("flows", "show", "heavy"),
        ("services", APP),
        ("ledger", "status"),
        ("dlq", "list"),
    ):
        said(*typed)
    assert ledger.read_bytes() == before
    db = sqlite3.connect(ledger)
    assert db.execute("SELECT max(token) FROM owner").fetchone() == (1,)  # and nobody owned a service for it
    db.close()


def test_a_copy_on_a_medium_that_nobody_writes_can_be_read(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def access(_: object, mode: int) -> bool:
        return mode != os.W_OK

    before = sorted(ledger.parent.iterdir())
    monkeypatch.setattr(os, "access", access)
    assert len(told("flows", "list")["items"]) == 5
    assert sorted(ledger.parent.iterdir()) == before


def test_a_reaction_that_is_gone_can_be_given_up(ledger: Path) -> None:
    assert "did you mean 'van.deliver'?" in refused("ledger", "retire", "van.delivr", code=4)
    result = command("ledger", "retire", "van.deliver", "--dry-run")
    assert "2 parked" in result.stderr
    said("ledger", "retire", "van.deliver", "--yes")
    assert letters() == []
    assert "retired: dead: the reaction is gone" in said("flows", "show", "heavy")


# publish and cancel


def publish(*typed: str, code: int = 0) -> Any:
    return told("publish", *typed, "--app", APP, code=code)["items"]


def test_an_event_is_published_from_text_a_file_and_a_pipe(ledger: Path) -> None:
    (ledger.parent / "letter.json").write_text('{"letter_id": "b"}')
    assert publish("LetterPosted", '{"letter_id": "a"}')[0]["flow"] == "letter/a"
    assert publish("LetterPosted", "@letter.json")[0]["flow"] == "letter/b"
    result = command("publish", "LetterPosted", "-", "--app", APP, input='[{"letter_id": "c"}, {"letter_id": "d"}]')
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["letter/c", "letter/d"]
    assert "2 events in one commit" in result.stderr
    assert [each["key"] for each in told("flows", "list", "--limit", "4")["items"]] == ["d", "c", "b", "a"]


def test_the_same_publish_twice_is_one() -> None:
    first = publish("LetterPosted", '{"letter_id": "a"}', "--idempotency-key", "k")[0]
    again = publish("LetterPosted", '{"letter_id": "a"}', "--idempotency-key", "k")[0]
    assert (first["new"], again["new"]) == (True, False)
    assert first["id"] == again["id"]
    other = ("publish", "LetterPosted", '{"letter_id": "z"}', "--idempotency-key", "k", "--app", APP)
    assert "was used for another event" in refused(*other, code=1)


@pytest.mark.parametrize(
    ("typed", "code", "word"),
    [
        (("LetterPosted",), 2, "'{\"letter_id\": str}'"),
        (("LetterPosted", "{"), 2, "is no LetterPosted"),
        (("LetterPosted", '{"leter_id": "1"}'), 2, "letter_id"),
        (("LetterPosted", '{"letter_id": 1}'), 2, "Expected `str`, got `int`"),
        (("LetterPosted", "@nothing.json"), 2, "nothing.json cannot be read"),
        (("LetterPosted", '{"letter_id": "good", "text": "again"}'), 1, "has ended"),
        (("LetterPosted", '{"letter_id": "heavy", "text": "again"}'), 1, "is open"),
        (("Receipt", '{"letter_id": "never"}'), 4, "there is no such flow"),
        (("FlowCancelled[LetterPosted]", "{}"), 2, "knows no event"),
    ],
)
def test_what_cannot_be_published_is_told(typed: tuple[str, ...], code: int, word: str) -> None:
    assert word in refused("publish", *typed, "--app", APP, code=code)


def test_an_event_of_a_running_flow_joins_it() -> None:
    assert publish("Receipt", '{"letter_id": "heavy"}')[0]["flow"] == "letter/heavy"
    assert told("flows", "show", "heavy")["events"][-1]["type"] == "Receipt"


def test_waiting_without_a_worker_says_so() -> None:
    result = command("publish", "LetterPosted", '{"letter_id": "w"}', "--wait", "50ms", "--app", APP)
    assert result.exit_code == 1
    assert "no verdict within 50 ms" in result.stderr
    fresh = command(
        "publish", "LetterPosted", '{"letter_id": "w"}', "--wait", "50ms", "--app", APP, "--ledger", "sqlite:///new.db"
    )
    assert "new.db is new" in fresh.stderr
    assert "no worker has run on this ledger yet" in fresh.stderr


def test_a_cancelled_flow_has_the_event_and_one_with_a_verdict_refuses() -> None:
    result = command("flows", "cancel", "unread", "good", "--reason", "moved", "--yes", "--app", APP)
    assert result.exit_code == 5
    assert "letter/unread: cancelled" in result.stdout
    assert "letter/good: no, it has its verdict already" in result.stdout
    last = told("flows", "show", "unread")["events"][-1]
    assert last["type"] == "callboard.FlowCancelled[LetterPosted]"
    assert last["data"]["reason"] == "moved"


def test_nothing_is_cancelled_where_nobody_would_hear_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Choreography("deaf", *(post.services[name] for name in ("van",)), flows=[post.flows["letter"]])
    deaf.events.pop("callboard.FlowCancelled[LetterPosted]", None)

    def find_app(_: str | None) -> Choreography:
        return deaf

    monkeypatch.setattr("callboard.cli.flows.find_app", find_app)
    assert "no reaction hears FlowCancelled[LetterPosted]" in refused("flows", "cancel", "unread", "--yes", code=1)


# what is forgotten, and what is kept beside


def test_old_flows_go_and_what_holds_others_back_is_told() -> None:
    before = told("ledger", "status", "--app", APP)["retention"]
    assert (before["may_go"], before["held_back"], before["pruned_to"]) == (0, [], None)
    looked = command("ledger", "prune", APP, "--keep", "1ms", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "prune 2 flows\n" in looked.stderr
    assert "held back: 3 flows: letter is running" in looked.stderr
    assert "held back: 2 flows: van.deliver, a dead letter" in looked.stderr
    assert len(told("flows", "list")["items"]) == 5
    assert "prune 0 flows\n" in command("ledger", "prune", APP, "--keep", "forever", "--dry-run").stderr
    assert refused("ledger", "prune", APP, "--keep", "1ms", code=2)
    assert re.search(r"2 flows with \d+ events gone", said("ledger", "prune", APP, "--keep", "1ms", "-y"))
    assert {each["key"] for each in told("flows", "list")["items"]} == {"heavy", "heavy/2", "unread"}
    assert told("ledger", "status", "--app", APP)["retention"]["pruned_to"] is not None
    assert "no such flow" in refused("flows", "show", "letter/good", code=4)
    assert told("ledger", "verify")["sound"]


def test_a_worker_that_prunes_too_little_is_told_by_its_reactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "DEFAULT_KEEP", timedelta(microseconds=1))
    (van,) = [each for each in told("services", APP)["items"] if each["name"] == "van"]
    assert {each["path"]: each["holds_back"] for each in van["reactions"]}["van.deliver"] == 2
    assert re.search(r"van\.deliver +0 +0 +2 +2 dead", said("services", APP))


def test_a_backup_is_a_ledger_of_its_own_and_replaces_nothing(ledger: Path) -> None:
    assert "copy.db: 0." in said("ledger", "backup", "copy.db")
    assert said("ledger", "verify", "--ledger", "sqlite:///copy.db").startswith("sound")
    assert told("flows", "list", "--ledger", "sqlite:///copy.db")["items"] == told("flows", "list")["items"]
    assert "is there already" in refused("ledger", "backup", "copy.db", code=3)
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("UPDATE ledger SET head = 1")
    assert "the copy is not sound, and was not kept" in refused("ledger", "backup", "other.db", code=3)
    assert sorted(file.name for file in Path().glob("*.db*") if "." in file.name and "other" in file.name) == []


def test_a_ledger_of_an_older_layout_is_named_with_its_way_out_and_migrated(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db, db:
        for index in ("supplied_pos", "supplied_gone"):
            db.execute(f"DROP INDEX {index}")
        for table, column in (("ledger", "pruned_to"), ("ledger", "prunes"), ("supplied", "gone"),
                              ("reaction", "hears"), ("reaction", "first"),
                              ("reaction", "paused"), ("reaction", "by")):  # fmt: skip
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("DROP TABLE hearer")
        db.execute("UPDATE parked SET asked = 'replay' WHERE why = 'dead'")
        db.execute("PRAGMA user_version = 1")
    assert "its layout is 1" in refused("flows", "list", code=3)
    assert "callboard ledger migrate" in refused("ledger", "status", code=3)
    assert "has the layout" in said("ledger", "migrate")
    assert len(told("flows", "list")["items"]) == 5
    assert told("ledger", "verify")["sound"]
    assert {each["asked"] for each in told("dead-letters", "list")["items"]} == {"replay"}
    assert "no such file" in refused("ledger", "migrate", "--ledger", "sqlite:///nowhere.db", code=3)
    assert not Path("nowhere.db").exists()


@pytest.mark.parametrize(("broken", "text"), [
    ("UPDATE parked SET reaction = 'van.gone'", "van.gone has 2 parked deliveries, and is no reaction"),
    ("INSERT INTO supplied (id, pos, digest) VALUES ('k', 999999, x'01')", "'k' stands for 999999, behind the head"),
    ("UPDATE flow SET ended = NULL WHERE key = 'good'", "letter/good has a verdict (succeeded) without a time"),
    ("DELETE FROM log WHERE flow = (SELECT number FROM flow WHERE key = 'unread')", "letter/unread has no event"),
    ("DELETE FROM name WHERE name = 'LetterPosted'", "which has no name"),
    ("UPDATE reaction SET pos = 999999 WHERE reaction = 'van.deliver'", "van.deliver stands at 999999, behind"),
])  # fmt: skip
def test_what_contradicts_itself_is_found(ledger: Path, broken: str, text: str) -> None:
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute(broken)
    assert text in said("ledger", "verify", code=1)


def test_a_reaction_that_the_ledger_has_never_seen_is_told() -> None:
    for what in (("list",), ("replay", "--yes"), ("discard", "--yes")):
        assert "did you mean 'van.deliver'?" in refused("dlq", *what, "--reaction", "van.delivr", code=4)
    assert "none fits" in command("dlq", "replay", "--reaction", "counter", "--yes").stderr


def test_who_did_what_is_on_record_and_stays_when_flows_are_forgotten() -> None:
    letter = told("dlq", "list")["items"][0]["id"]
    said("dlq", "replay", letter, "--as", "ann", "--note", "the van is back", "--yes")
    said("flows", "cancel", "unread", "--app", APP, "--as", "bob", "--note", "a mistake", "--yes")
    said("ledger", "prune", APP, "--keep", "0s", "--as", "cid", "--yes")
    said("ledger", "migrate")
    acts = [
        (each["by"], each["what"], each["about"].partition(" (")[0], each["note"])
        for each in told("ledger", "audit")["items"]
    ]
    assert acts[:3] == [
        ("ann", "replay", letter, "the van is back"),
        ("bob", "cancel", "letter/unread", "a mistake"),
        ("cid", "prune", "post", ""),
    ]
    assert acts[3][1] == "migrate"
    assert "the van is back" in said("ledger", "audit", "--since", "1h")
    assert "nothing was done by an operator" in command("ledger", "audit", "--since", "0s").stderr


def test_an_owner_that_lives_and_does_nothing_is_named(ledger: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner, closing(sqlite3.connect(ledger)) as db:
        with db:
            db.execute("UPDATE owner SET process = ?", (f"pid {owner.pid}",))
            db.execute("UPDATE log SET time = time - 90000000")
        idle = command("services", "--app", APP).stderr
        assert f"counter: pid {owner.pid} lives, and has not come to an event of " in idle
        assert f"`kill -9 {owner.pid}` lets a standby take over" in idle
        assert "was stopped" not in said("services", "--app", APP)
        owner.send_signal(signal.SIGSTOP)
        os.waitpid(owner.pid, os.WUNTRACED)
        assert f"pid {owner.pid}, which was stopped" in said("services", "--app", APP)
        owner.kill()
