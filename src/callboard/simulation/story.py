"""How a failure is told: what broke, what it takes, a timeline with the deviating lines marked, and a drawing."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import zip_longest
from linecache import getline
from pathlib import Path
from typing import TYPE_CHECKING

from callboard.simulation.codes import short
from callboard.simulation.faults import FAULTS, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callboard.simulation.hunt import Failure
    from callboard.simulation.oracles import Violation
    from callboard.simulation.world import Line

_TEXT = r""", f?["']"""  # of an assertion: it is told already
_MOST = 60  # lines of a timeline
_LONGEST = 20  # what it takes, where that could not be shrunk
_ROUND = 24  # lines of a circle


def clock(seconds: float) -> str:
    """Time since the world began, as the story has it: `30:00.018`."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes}:{rest / 1000:06.3f}"


def told(failure: Failure) -> list[str]:
    """The whole story, line by line."""
    violation, lines = failure.violations[0], list[str]()
    lines.append(f"FAILED  seed {failure.seed}   {violation.oracle}: {violation.text}")
    lines += _source(violation)
    lines += [f"        also {_also(each)}" for each in failure.violations[1:3]]
    lines += [f"  {failure.explained}"] if failure.explained else []
    lines += _takes(failure)
    lines.append("  timeline:")
    chosen = _chosen(failure)
    width = max((len(line.worker) for line in chosen), default=0)
    lines += [f"    {_told(line, width)}" for line in _named(chosen, failure)]
    if left_out := len(_about(failure)) - len(chosen):
        noun = "line" if left_out == 1 else "lines"
        lines.append(f"    {'':>11}  ({left_out} {noun} left out: what arrived in time, and what came after)")
    return [*lines, *([f"  to mend it: {failure.fix}"] if failure.fix else [])]


def _also(violation: Violation) -> str:
    where = f"  ({short(violation.place)})" if violation.place else ""
    return f"{violation.oracle}: {violation.text.partition(chr(10))[0]}{where}"


def _source(violation: Violation) -> Iterator[str]:
    file, _, line = violation.place.rpartition(":")
    if file:
        text = getline(file, int(line) if line.isdigit() else 0).strip()
        yield f"    {short(violation.place)}: {re.split(_TEXT, text)[0]}".rstrip(": ")


def _takes(failure: Failure) -> Iterator[str]:
    if failure.script:
        found = f"found in run {failure.runs}, seeking {failure.way}; " if failure.way else ""
        yield f"  {found}it takes only this order:"
        for number, step in enumerate(failure.script, 1):
            said = " + ".join(step.emitted) or "nothing"
            words = [f"{step.reaction}:" if step.reaction else "", f"{step.heard} ->" if step.heard else "", said]
            note = f"   [{step.note}]" if step.note else ""
            yield f"    {number}. {step.service} {' '.join(filter(None, words))}{note}"
        return
    if not (failure.runs or failure.deviations):
        return
    left = f"{failure.first} publications and faults to {len(failure.deviations)}"
    slow = failure.ending.given_up
    unshrunk = "not shrunk, as it takes so long; it had:" if slow else "kept from before; it takes only:"
    takes = "it takes only:" if failure.deviations else "it takes none of them"
    yield f"  shrunk {left} in {failure.runs} runs; {takes}" if failure.runs else f"  {unshrunk}"
    yield from (f"    - {sentence(key, amount)}" for key, amount in [*failure.deviations.items()][:_LONGEST])
    if (more := len(failure.deviations) - _LONGEST) > 0:
        yield f"    - and {more} more, which its file has"


def _about(failure: Failure) -> list[Line]:
    """The lines of the flow that the story is about, and what struck."""
    flows = {each.flow for each in failure.violations[:1] if each.flow}
    lines = _in_order([each for each in failure.ending.lines if not flows or not each.flow or each.flow in flows])
    return [each for number, each in enumerate(lines) if each.what != "runs" or _is_all(each, lines[number + 1 :])]


def _in_order(lines: list[Line]) -> list[Line]:
    """A run stands behind the event that it heard, though both may have been committed after it."""
    ordered: list[Line] = []
    early: list[Line] = []
    for line in lines:
        if line.what == "runs" and not any(each.text.endswith(_heard(line)) for each in ordered):
            early.append(line)
            continue
        heard = [run for run in early if line.text.endswith(_heard(run))]
        ordered += [line, *heard]
        early = [run for run in early if run not in heard]
    return [*ordered, *early]


def _heard(run: Line) -> str:
    return run.text.rpartition(" on ")[2]


def _is_all(run: Line, later: list[Line]) -> bool:
    """Whether nothing else tells of this run: it said nothing, or was cut."""
    path = run.text.partition(" ")[0]
    own = (each for each in later if each.flow == run.flow and re.match(rf"{re.escape(path)}( |#)", each.text))
    return next((each.what for each in own), "runs") == "runs"


def _chosen(failure: Failure) -> list[Line]:
    """What somebody has to read: up to what broke, without what arrived as it should where nothing struck."""
    lines = _until_broken(_about(failure), failure.violations[0])
    struck = [key for line in lines if (key := line.deviation) is not None and key.partition(" ")[0] in _ON_THE_ROAD]
    words = set(" ".join(struck).split())
    chosen = [each for each in lines if each.what != "arrives" or each.worker in words or each.text in words]
    first = {(each.what, each.text): each for each in reversed(chosen) if _ends(each)}
    chosen = [each for each in chosen if not _ends(each) or each is first[each.what, each.text]]
    if len(chosen) <= _MOST:
        return chosen
    return [each for each in chosen if each.deviation is not None][: _MOST // 3] + chosen[-2 * _MOST // 3 :]


def _ends(line: Line) -> bool:
    """A verdict or a dead letter: the same again, as where an operator has tried it in vain, says nothing more."""
    return line.what in ("verdict", "dead letter") or " -> ReactionFailed[" in line.text


_ON_THE_ROAD = ("late", "drop", "duplicate", "lost-ack", "partition", "crash", "skew")  # what arrives tells of them
_RUNS = ("runs", "commits", "timer fires", "gives up")
_WORDS = {"outside": "calls", "tries again later": "tries again"}
_BROKEN_BY = {"dead-letter": "dead letter", "leak": "verdict", "outside-left": "verdict", "outside-twice": "outside"}


def _until_broken(lines: list[Line], violation: Violation) -> list[Line]:
    """Up to the line with which it was broken, where that is known."""
    if violation.oracle == "endless":
        return lines[:_ROUND]
    what = _BROKEN_BY.get(violation.oracle)
    call = violation.text.partition(" ")[0] if what == "outside" else ""
    last = max((n for n, each in enumerate(lines) if each.what == what and each.text.startswith(call)), default=None)
    return lines if last is None else lines[: last + 1]


def _named(lines: list[Line], failure: Failure) -> Iterator[Line]:
    """These lines in words; each reaction has its file and line where it is named first."""
    places, ended = dict(failure.places), set[str]()
    for line, after in zip_longest(lines, lines[1:]):
        if line.deviation is not None:
            yield replace(line, text=_struck(line.deviation, failure))
            continue
        what, text = _in_words(line)
        if what == "calls" and after is not None and (after.deviation or "").startswith("lose "):
            text = text.rpartition(" = ")[0]  # nobody hears what was answered
        path = re.match(r"[\w.]+", text)
        if path is not None and what in _RUNS and (place := places.pop(path[0], "")):
            text = f"{text}  ({Path(place).name})"
        if what == "verdict":
            ended.add(line.flow)
        late = "  [after the verdict]" if line.flow in ended and what in _RUNS else ""
        yield replace(line, what=what, text=f"{text}{late}")


def _struck(key: str, failure: Failure) -> str:
    """What strikes in this line: how often in a row is told before."""
    return sentence(key, 1 if FAULTS[key.partition(" ")[0]].is_counted else failure.ending.deviations[key])


def _in_words(line: Line) -> tuple[str, str]:
    """What happens, and to whom: a timer that fires is more than a commit."""
    by, arrow, event = line.text.rpartition(" -> ")
    if line.what == "runs":
        return line.what, f"{line.text}, and says nothing"
    if line.what != "commits":
        return _WORDS.get(line.what, line.what), " ".join(line.text.split())
    if not arrow:
        return "published", line.text.removeprefix("the published ")
    if event.startswith("Timer["):
        return "timer fires", f"{by} for #{event.partition('#')[2]}"
    if event.startswith("FlowTimedOut["):
        return "deadline passes", event
    return "gives up" if event.startswith("ReactionFailed[") else "commits", line.text


def _told(line: Line, width: int) -> str:
    mark = "  <<<" if line.deviation is not None else ""
    return f"{clock(line.time):>9}  {line.worker:<{width}}  {line.what:<15} {line.text}{mark}".rstrip()


def mermaid(failure: Failure) -> list[str]:
    """The same timeline as a Mermaid sequence."""
    lines: list[str] = []
    names: dict[str, str] = {}
    emitted: dict[str, str] = {}

    def name(participant: str) -> str:
        return names.setdefault(participant, f"p{len(names) + 1}")

    for line in _until_broken(_about(failure), failure.violations[0]):
        worker, (what, text) = name(line.worker), _in_words(line)
        text = re.sub(r"[;#\s]+", lambda found: {"#": " ", ";": ","}.get(found[0].strip(), " "), text)
        by, _, event = text.rpartition(" -> ")
        if line.deviation is not None:
            text = _struck(line.deviation, failure)
            lines.append(f"    Note over {worker}: {text.replace('#', ' ')}")
        elif what == "calls":
            lines.append(f"    {worker}->>{name(text.partition('.')[0])}: {text.partition('.')[2]}")
        elif what == "arrives":
            lines.append(f"    {emitted.get(text, name('outside'))}->>{worker}: {text}")
        elif what == "published":
            emitted[text] = worker
            lines.append(f"    {name('outside')}->>{worker}: {text}")
        elif what == "commits":
            emitted[event] = worker
            lines.append(f"    {worker}->>{worker}: {by}, {event}")
        else:
            lines.append(f"    Note right of {worker}: {what}, {text}")
    return ["sequenceDiagram", *(f"    participant {short} as {name}" for name, short in names.items()), *lines]
