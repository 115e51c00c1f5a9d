"""`callboard config`."""

import click

from callboard.cli.command import Command, option
from callboard.cli.output import masked, note, say_json, table
from callboard.cli.run import run_options
from callboard.cli.settings import (
    DEFAULTS,
    NAMES,
    Setting,
    app_options,
    find_project,
    json_option,
    ledger_option,
    setting,
)


@click.command(cls=Command, name="config")
@app_options
@ledger_option
@run_options
@option("--origins", is_flag=True, help="Say where each value comes from.")
@json_option
def command(app_argument: str | None, *, origins: bool, as_json: bool, **given: str | None) -> None:
    """Show the settings that a command would use here. Opens no connection.

    An argument comes before the environment, the environment before [tool.callboard] of pyproject.toml.
    """
    from pathlib import Path

    found = {name: setting(name, given[name], DEFAULTS.get(name)) for name in NAMES}
    if app_argument is not None:
        found["app"] = Setting(app_argument, "the command line", Path.cwd())
    project = find_project(Path.cwd())
    for stranger in project.strangers:
        note(f"{project.file}: [tool.callboard] has no {stranger}")
    if as_json:
        items = [{"name": n, "value": _shown(each.value), "origin": each.origin} for n, each in found.items()]
        say_json("config", {"pyproject": None if project.file is None else str(project.file), "items": items})
        return
    if origins:
        table(("SETTING", "VALUE", "FROM"), [(n, _shown(each.value) or "", each.origin) for n, each in found.items()])
    else:
        table(("SETTING", "VALUE"), [(n, _shown(each.value) or "") for n, each in found.items()])


def _shown(value: str | None) -> str | None:
    return None if value is None else masked(value)
