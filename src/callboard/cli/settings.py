"""Settings: an argument, else the environment, else [tool.callboard] of pyproject.toml, else the default."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import click

from callboard.cli.command import Refusal, all_of, meant, option
from callboard.clock import FOREVER

NAMES = ("app", "ledger", "broker", "ports", "services", "grace", "keep")
DEFAULTS = {"grace": "30s", "keep": "30d"}


@dataclass(frozen=True)
class Setting:
    """The value of a setting, and where it comes from."""

    value: str | None
    origin: str
    folder: Path  # what a relative path in it is relative to


@dataclass(frozen=True)
class Project:
    """The nearest pyproject.toml that has a [tool.callboard], here or above."""

    file: Path | None
    table: dict[str, Any]

    @property
    def strangers(self) -> list[str]:
        """Names in it that mean nothing."""
        return [f"{name!r}{meant(name, NAMES)}" for name in self.table if name not in NAMES]


def find_project(start: Path) -> Project:
    """The project that `start` is in."""
    import tomllib

    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                found = tomllib.loads(file.read_text("utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
                raise Refusal(2, f"{file} cannot be read: {error}") from error
            table = found.get("tool", {}).get("callboard")
            if table is not None:
                return Project(file, table)
    return Project(None, {})


def setting(name: str, given: str | None, default: str | None = None) -> Setting:
    """The setting `name`; `given` is what click found on the command line or in the environment."""
    here = Path.cwd()
    if given is not None:
        return Setting(given, _origin(name), here)
    if name == "ledger" and (file := os.environ.get("CALLBOARD_LEDGER_FILE")):
        return Setting(_from_file(file), f"the file in CALLBOARD_LEDGER_FILE ({file})", here)
    project = find_project(here)
    if project.file is not None and name in project.table:
        return Setting(_text(project, name), f"{project.file}, [tool.callboard] {name}", project.file.parent)
    return Setting(default, "default" if default is not None else "not set", here)


def _origin(name: str) -> str:
    ctx = click.get_current_context()
    source = ctx.get_parameter_source(name)
    in_environment = source is not None and source.name == "ENVIRONMENT"
    return f"CALLBOARD_{name.upper()} in the environment" if in_environment else "the command line"


def _from_file(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise Refusal(2, f"CALLBOARD_LEDGER_FILE names {file}, which cannot be read: {error.strerror}") from error


def _text(project: Project, name: str) -> str:
    value = project.table[name]
    if isinstance(value, list):
        return ",".join(map(str, cast("list[object]", value)))
    if isinstance(value, str):
        return value
    raise Refusal(2, f"{project.file}: [tool.callboard] {name} is a text, not {value!r}")


def ledger_url(given: str | None) -> str:
    """The ledger that is meant; a relative path in pyproject.toml is relative to that file."""
    found = setting("ledger", given)
    if not found.value:
        raise Refusal(
            2,
            "which ledger? Name it with --ledger sqlite:///shop.db, with CALLBOARD_LEDGER, or with `ledger` in "
            "[tool.callboard] of pyproject.toml",
        )
    return _placed(found.value, found.folder)


def broker_url(given: str | None) -> str | None:
    """The broker that is meant, if one is; a relative path in pyproject.toml is relative to that file."""
    found = setting("broker", given)
    return _placed(found.value, found.folder) if found.value else None


def _placed(url: str, folder: Path) -> str:
    path = url.removeprefix("sqlite:///")
    is_relative = url.startswith("sqlite:///") and path != ":memory:" and not path.startswith("/")
    return f"sqlite:///{folder / path}" if is_relative and folder != Path.cwd() else url


def services_named(given: str | None, known: list[str]) -> list[str] | None:
    """The services in `a,b`; None for all. Exit 2 for one that there is not."""
    value = setting("services", given).value
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise Refusal(2, f"there is no service {name!r}{meant(name, known)}")
    return names


app_option = option("--app", metavar="APP", help="The choreography: module:attr or path/to/file.py:attr.")
# for a command that needs an app and nothing else by position
app_options = all_of(click.argument("app_argument", metavar="[APP]", required=False), app_option)
ledger_option = option("--ledger", metavar="URL", help="The ledger, as in sqlite:///shop.db.")
broker_option = option("--broker", metavar="URL", help="What carries events to services with ledgers of their own.")
json_option = option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
keep_option = option(
    "--keep", metavar="DURATION", help="How long a flow is kept once it is over: 30d, 12h, forever.  [default: 30d]"
)


class Duration(click.ParamType):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument] - older clicks
    """`500ms`, `30s`, `2m`, `1h`, `7d`, or a number of seconds."""

    name = "duration"
    units = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The timedelta that was meant."""
        if isinstance(value, timedelta):
            return value
        number = str(value).strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = str(value).strip()[len(number) :].strip() or "s"
        try:
            return timedelta(seconds=float(number) * self.units[unit])
        except (ValueError, KeyError, OverflowError):
            self.fail(f"{value!r} is no duration: write 500ms, 30s, 2m, 1h or 7d", param, ctx)


def given_bytes(data: str) -> bytes:
    """What was typed, what stands in `@file`, or what comes in by `-`."""
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise Refusal(2, f"{data[1:]} cannot be read: {error.strerror}") from error
    return data.encode()


def duration(name: str, given: str | None) -> timedelta:
    """The duration that this setting names; `forever` is one too."""
    value = setting(name, given, DEFAULTS[name]).value or ""
    if value.strip() == "forever":
        return FOREVER
    found: timedelta = Duration().convert(value, None, click.get_current_context())
    return found


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
