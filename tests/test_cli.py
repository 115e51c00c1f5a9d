"""The command line as a whole: help, exit codes, streams, colours, and what it costs to start."""

import json
import re
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from callboard.cli.command import EXIT_CODES
from callboard.cli.front import cli
from callboard.cli.output import masked, shown_duration
from callboard.errors import ContractError, LedgerBusy, NoSuchFlow
from tests.postoffice import FILE, command, environment, shell

APP = f"{FILE}:post"
PAGE = Path(__file__).parent.parent / "docs" / "command-line.md"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("APP", "LEDGER", "PORTS", "SERVICES", "GRACE", "DEBUG", "COLOR", "LEDGER_FILE"):
        monkeypatch.delenv(f"CALLBOARD_{name}", raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def every(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            found = group.get_command(ctx, name)
            assert found is not None, name
            yield (*path, name), found
            if isinstance(found, click.Group):
                yield from every(found, (*path, name))


COMMANDS = {" ".join(path): each for path, each in every()}


def test_without_a_command_there_is_the_help() -> None:
    assert command().exit_code == 0
    assert command().stdout == command("--help").stdout
    assert command("flows").stdout.startswith("Usage: callboard flows")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_says_what_the_exit_codes_mean(name: str) -> None:
    result = command(*name.split(), "--help")
    assert result.exit_code == 0
    for line in EXIT_CODES.splitlines()[1:]:
        assert line.strip() in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_can_be_set_by_the_environment_and_its_help_says_so(name: str) -> None:
    said = re.sub(r"\s+", " ", command(*name.split(), "--help").stdout)
    for each in COMMANDS[name].params:
        if isinstance(each, click.Option) and each.name != "help":
            assert isinstance(each.envvar, str)
            assert each.envvar.startswith("CALLBOARD_")
            assert f"env var: {each.envvar}" in said, each.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_tells_of_every_command_and_every_option(name: str) -> None:
    page = PAGE.read_text("utf-8")
    assert f"callboard {name}" in page
    for each in COMMANDS[name].params:
        if isinstance(each, click.Option):
            assert any(option in page for option in each.opts), each.opts


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (("grph",), "did you mean 'graph'?"),
        (("flows", "lst"), "did you mean 'list'?"),
        (("dlq", "relay"), "did you mean 'replay'?"),
        (("graph", "--outptu", "dot"), "Did you mean '--output'?"),
        (("publish", "LeterPosted", "{}", "--app", APP), "did you mean 'LetterPosted'?"),
        (("publish", "letterposted", "{}", "--app", APP), "did you mean 'LetterPosted'?"),
        (("run", APP, "--ledger", "sqlite:///x.db", "--services", "conter"), "did you mean 'counter'?"),
    ],
    ids=" ".join,
)
def test_a_misspelt_word_is_told_with_the_one_that_was_meant(typed: tuple[str, ...], hint: str) -> None:
    result = command(*typed)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert hint in result.stderr
    assert result.stdout == ""


