"""Findings told to people: what is wrong, the way that leads there, how things stand then, and what mends it."""

import shutil
import sys
import textwrap

from callboard.check import SEVERITIES, Check, Finding, Place, Report, Step
from callboard.cli.output import counted, near, say

WORDS = {"error": "error", "warning": "warning", "information": "note"}
TONES = {"error": "failure", "warning": "wait", "information": "timer"}


def tell(report: Report, *, verbose: bool) -> None:
    """All findings, and how far was looked."""
    for finding in report.findings:
        _tell_finding(finding)
        say()
    if verbose:
        _tell_more(report)
    say(f"{report.choreography.name}: {_summary(report)}", _tone(report))


def _summary(report: Report) -> str:
    counts = [counted(report.count(each), WORDS[each]) for each in SEVERITIES if report.count(each)]
    found = ", ".join(counts) or "no findings"
    allowed = f", {len(report.allowed)} allowed" if report.allowed else ""
    if report.bounded:
        return f"{found}{allowed}; bounded: {counted(report.states, 'state')} explored, what lies beyond was not"
    return f"{found}{allowed} in {counted(report.states, 'state')}"


def _tone(report: Report) -> str:
    if report.count("error"):
        return "failure"
    return "wait" if report.count("warning") or report.bounded else "good"


def _tell_finding(finding: Finding) -> None:
    _say_folded(f"{finding.severity} {finding.code}  ", finding.title, TONES[finding.severity])
    say(f"    {shown(finding.place)}  {finding.place.name}", "quiet")
    for line in _steps(finding.steps):
        say(line)
    if finding.end:
        _say_folded("   => ", "; ".join(finding.end), "failure" if finding.severity == "error" else "wait")
    if (said := finding.confirmation) is not None:
        _say_folded(f"   {said.label.upper()}  ", said.why, "failure" if said.label == "confirmed" else "quiet")
    _say_folded("   fix  ", finding.fix, "good")


def _steps(steps: tuple[Step, ...]) -> list[str]:
    """Numbered, with the service, the reaction, what it heard and said, and where it stands."""
    wide = [max((len(each) for each in column), default=0) for column in zip(*map(_columns, steps), strict=True)]
    lines: list[str] = []
    number = 0
    for step in steps:
        if not step.service:
            lines.append(f"        … {step.note}")
            continue
        number += 1
        service, reaction, said = _columns(step)
        where = shown(step.place) if step.place is not None else ""
        line = f"   {number:>2}  {service:<{wide[0]}}  {reaction:<{wide[1]}}  {said:<{wide[2]}}"
        whole = f"{line}  {where}".rstrip()
        is_long = sys.stdout.isatty() and len(whole) > _width()
        lines.append(f"{line.rstrip()}\n       {where}".rstrip() if is_long else whole)
    return lines


def _columns(step: Step) -> tuple[str, str, str]:
    said = " + ".join(step.emitted)
    arrow = f"{step.heard} → {said}" if step.heard and said else step.heard or said
    return step.service, step.reaction, f"{arrow}   [{step.note}]" if step.note else arrow


def _tell_more(report: Report) -> None:
    from callboard.checks.assumed_order import claimed
    from callboard.checks.assumptions import ASSUMED
    from callboard.checks.emergence import bounds

    for finding in report.allowed:
        _say_folded(f"allowed {finding.code}  ", f"{finding.title} ({shown(finding.place)})", "quiet")
    say("how far one event from outside may spread:")
    for bound in bounds(report.choreography):
        _say_folded("  - ", str(bound), "quiet")
    say("taken for granted:")
    for each in (*ASSUMED, *([claimed(report.broker)] if report.broker else [])):
        _say_folded("  - ", each, "quiet")
    say()


def teach(check: Check) -> None:
    """A property: what it means, lines that break it, and the same lines mended."""
    say(f"{check.code}  {check.name} ({check.severity})")
    say()
    _say_folded("", check.meaning)
    for title, lines in (("broken", check.broken), ("mended", check.mended)):
        say(f"\n{title}:")
        for line in lines.strip("\n").splitlines():
            say(f"    {line}".rstrip())


def shown(place: Place) -> str:
    """File and line, seen from here where that is shorter."""
    return f"{near(place.file)}:{place.line}"


def _width() -> int:
    return max(shutil.get_terminal_size().columns, 60)


def _say_folded(lead: str, text: str, tone: str = "") -> None:
    """Folded to the terminal, later lines under the first; where nobody sits, one line."""
    if not sys.stdout.isatty():
        say(lead + text, tone)
        return
    for line in textwrap.wrap(text, _width(), initial_indent=lead, subsequent_indent=" " * len(lead)):
        say(line, tone)
