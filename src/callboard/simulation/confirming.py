"""Whether the user's own code goes the way that a finding of the check describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callboard.check import Confirmation
from callboard.simulation.codes import codes_of
from callboard.simulation.inputs import Director
from callboard.simulation.world import World

if TYPE_CHECKING:
    from callboard.check import Finding, Report
    from callboard.simulation.stage import Stage
    from callboard.simulation.world import Scene

_SEEDS = 60
_NAMED = ("CB201", "CB301", "CB302")  # what an oracle finds too, by the same names
_OPEN = ("CB301", "CB303")  # what these say is that there is no verdict in the end


def confirm_all(scene: Scene, report: Report) -> Report:
    """The same report; each finding that has a way says whether the code goes it."""
    director = Director(scene)
    return replace(report, findings=[replace(each, confirmation=confirm(director, each)) for each in report.findings])


def confirm(director: Director, finding: Finding) -> Confirmation | None:
    """Forces its steps on the code. None for a finding that describes no way: there is nothing to force."""
    if not finding.way:
        return None
    stage, ending, runs, why = director.follow(finding.way)
    told = f"{runs} {'try' if runs == 1 else 'tries'}"
    if not stage.is_followed:
        if (broken := _broken(director.scene, finding)) is not None:
            return Confirmation("confirmed", f"seed {broken[0]} of `callboard simulate` ends so: {broken[1]}", runs)
        why = f"in {told} at most {stage.followed} of {len(stage.script)} steps went so: {why}"
        return Confirmation("not reproduced", why, runs)
    if otherwise := _otherwise(finding, stage):
        return Confirmation("not reproduced", f"the code goes this way, but then {otherwise}", runs)
    seen = [each.text.partition("\n")[0] for each in ending.violations if finding.code in codes_of(each)]
    stands = ", ".join(f"{flow} {verdict or 'has no verdict'}" for flow, verdict in stage.verdicts.items())
    return Confirmation("confirmed", f"your code goes this way, and then {(seen or [stands])[0]}", runs)


def _broken(scene: Scene, finding: Finding) -> tuple[int, str] | None:
    """The seed in which the same happens with faults: in the forced world nothing dies, and clocks are right."""
    for seed in range(_SEEDS if finding.code in _NAMED else 0):
        for each in World(scene, seed).run().violations:
            text = each.text.partition("\n")[0]
            if finding.code in codes_of(each)[:1] and all(word in text for word in finding.about.split()):
                return seed, text
    return None


def _otherwise(finding: Finding, stage: Stage) -> str:
    """How the flows stand in the end, if the finding says that they stand otherwise."""
    for flow, verdict in stage.verdicts.items():
        wanted = next((word for word in ("succeeded", "failed") if f"{flow} {word}" in finding.end), None)
        if (wanted is not None and verdict != wanted) or (wanted is None and finding.code in _OPEN and verdict):
            return f"{flow} {verdict or 'has no verdict'}"
    return ""