def test_an_alias_is_the_command_itself() -> None:
    assert (
        command("dlq", "list", "--help").stdout.splitlines()[2:]
        == command("dead-letters", "list", "--help").stdout.splitlines()[2:]
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ContractError("shop.py:3", "say what it emits"), 2),
        (LedgerBusy("sqlite:///shop.db: taken"), 3),
        (NoSuchFlow("checkout 'x': there is none"), 4),
        (ZeroDivisionError("division by zero"), 1),
    ],
    ids=str,
)
def test_each_error_has_its_exit_code_and_its_traceback_only_under_debug(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> None:
        raise error

    monkeypatch.setattr("callboard.cli.graph.find_app", raises)
    result = command("graph")
    assert result.exit_code == code
    assert str(error) in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in command("graph", "--debug").stderr
    assert "Traceback" in command("--debug", "graph").stderr
    assert "Traceback" in command("graph", env={"CALLBOARD_DEBUG": "1"}).stderr


def test_who_interrupts_gets_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("callboard.cli.graph.find_app", interrupted)
    assert command("graph").exit_code == 130


@pytest.mark.parametrize(
    "typed",
    [
        ("graph",),
        ("graph", "-f", "mermaid"),
        ("contract", "export"),
        ("explain", "LetterPosted"),
        ("explain", "van.deliver"),
        ("config", "--origins"),
    ],
    ids=" ".join,
)
def test_what_only_needs_the_app_opens_no_connection(typed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    result = command(*typed, "--app", APP, env={"CALLBOARD_LEDGER": "sqlite:///nowhere.db"})
    assert result.exit_code == 0, result.stderr
    assert not Path("nowhere.db").exists()


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (("flows", "list"), 3),
        (("flows", "show", "letter/1"), 3),
        (("flows", "tail"), 3),
        (("flows", "wait", "letter/1"), 3),
        (("flows", "cancel", "letter/1", "--yes", "--app", APP), 3),
        (("dead-letters", "list"), 3),
        (("dead-letters", "show", "a.b@1"), 3),
        (("dead-letters", "replay", "--all", "--yes"), 3),
        (("dead-letters", "discard", "--all", "--yes"), 3),
        (("services",), 3),
        (("ledger", "status"), 3),
        (("ledger", "verify"), 3),
        (("ledger", "retire", "a.b", "--yes"), 3),
        (("explain", "letter/1"), 3),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value),
)
def test_reading_creates_no_ledger(typed: tuple[str, ...], code: int) -> None:
    result = command(*typed, env={"CALLBOARD_LEDGER": "sqlite:///typo.db"})
    assert result.exit_code == code, result.stderr
    assert "there is no such file" in result.stderr
    assert "callboard run" in result.stderr
    assert list(Path().iterdir()) == []


def test_no_ledger_named_is_a_question_with_three_answers() -> None:
    result = command("flows", "list")
    assert result.exit_code == 2
    for way in ("--ledger", "CALLBOARD_LEDGER", "[tool.callboard]"):
        assert way in result.stderr


def test_passwords_are_never_printed() -> None:
    url = "postgres://shop:hun/ter@2@db.example/shop?sslpassword=x&password=swordfish"
    assert "hun" not in masked(url)
    assert "swordfish" not in masked(url)
    for typed in (
        ("flows", "list", "--ledger", url),
        ("config", "--ledger", url),
        ("config", "--json", "--ledger", url),
    ):
        result = command(*typed)
        assert "hun" not in result.output
        assert "swordfish" not in result.output
        assert "shop:***@" in result.output


