"""`callboard check`."""

import click

from callboard.check import Finding
from callboard.cli.command import Command
from callboard.cli.discovery import find_app
from callboard.cli.output import say, say_json
from callboard.cli.settings import app_options, json_option


@click.command(cls=Command, name="check")
@app_options
@json_option
def command(app_argument: str | None, app: str | None, *, as_json: bool) -> int:
    """Say what can go wrong with the choreography of APP, and how. Opens no connection."""
    from callboard.checks.catalogue import check

    report = check(find_app(app, app_argument))
    if as_json:
        say_json("check", {"findings": [_as_json(each) for each in report.findings]})
    for finding in () if as_json else report.findings:
        say(f"{finding.code} {finding.title}", "failure" if finding.severity == "error" else "wait")
        say(f"  {finding.place} {finding.place.name}", "quiet")
        say(f"  fix: {finding.fix}")
    return int(any(each.severity == "error" for each in report.findings))


def _as_json(finding: Finding) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(finding)
    return document
