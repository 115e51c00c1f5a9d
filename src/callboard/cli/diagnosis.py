"""Why a flow has no verdict yet: one answer for each thing that it waits for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from callboard.cli.output import counted, shown_moment
from callboard.cli.reading import shown_wait
from callboard.cli.story import Story
from callboard.contract import Contract, types_in
from callboard.drawings.names import label
from callboard.ledger import Entry, Parked

What = Literal[
    "dead letter", "retry", "waiting", "timer", "running", "line", "paused", "no owner", "behind", "silent", "event"
]
_KINDS: dict[str, What] = {
    "dead": "dead letter", "retry": "retry", "waiting": "waiting", "half": "waiting", "timer": "timer",
    "running": "running",
}  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """One thing that a flow waits for."""

    what: What
    reaction: str  # empty: somebody outside
    says: str

    def __str__(self) -> str:
        return f"{self.reaction}: {self.says}" if self.reaction else self.says

    @property
    def document(self) -> dict[str, Any]:
        """It, for programs."""
        return {"what": self.what, "reaction": self.reaction or None, "says": self.says}


def diagnose(story: Story) -> list[Cause]:
    """What stands in the way, else what was expected and did not come. Nothing for a flow that has its verdict."""
    if story.flow.verdict is not None:
        return []
    found = [_of_parked(story, row) for row in story.parked if row.why != "behind" or row.line not in _told(story, row)]
    found += _of_unread(story)
    if not found and story.flow.failing is None:
        found += _of_silent(story)
    return list(dict.fromkeys(found))


def told_causes(causes: list[Cause]) -> dict[str, Any]:
    """They, for programs."""
    return {"waits_for": list(map(str, causes)), "diagnosis": [each.document for each in causes]}


def _told(story: Story, behind: Parked) -> set[str]:
    """The lines of its reaction in which this flow itself has what stands in front."""
    return {each.line for each in story.parked if each.reaction == behind.reaction and each.why != "behind"}


def _of_parked(story: Story, row: Parked) -> Cause:
    says = shown_wait(row, story.moment)
    if row.why == "dead" and row.asked is None:
        return Cause("dead letter", row.reaction, says)
    if row.why == "behind":
        head = story.heads.get((row.reaction, row.line))
        return Cause(
            "line", row.reaction, says if head is None else f"stands in line behind {shown_wait(head, story.moment)}"
        )
    if row.why not in ("waiting", "half", "timer") and (cause := _of_worker(story, row.reaction)) is not None:
        return Cause(cause.what, row.reaction, f"{says}, but {cause.says}" if row.why == "retry" else cause.says)
    return Cause(_KINDS[row.why], row.reaction, says)


def _of_worker(story: Story, reaction: str) -> Cause | None:
    """Why nothing of this reaction runs now, if that is so."""
    service = reaction.partition(".")[0]
    if story.runs.get(service) is False:
        return Cause("no owner", reaction, f"no worker runs {service}")
    position = story.positions.get(reaction)
    if position is not None and position.paused is not None and position.paused > story.moment:
        until = shown_moment(position.paused)
        return Cause("paused", reaction, f"paused by a breaker of {position.by}, until {until} UTC")
    return None


def _of_unread(story: Story) -> Iterator[Cause]:
    """Reactions that have not come to an event of this flow."""
    for entry in story.entries:
        for answer in story.answers(entry):
            if not answer.silent.startswith(("has not", "is not")):
                continue
            says = f"{answer.silent} ({entry.type} #{story.numbers[entry.pos]})"
            cause = _of_worker(story, answer.reaction)
            if cause is not None or answer.silent.startswith("is not"):
                why = f", {cause.says}" if cause is not None else ""
                yield Cause(cause.what if cause is not None else "no owner", answer.reaction, f"{says}{why}")
            else:
                behind = counted(story.lags.get(answer.reaction, 0), "event")
                yield Cause("behind", answer.reaction, f"{says}, behind in the log by {behind}")


def _of_silent(story: Story) -> Iterator[Cause]:
    """Nothing stands in the way: whose answer would have led on to a completion, or what must come from outside."""
    choreography = story.choreography
    flow = None if choreography is None else choreography.flows.get(story.flow.name)
    if choreography is None or flow is None:
        yield Cause("event", "", "nothing stands in its way: with --app you are told which event it waits for")
        return
    wanted = [*types_in(flow.succeeds), *types_in(flow.fails)]
    seen, asked, outside = {entry.type for entry in story.entries}, set[str](), list[str]()
    answered = False
    while wanted:
        kind = wanted.pop(0)
        emitters = [each for each in choreography.contracts.values() if kind in each.emits]
        if not emitters and kind.inner is None and kind.name not in seen:
            outside.append(label(kind))
        for contract in emitters:
            if contract.path in asked:
                continue
            asked.add(contract.path)
            heard = [entry for entry in story.entries if contract in story.hearers(entry)]
            emits = {kind.name for kind in contract.emits}
            if not heard:
                wanted += contract.hears
            elif not any(entry.by == contract.path and entry.type in emits for entry in story.entries):
                answered = True
                yield _silent(story, contract, heard[-1])
    if outside and not answered:
        yield Cause("event", "", f"waits for {' | '.join(dict.fromkeys(outside))} from outside")


def _silent(story: Story, contract: Contract, entry: Entry) -> Cause:
    waits = f"waits for {' | '.join(map(label, contract.emits))} from {contract.path}"
    answer = next((each for each in story.answers(entry) if each.reaction == contract.path), None)
    place = f"#{story.numbers[entry.pos]} {entry.type}"
    if answer is not None and answer.notes:
        return Cause("event", contract.path, f"{waits}, which has {answer.notes[-1].what} {place}")
    return Cause("silent", contract.path, f"handled {place} and emitted nothing; the flow {waits}")
