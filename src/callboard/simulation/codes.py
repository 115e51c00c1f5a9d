"""The property of `callboard check` that a broken world breaks too, by its code."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from callboard.checks.catalogue import check

if TYPE_CHECKING:
    from callboard.check import Finding
    from callboard.choreography import Choreography
    from callboard.simulation.oracles import Violation

STATES = 20_000  # of a model that are looked at
# oracle -> codes that may stand behind it: the first names it best
CODES = {
    "two-verdicts": ("CB302",),
    "stuck": ("CB301", "CB303", "CB305", "CB104"),
    "leak": ("CB201", "CB203", "CB206"),
    "outside-left": ("CB201", "CB203", "CB206"),
    "outside-twice": ("CB204", "CB202"),
    "contract": ("CB501",),
    "endless": ("CB401", "CB402"),
    "invariant": ("CB203", "CB205", "CB204", "CB202", "CB201", "CB601"),
}
_BY_TEXT = {"never came: ": ("CB303",), "does not allow": ("CB501",)}  # of dead letters
_SURE = ("two-verdicts", "stuck", "leak", "outside-left", "contract", "endless", "dead-letter")


def codes_of(violation: Violation) -> tuple[str, ...]:
    """The codes that may stand behind it; none where the signatures cannot know of it."""
    if violation.oracle == "dead-letter":
        return next((codes for text, codes in _BY_TEXT.items() if text in violation.text), ())
    return CODES.get(violation.oracle, ())


def match(choreography: Choreography, violation: Violation, ran: set[str]) -> tuple[str, Finding | None]:
    """The code, and what the check finds of it here; no code where the property is none of the check's. Only what the
    reactions that ran can do, and where the violation names reactions, what is found of these.
    """
    codes = codes_of(violation)
    if not codes:
        return "", None
    report = check(choreography, select=codes, limit=STATES)
    named = {path for path in choreography.contracts if re.search(rf"\b{re.escape(path)}\b", violation.text)}
    found = {
        each.code: each
        for each in reversed([*report.findings, *report.allowed])
        if each.severity != "information" and _can(each, ran) and (not named or _speaks_of(each, named))
    }
    finding = next((found[code] for code in codes if code in found), None)
    if finding is not None:
        return finding.code, finding
    return (codes[0] if violation.oracle in _SURE else ""), None


def _can(finding: Finding, ran: set[str]) -> bool:
    return all(f"{step.service}.{step.reaction}" in ran for step in finding.steps if step.reaction and step.emitted)


def _speaks_of(finding: Finding, paths: set[str]) -> bool:
    return not paths.isdisjoint(" ".join((finding.about, *finding.end)).split())


def short(place: str) -> str:
    """The same file and line, seen from here."""
    near = os.path.relpath(place)
    return place if near.startswith("..") else near


def told(code: str, finding: Finding | None) -> str:
    """One line of a story."""
    if not code:
        return ""
    where = (
        f"which `callboard check` finds too, at {short(str(finding.place))}"
        if finding
        else "which the signatures do not show"
    )
    return f"this is {code}, {where}: `callboard check --explain {code}`"
