"""Whether the user's own code goes the way that a finding of the check describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callboard.check import Confirmation
from callboard.simulation.codes import codes_of
from callboard.simulation.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.check import Finding, Report, Step
    from callboard.simulation.world import Ending, Scene

TRIES = 12  # of one way, with other inputs each
_ALIKE = 3  # tries with plenty, with nothing and as drawn: where all go the same other way, inputs make no difference
_OPEN = ("CB301", "CB303")  # what these say is that there is no verdict in the end


def follow(scene: Scene, way: Sequence[Step], tries: int = TRIES) -> tuple[Stage, Ending, int]:
    """The first try that goes the whole way, or else the one that came farthest; how it ended; how many there were."""
    tried: list[tuple[Stage, Ending]] = []
    while len(tried) < tries and not (len(tried) == _ALIKE and len({stage.why for stage, _ in tried}) == 1):
        stage = Stage(scene, way, len(tried))
        tried.append((stage, stage.run()))
        if stage.is_followed:
            return stage, tried[-1][1], len(tried)
    stage, ending = max(tried, key=lambda each: each[0].followed)
    return stage, ending, len(tried)


def confirm_all(scene: Scene, report: Report) -> Report:
    """The same report; each finding that has a way says whether the code goes it."""
    return replace(report, findings=[replace(each, confirmation=confirm(scene, each)) for each in report.findings])


def confirm(scene: Scene, finding: Finding) -> Confirmation | None:
    """Forces its steps on the code. None for a finding that describes no way: there is nothing to force."""
    if not finding.way:
        return None
    stage, ending, runs = follow(scene, finding.way)
    told = f"{runs} {'try' if runs == 1 else 'tries'}"
    if not stage.is_followed:
        why = f"in {told} at most {stage.followed} of {len(stage.script)} steps went so: {stage.why}"
        return Confirmation("not reproduced", why, runs)
    if otherwise := _otherwise(finding, stage):
        return Confirmation("not reproduced", f"the code goes this way, but then {otherwise}", runs)
    seen = [each.text.partition("\n")[0] for each in ending.violations if finding.code in codes_of(each)]
    stands = ", ".join(f"{flow} {verdict or 'has no verdict'}" for flow, verdict in stage.verdicts.items())
    return Confirmation("confirmed", f"your code goes this way, and then {(seen or [stands])[0]}", runs)


def _otherwise(finding: Finding, stage: Stage) -> str:
    """How the flows stand in the end, if the finding says that they stand otherwise."""
    for flow, verdict in stage.verdicts.items():
        wanted = next((word for word in ("succeeded", "failed") if f"{flow} {word}" in finding.end), None)
        if (wanted is not None and verdict != wanted) or (wanted is None and finding.code in _OPEN and verdict):
            return f"{flow} {verdict or 'has no verdict'}"
    return ""
