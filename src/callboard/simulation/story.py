"""How a failure is told: what broke, what it needs, a timeline with the deviating lines marked, and a drawing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from callboard.simulation.choices import PUBLISH
from callboard.simulation.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callboard.simulation.hunt import Failure
    from callboard.simulation.world import Line

_MOST = 60  # lines of a timeline
_QUIET = ("finds the ledger's lock taken",)


def clock(seconds: float) -> str:
    """Time since the world began, as the story has it: `30:00.018`."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:06.3f}"


def amount_of(key: str, amount: float) -> str:
    """A deviation in words: `late OrderShipped#order-1 -> orders (by 1800 seconds)`."""
    fault = FAULTS.get(key.partition(" ")[0])
    if fault is None or not fault.unit.startswith("seconds"):
        return key
    return f"{key}  ({amount:g} {fault.unit})"


def told(failure: Failure) -> list[str]:
    """The whole story, line by line."""
    violation, ending = failure.violations[0], failure.ending
    lines = [f"FAILED  seed {failure.seed}   {violation.oracle}: {violation.text}"]
    lines += [f"        also {each.oracle}: {each.text.partition(chr(10))[0]}" for each in failure.violations[1:3]]
    lines += [f"  {failure.explained}"] if failure.explained else []
    lines += [*_needs(failure)]
    lines.append("  timeline:")
    for line in _chosen(ending.lines, failure):
        mark = "  <<<" if line.deviation is not None else ""
        lines.append(f"    {clock(line.time):>11}  {line.worker:<11} {line.what:<17} {line.text}{mark}".rstrip())
    return lines


def _needs(failure: Failure) -> Iterator[str]:
    if failure.script:
        found = f"found in run {failure.runs}, on the way of the model to {failure.way}; " if failure.way else ""
        yield f"  {found}it needs only this order:"
        for number, step in enumerate(failure.script, 1):
            said = " + ".join(step.emitted) or "nothing"
            words = [f"{step.reaction}:" if step.reaction else "", f"{step.heard} ->" if step.heard else "", said]
            note = f"   [{step.note}]" if step.note else ""
            yield f"    {number}. {step.service} {' '.join(filter(None, words))}{note}"
        return
    shrunk = f"shrunk {failure.first} deviations to {len(failure.deviations)} in {failure.runs} runs; it needs only:"
    yield f"  {shrunk if failure.runs else 'kept from before; it needs only:'}"
    yield from (f"    - {amount_of(key, amount)}" for key, amount in failure.deviations.items())


def _chosen(lines: list[Line], failure: Failure) -> list[Line]:
    """The lines of the flows that the story is about, and what struck; the end is more telling than the middle."""
    flows = {each.flow for each in failure.violations[:1] if each.flow}
    chosen = [each for each in lines if not flows or not each.flow or each.flow in flows]
    if len(chosen) <= _MOST:
        return chosen
    return [each for each in chosen if each.deviation is not None][: _MOST // 3] + chosen[-2 * _MOST // 3 :]


def mermaid(failure: Failure) -> list[str]:
    """The same timeline as a Mermaid sequence."""
    lines = ["sequenceDiagram"]
    emitted: dict[str, str] = {}
    for line in _chosen(failure.ending.lines, failure):
        worker = _name(line.worker)
        text = line.text.replace(";", ",").replace("\n", " ")
        if line.what == "outside":
            port = _name(text.partition(".")[0])
            lines.append(f"    {worker}->>{port}: {text.partition('.')[2]}")
        elif line.what == "arrives":
            lines.append(f"    {emitted.get(text, 'outside')}->>{worker}: {text}")
        elif line.what == "commits":
            source, _, name = text.rpartition(" -> ")
            emitted[name or text] = worker
            lines.append(f"    {worker}->>{worker}: {source}, {name}" if source else f"    outside->>{worker}: {text}")
        elif line.deviation is not None:
            lines.append(f"    Note over {worker}: {text}")
        else:
            lines.append(f"    Note right of {worker}: {line.what}: {text}")
    return lines


def _name(text: str) -> str:
    return re.sub(r"\W", "_", text)


def workload_of(deviations: dict[str, float]) -> tuple[list[str], list[str]]:
    """What was published, and what struck."""
    published = [key for key in deviations if key.startswith(f"{PUBLISH} ")]
    return published, [key for key in deviations if key not in published]
