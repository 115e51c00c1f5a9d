"""`callboard check`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from callboard.check import Report
from callboard.cli.command import Command, Refusal, meant, option
from callboard.cli.discovery import find_app
from callboard.cli.output import note, say
from callboard.cli.settings import app_option

if TYPE_CHECKING:
    from callboard.choreography import Choreography
    from callboard.contracts.file import ContractFile

FORMS = ("text", "json", "sarif", "github", "junit")
BROKERS = ("memory", "sqlite", "kafka", "rabbitmq", "nats", "redis", "sqs")


class Baseline(msgspec.Struct):
    """The findings that are known, by name."""

    schema: Literal["callboard.baseline/v1"]
    findings: list[str]


@click.command(cls=Command, name="check")
@click.argument("apps", metavar="[APP|FILE]...", nargs=-1)
@app_option
@option("-o", "--output", "--format", "output", type=click.Choice(FORMS), default="text", help="For whom it is told.")
@option("--json", "as_json", is_flag=True, help="The same as --output json.")
@option("--sarif", "as_sarif", is_flag=True, help="The same as --output sarif.")
@option("--select", metavar="CODES", help="Only these, as in CB2 or CB101,CB301.")
@option("--ignore", metavar="CODES", help="All but these.")
@option("--strict", is_flag=True, help="Warnings fail too.")
@option("--broker", type=click.Choice(BROKERS), help="What lies between the services, for the order of events.")
@option("--baseline", metavar="FILE", type=click.Path(path_type=Path), help="Known findings, which do not fail.")
@option("--write-baseline", is_flag=True, help="Write what is found now to --baseline.")
@option("--max-states", type=click.IntRange(1), default=200_000, help="Stop exploring there, and say so.")
@option("--against", metavar="BASE", help="The version before, a file or a revision: is there a safe order of upgrade?")
@option("--confirm", is_flag=True, help="Run each way that is found on the code itself, and say whether it goes it.")
@option("--ports", metavar="NAME", help="For --confirm: the keepers, as `callboard simulate` takes them.")
@option("--explain", metavar="CODE", help="Teach a property, by an example and its repair.")
@option("-v", "--verbose", is_flag=True, help="Say what is taken for granted, and what was allowed.")
def command(
    *, apps: tuple[str, ...], app: str | None, output: str, select: str | None, ignore: str | None, broker: str | None,
    baseline: Path | None, max_states: int, explain: str | None, against: str | None, ports: str | None, **flags: bool,
) -> int:  # fmt: skip
    """Say what can go wrong with the choreography of APP, and how, from its signatures alone. Opens no connection.

    Several apps, and files of `callboard contract export`, are checked as the one choreography that they make together.
    """
    from callboard.checks.catalogue import check

    if explain is not None:
        return _teach(explain)
    if flags["write_baseline"] and baseline is None:
        raise Refusal(2, "--write-baseline wants to know where: --baseline FILE")
    codes = {"select": _codes(select), "ignore": _codes(ignore)}
    choreography, files = _together(apps, app)
    before = None
    if against is not None:
        from callboard.cli.revisions import contracts  # git and archives: for those who ask

        before = contracts(against, app or next(iter(apps), None))
    found = check(choreography, broker=broker, limit=max_states, files=files, against=before, **codes)
    report = found if baseline is None else _compare(found, baseline, write=flags["write_baseline"])
    if flags["confirm"]:
        report = _confirmed(report, files, ports)
    form = "json" if flags["as_json"] else "sarif" if flags["as_sarif"] else output
    if form == "text":
        from callboard.cli.check_text import tell

        tell(report, verbose=flags["verbose"])
    else:
        from callboard.cli.check_formats import FORMATS

        say(FORMATS[form](report))
    for each in report.notes:
        note(f"note: {each}")
    return int(bool(report.count("error") or (flags["strict"] and report.count("warning"))))


def _confirmed(report: Report, files: "Sequence[ContractFile]", ports: str | None) -> Report:
    """Each finding says whether the code goes its way."""
    from callboard.cli.simulate import keepers_of
    from callboard.simulation.confirming import confirm_all
    from callboard.simulation.world import Scene

    if files:
        raise Refusal(2, "--confirm runs the code: name one app, and no contract files")
    return confirm_all(Scene(report.choreography, keepers_of(ports)), report)


def _together(apps: Sequence[str], app: str | None) -> "tuple[Choreography, list[ContractFile]]":
    """What all of them make, and the contracts of each if there are several."""
    from callboard.contracts.file import load
    from callboard.contracts.reading import read
    from callboard.contracts.writing import write

    loaded = [load(Path(each)) for each in apps if each.endswith(".json")]
    named = [each for each in apps if not each.endswith(".json")]
    here = [find_app(app, each) for each in named] or ([find_app(app)] if app or not loaded else [])
    if len(here) == 1 and not loaded:
        return here[0], []
    return read(loaded, *here), [*loaded, *map(write, here)]


def _codes(given: str | None) -> list[str]:
    """The codes in `CB2,CB301`. Exit 2 for one that is the beginning of none."""
    from callboard.checks.catalogue import CHECKS

    codes = [each.strip().upper() for each in (given or "").split(",") if each.strip()]
    for code in codes:
        if not any(known.startswith(code) for known in CHECKS):
            raise Refusal(2, f"there is no check {code}{meant(code, list(CHECKS))}")
    return codes


def _teach(code: str) -> int:
    from callboard.checks.catalogue import CHECKS
    from callboard.cli.check_text import teach

    if code.upper() not in CHECKS:
        raise Refusal(2, f"there is no check {code}{meant(code.upper(), list(CHECKS))}")
    teach(CHECKS[code.upper()])
    return 0


def _compare(report: Report, file: Path, *, write: bool) -> Report:
    """Without the findings that the file knows. What it knows and is gone is a note."""
    if write:
        found = Baseline("callboard.baseline/v1", sorted({each.name for each in report.findings}))
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    try:
        known = set(msgspec.json.decode(file.read_bytes(), type=Baseline).findings)
    except FileNotFoundError:
        raise Refusal(4, f"there is no baseline {file}: --write-baseline makes it") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise Refusal(2, f"{file} is no baseline ({error}): --write-baseline makes it anew") from error
    left = [each for each in report.findings if each.name not in known]
    gone = known - {each.name for each in report.findings}
    notes = [*report.notes, f"{len(report.findings) - len(left)} findings are known from {file}"]
    if gone:
        notes.append(f"no longer found: {', '.join(sorted(gone))}. --write-baseline takes them out of {file}")
    return msgspec.structs.replace(report, findings=left, notes=notes)