@pytest.mark.parametrize(
    ("typed", "env", "is_colored"),
    [
        ((), {}, False),
        (("--color",), {}, True),
        ((), {"CALLBOARD_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ((), {"FORCE_COLOR": "1", "TERM": "dumb"}, False),
        (("--no-color",), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_those_who_want_it(typed: tuple[str, ...], env: dict[str, str], *, is_colored: bool) -> None:
    result = command(*typed, "config", "--origins", env=env, color=True)
    assert result.exit_code == 0
    assert ("\x1b[" in result.stdout) is is_colored


def test_help_imports_neither_the_runtime_nor_rich() -> None:
    looked_for = ["rich", "sqlite3", "callboard.run", "callboard.hops", "callboard.ledgers", "tomllib"]
    code = (
        "import sys; sys.argv = ['callboard', '--help']\n"
        "from callboard.cli import main\n"
        "try: main()\n"
        f"finally: print([name for name in {looked_for} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert result.stderr.strip() == "[]"


def test_help_is_there_at_once() -> None:
    def cost() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "callboard", "--help"], capture_output=True, env=environment(), check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cost() for _ in range(5)) < 0.25  # of the processor: what others do on this machine does not count


def test_python_dash_m_is_the_same_door(tmp_path: Path) -> None:
    result = shell("--version", folder=tmp_path)
    assert result.returncode == 0
    assert re.fullmatch(r"callboard \d+\.\d+\S*\n", result.stdout)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    line = f"{sys.executable} -m callboard graph {APP} -f json | head -1"
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment(), check=True
    )
    assert result.stdout == "{\n"
    assert result.stderr == ""


def test_a_terminal_without_unicode_gets_ascii(tmp_path: Path) -> None:
    result = shell("graph", APP, folder=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "|- LetterPosted --> counter.stamp" in result.stdout


def test_without_click_the_fix_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import callboard.cli

    def find_spec(_: str) -> None: ...

    monkeypatch.setattr(callboard.cli, "find_spec", find_spec)
    with pytest.raises(SystemExit) as ended:
        callboard.cli.main()
    assert ended.value.code == 2
    assert "pip install 'callboard[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("micros", "said"),
    [
        (0, "0 ms"),
        (1_500, "2 ms"),
        (1_500_000, "1.5 s"),
        (59_990_000, "60 s"),
        (60_000_000, "1 min"),
        (3_725_000_000, "1 h 2 min"),
        (90_000_000_000, "1 d 1 h"),
        (-61_000_000, "-1 min 1 s"),
    ],
)
def test_durations_are_told_as_people_tell_them(micros: int, said: str) -> None:
    assert shown_duration(micros) == said


@pytest.mark.parametrize(
    ("typed", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7", 7), ("1d", 86400)]
)
def test_durations_are_read_as_people_write_them(typed: str, seconds: float) -> None:
    from callboard.cli.settings import Duration

    assert Duration().convert(typed, None, None).total_seconds() == seconds


@pytest.mark.parametrize("typed", ["", "s", "5 parsecs", "1e400", "ten"])
def test_what_is_no_duration_is_refused(typed: str) -> None:
    result = command("flows", "wait", "x", "--timeout", typed)
    assert result.exit_code == 2
    assert "write 500ms, 30s, 2m, 1h or 7d" in result.stderr


def test_the_settings_and_where_they_come_from(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.callboard]\napp = "{APP}"\nledger = "sqlite:///post.db"\nservices = ["counter", "van"]\nledgr = 1\n'
    )
    result = shell("config", "--json", folder=folder, CALLBOARD_GRACE="5s")
    found = json.loads(result.stdout)
    assert found["schema"] == "callboard.config/v1"
    assert {each["name"]: each["value"] for each in found["items"]} == {
        "app": APP,
        "ledger": "sqlite:///post.db",
        "broker": None,
        "ports": None,
        "services": "counter,van",
        "grace": "5s",
        "keep": "30d",
    }
    origins = {each["name"]: each["origin"] for each in found["items"]}
    assert origins["app"].endswith("pyproject.toml, [tool.callboard] app")
    assert origins["grace"] == "CALLBOARD_GRACE in the environment"
    assert origins["ports"] == "not set"
    assert "has no 'ledgr': did you mean 'ledger'?" in result.stderr


def test_an_argument_comes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.callboard]\nledger = "sqlite:///file.db"\n')

    def ledger(*typed: str, **env: str) -> object:
        items = json.loads(shell("config", "--json", *typed, folder=tmp_path, **env).stdout)["items"]
        return next(each["value"] for each in items if each["name"] == "ledger")

    assert ledger() == "sqlite:///file.db"
    assert ledger(CALLBOARD_LEDGER="sqlite:///env.db") == "sqlite:///env.db"
    assert ledger("--ledger", "sqlite:///flag.db", CALLBOARD_LEDGER="sqlite:///env.db") == "sqlite:///flag.db"


def test_a_ledger_url_may_lie_in_a_file_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///secret.db\n")
    result = shell("config", "--origins", folder=tmp_path, CALLBOARD_LEDGER_FILE="url")
    assert "sqlite:///secret.db" in result.stdout
    assert "CALLBOARD_LEDGER_FILE" in result.stdout
