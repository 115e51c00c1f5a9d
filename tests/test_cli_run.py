"""Real workers in processes of their own, and the commands beside them, on one SQLite file."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from callboard import run
from callboard.cli import publish
from callboard.errors import LedgerError
from callboard.hops import react
from tests.postoffice import FILE, command, environment, shell, worker

LEDGER = {"CALLBOARD_LEDGER": "sqlite:///post.db", "CALLBOARD_APP": f"{FILE}:post"}
Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`callboard` beside the workers; in this process, which spares it the start."""
    monkeypatch.chdir(tmp_path)
    for name, value in LEDGER.items():
        monkeypatch.setenv(name, value)
    return command


def ended(running: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    running.send_signal(number)
    said = running.communicate(timeout=30)[1]
    return running.returncode, said


def letter(name: str, text: str = "hello") -> str:
    return json.dumps({"letter_id": name, "text": text})


def test_a_worker_does_what_is_published_and_ends_in_order_on_sigterm(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path) as running:
        result = cli("publish", "LetterPosted", letter("1"), "--wait", "20s")
        assert result.exit_code == 0, result.stderr
        assert "succeeded" in result.stdout
        services = json.loads(cli("services", "--json").stdout)["items"]
        assert [each["owner"]["runs"] for each in services] == [True, True]
        code, said = ended(running, signal.SIGTERM)
    assert code == 0
    assert said.endswith("stopped\n")
    services = json.loads(cli("services", "--json").stdout)["items"]
    assert [each["owner"]["runs"] for each in services] == [False, False]


def test_a_publish_that_nothing_lets_commit_gives_up_and_complains_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(*_: object) -> None:
        raise LedgerError("disk is full: free some space")

    monkeypatch.setattr(publish, "_LONGEST", 0.3)
    monkeypatch.setattr(run, "_AFTER_ERROR", 0.01)
    monkeypatch.setattr(react, "settle", full)
    result = cli("publish", "LetterPosted", letter("1"))
    assert result.exit_code == 3
    assert "try again with an --idempotency-key" in result.stderr
    complaints = [each.getMessage() for each in caplog.records if "nothing can be committed" in each.getMessage()]
    assert len(complaints) == 1
    assert complaints[0].endswith("disk is full: free some space")


def test_a_worker_that_is_interrupted_ends_in_order_too_and_says_130(tmp_path: Path) -> None:
    with worker(tmp_path, "--ports", f"{FILE}:later_keepers") as running:
        code, said = ended(running, signal.SIGINT)
    assert code == 130
    assert said.endswith("stopped\n")


def test_what_runs_when_a_worker_is_stopped_is_finished(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path) as running:
        cli("publish", "LetterPosted", letter("1", "far"))
        seen(tmp_path, "LetterStamped")
        code, _ = ended(running, signal.SIGTERM)
    assert code == 0
    shown = cli("flows", "show", "1").stdout
    assert "van.deliver → #3 LetterDelivered" in shown
    assert "attempt" not in shown


def test_what_takes_longer_than_grace_is_done_by_the_next_worker(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path, "--grace", "10ms") as running:
        cli("publish", "LetterPosted", letter("1", "far"))
        seen(tmp_path, "LetterStamped")
        code, _ = ended(running, signal.SIGTERM)
    assert code == 0
    with worker(tmp_path):
        assert cli("flows", "wait", "1", "--timeout", "20s").exit_code == 0


def test_a_second_signal_ends_a_worker_at_once_and_the_next_one_goes_on(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "traffic-jam").touch()
    with worker(tmp_path, "--grace", "1h") as running:
        cli("publish", "LetterPosted", letter("1", "stuck"))
        seen(tmp_path, "LetterStamped")
        running.send_signal(signal.SIGTERM)
        assert running.stderr is not None
        while "a second signal does not wait" not in running.stderr.readline():
            assert running.poll() is None
        code, _ = ended(running, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    (tmp_path / "traffic-jam").unlink()
    with worker(tmp_path):
        assert cli("flows", "wait", "1", "--timeout", "20s").exit_code == 0


def test_a_standby_takes_over_from_a_worker_that_is_stopped(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path) as first, worker(tmp_path) as second:
        assert second.stderr is not None
        assert "standing by for counter, van" in second.stderr.readline()
        assert ended(first, signal.SIGTERM)[0] == 0
        taken = "".join(second.stderr.readline() for _ in range(2))  # which comes first is chance
        assert all(f"took over {service}" in taken for service in ("counter", "van"))
        assert cli("publish", "LetterPosted", letter("1"), "--wait", "20s").exit_code == 0


def seen(folder: Path, *types: str) -> list[dict[str, Any]]:
    """Follows the log until these were in it."""
    line = [sys.executable, "-m", "callboard", "flows", "tail", "--json", "--for", "20s"]
    missing, found = set(types), list[dict[str, Any]]()
    with subprocess.Popen(
        line, cwd=folder, env={**environment(), **LEDGER}, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        for text in following.stdout:
            found.append(json.loads(text))
            missing.discard(found[-1]["type"])
            if not missing:
                break
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    assert not missing
    return found


def test_a_second_worker_stands_by_and_takes_over_from_one_that_was_killed(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path) as first, worker(tmp_path) as second:
        assert second.stderr is not None
        assert "standing by for counter, van" in second.stderr.readline()
        first.kill()
        said = ""
        while "took over van" not in said:
            line = second.stderr.readline()
            assert line, said
            said += line
        warnings = [json.loads(each) for each in said.splitlines() if each.startswith("{")]
        assert {each["level"] for each in warnings} == {"WARNING"}
        assert any("not stopped cleanly" in each["text"] for each in warnings)
        assert cli("publish", "LetterPosted", letter("1"), "--wait", "20s").exit_code == 0


def test_services_can_be_spread_over_workers(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path, "--services", "counter"):
        late = cli("publish", "LetterPosted", letter("1"), "--wait", "300ms")
        assert late.exit_code == 1
        shown = cli("flows", "show", "1").stdout
        assert "van.deliver: has not come to it yet" in shown
        with worker(tmp_path, "--services", "van"):
            assert cli("flows", "wait", "1", "--timeout", "20s").exit_code == 0


def test_a_dead_letter_is_replayed_by_the_worker_under_way(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "flat-tyre").touch()
    with worker(tmp_path):
        cli("publish", "LetterPosted", letter("1", "heavy"))
        seen(tmp_path, "callboard.ReactionFailed[LetterStamped]")
        again = cli("dead-letters", "replay", "--flow", "letter/1", "--yes", "--wait", "20s")
        assert again.exit_code == 1
        assert ": no, failed again; asked by " in again.stdout
        (tmp_path / "flat-tyre").unlink()
        done = cli("dlq", "replay", "--all", "--yes", "--wait", "20s")
        assert done.exit_code == 0
        assert ": done, emitted LetterDelivered; asked by " in done.stdout
        assert cli("flows", "wait", "1", "--timeout", "20s").exit_code == 0
    shown = cli("flows", "show", "1").stdout
    assert shown.index("attempt 2") < shown.index("LetterDelivered")


def test_a_dead_letter_is_discarded_by_the_worker_under_way(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "flat-tyre").touch()
    with worker(tmp_path):
        cli("publish", "LetterPosted", letter("1", "heavy"))
        seen(tmp_path, "callboard.ReactionFailed[LetterStamped]")
        found = json.loads(cli("dlq", "list", "--json").stdout)["items"][0]["id"]
        assert cli("dlq", "discard", found, "--yes").exit_code == 0
        cancelled = cli("flows", "cancel", "1", "--yes")
        assert cancelled.exit_code == 0, cancelled.stderr
        assert cli("flows", "wait", "1", "--timeout", "20s").exit_code == 1
    shown = cli("flows", "show", "1").stdout
    assert "skipped: discarded by " in shown
    assert "FlowCancelled[LetterPosted]" in shown
    assert "verdict: failed" in shown
    assert json.loads(cli("dlq", "list", "--json").stdout)["items"] == []


def test_everything_can_be_looked_at_while_a_worker_is_busy(cli: Cli, tmp_path: Path) -> None:
    letters = [{"letter_id": str(number)} for number in range(500)]
    with worker(tmp_path):
        assert cli("publish", "LetterPosted", json.dumps(letters)).exit_code == 0
        for typed in (
            ("flows", "list"),
            ("flows", "show", "1"),
            ("services",),
            ("dlq", "list"),
            ("ledger", "status"),
            ("ledger", "verify"),
            ("flows", "tail", "--for", "100ms"),
        ):
            result = cli(*typed)
            assert result.exit_code == 0, result.stderr
        assert cli("flows", "wait", "499", "--timeout", "30s").exit_code == 0
        assert json.loads(cli("ledger", "status", "--json").stdout)["flows"]["succeeded"] == 500


def test_a_reaction_of_a_service_that_runs_is_not_given_up(cli: Cli, tmp_path: Path) -> None:
    with worker(tmp_path):
        result = cli("ledger", "retire", "van.deliver", "--yes")
        assert result.exit_code == 1
        assert "van is owned by pid" in result.stdout


def test_the_demo_ends_with_three_zeros(tmp_path: Path) -> None:
    result = shell("demo", "--for", "1s", "--json", "--keep", "demo.db", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["counters"] == {"charged twice": 0, "lost orders": 0, "stock or money not given back": 0}
    assert found["figures"]["orders"] > 50
    assert found["figures"]["duplicates suppressed"] > 0
    assert found["figures"]["answers that the bank lost"] > 0
    held = json.loads(shell("ledger", "status", "--json", "--ledger", "sqlite:///demo.db", folder=tmp_path).stdout)
    assert held["flows"]["succeeded"] == found["figures"]["succeeded"]
    assert shell("demo", "--keep", "demo.db", folder=tmp_path).returncode == 2
