"""`callboard check` as a line in a test."""

from collections.abc import Collection
from textwrap import indent

from callboard.checks.catalogue import check
from callboard.choreography import Choreography


def assert_checked(
    choreography: Choreography, *, ignore: Collection[str] = (), strict: bool = False, limit: int = 200_000
) -> None:
    """AssertionError, with the way to each, if the check finds an error; if `strict`, also for a warning.

    What a comment in the code allows with a reason is no error. An exploration that had to stop at `limit` is one.
    """
    report = check(choreography, ignore=ignore, limit=limit)
    failing = {"error", "warning"} if strict else {"error"}
    told = [
        f"{each.severity} {each.code} {each.place} {each.place.name}\n{indent(each.text, '  ')}"
        for each in report.findings
        if each.severity in failing
    ]
    if report.bounded:
        told.append(f"bounded: {report.states:,} states explored, what lies beyond was not")
    assert not told, "\n".join([f"{choreography.name}: callboard check", *told])
