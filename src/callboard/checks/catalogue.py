"""All checks, by code; and how a choreography is checked."""

from collections.abc import Collection

from callboard.check import SEVERITIES, Check, Extent, Report
from callboard.checks import orphan_events
from callboard.checks.subject import Subject
from callboard.choreography import Choreography

CHECKS: dict[str, Check] = {each.CHECK.code: each.CHECK for each in (orphan_events,)}


def check(
    choreography: Choreography,
    *,
    select: Collection[str] = (),
    broker: str | None = None,
    limit: int = 200_000,
) -> Report:
    """What is wrong with it, by severity, then code, then place. `select` holds codes or their beginnings."""
    subject = Subject(choreography, broker=broker, limit=limit)
    asked = [each for code, each in CHECKS.items() if not select or code.startswith(tuple(select))]
    found = [finding for each in asked for finding in each.find(subject)]
    found.sort(key=lambda it: (SEVERITIES.index(it.severity), it.code, it.place.file, it.place.line, it.about))
    return Report(choreography, found, list[Extent]())
