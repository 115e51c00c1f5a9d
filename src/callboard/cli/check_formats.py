"""Findings told to programs: JSON, SARIF 2.1.0, the annotations of GitHub, JUnit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from callboard.check import Finding, Report
from callboard.checks.catalogue import CHECKS
from callboard.checks.emergence import bounds
from callboard.cli.output import PROPERTY, escaped, near

LEVELS = {"error": "error", "warning": "warning", "information": "note"}
COMMANDS = {"error": "error", "warning": "warning", "information": "notice"}


def as_json(report: Report) -> str:
    """One object, with all findings, those that are allowed, and how far was looked."""
    document = {
        "schema": "callboard.check/v1",
        "choreography": report.choreography.name,
        "states": report.states,
        "bounded": report.bounded,
        "findings": [_plain(each) for each in report.findings],
        "allowed": [_plain(each) for each in report.allowed],
        "notes": list(report.notes),
        "spread": [msgspec.to_builtins(each) for each in bounds(report.choreography)],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def _plain(finding: Finding) -> dict[str, Any]:
    """All of it but the way, whose steps are told already."""
    fields: dict[str, Any] = msgspec.to_builtins(finding)
    del fields["way"]
    return fields


def _location(file: str, line: int) -> dict[str, Any]:
    path = Path(file)
    inside = path.is_relative_to(Path.cwd())
    uri = path.relative_to(Path.cwd()).as_posix() if inside else path.as_uri() if path.is_absolute() else file
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": max(line, 1)}}}


def _result(finding: Finding, *, is_allowed: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": LEVELS[finding.severity],
        "message": {"text": finding.text},
        "locations": [_location(finding.place.file, finding.place.line)],
        "partialFingerprints": {"callboard/v1": finding.name},
    }
    way = [
        {"location": {**_location(each.place.file, each.place.line), "message": {"text": _step(each)}}}
        for each in finding.steps
        if each.place is not None
    ]
    if way:
        result["codeFlows"] = [{"threadFlows": [{"locations": way}]}]
    if is_allowed:
        result["suppressions"] = [{"kind": "inSource"}]
    return result


def _step(step: Any) -> str:
    return f"{step.service}.{step.reaction}: {step.heard} -> {', '.join(step.emitted) or 'nothing'}"


def as_sarif(report: Report) -> str:
    """A log of one run, with the way as a code flow."""
    rules = [
        {
            "id": each.code,
            "name": each.name,
            "shortDescription": {"text": each.name},
            "fullDescription": {"text": each.meaning},
            "help": {"text": f"{each.meaning}\n\nbroken:\n{each.broken}\nmended:\n{each.mended}"},
            "defaultConfiguration": {"level": LEVELS[each.severity]},
        }
        for each in CHECKS.values()
    ]
    results = [_result(each, is_allowed=False) for each in report.findings]
    results += [_result(each, is_allowed=True) for each in report.allowed]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "callboard", "rules": rules}}, "results": results}],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def as_github(report: Report) -> str:
    """A workflow command a finding, which GitHub shows beside the line."""
    return "\n".join(
        f"::{COMMANDS[each.severity]} file={escaped(near(each.place.file), PROPERTY)},line={each.place.line},"
        f"title={escaped(f'{each.code} {CHECKS[each.code].name}', PROPERTY)}::{escaped(each.text)}"
        for each in report.findings
    )


def as_junit(report: Report) -> str:
    """A test case a check; it fails with its errors and warnings, what is only information is its output."""
    found = {code: [each for each in report.findings if each.code == code] for code in CHECKS}
    failing = {code: [each for each in all_of if each.severity != "information"] for code, all_of in found.items()}
    suite = Element("testsuite", name=f"callboard check {report.choreography.name}", tests=str(len(CHECKS)), errors="0")
    suite.set("failures", str(sum(map(bool, failing.values()))))
    for code, check in CHECKS.items():
        case = SubElement(suite, "testcase", classname="callboard.check", name=f"{code} {check.name}")
        if failing[code]:
            failure = SubElement(case, "failure", message=failing[code][0].title, type=failing[code][0].severity)
            failure.text = "\n\n".join(f"{each.place} {each.text}" for each in failing[code])
        elif found[code]:
            SubElement(case, "system-out").text = "\n\n".join(each.text for each in found[code])
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suite, encoding="unicode")


FORMATS: dict[str, Callable[[Report], str]] = {
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
    "junit": as_junit,
}
