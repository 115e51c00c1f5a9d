"""What happened in a flow, told by cause: each event, who heard it, each attempt, what came of it."""

from dataclasses import dataclass, field
from typing import Any

from callboard.choreography import Choreography
from callboard.cli.output import instant, shown_duration
from callboard.cli.reading import COUNTED, first_line, owner_runs, parked_document, shown_wait
from callboard.contract import Contract
from callboard.drawings.tree import Branch
from callboard.event import ReactionFailed
from callboard.hops.abroad import address_of
from callboard.hops.envelopes import as_envelope
from callboard.ledger import Entry, FlowRow, Ledger, Memory, Note, Parked, Position

_TRACKER = "callboard.tracker"
_TIMER = "callboard.Timer["


@dataclass
class Answer:
    """What one reaction made of one event."""

    reaction: str
    emitted: list[Entry] = field(default_factory=list[Entry])
    notes: list[Note] = field(default_factory=list[Note])
    parked: list[Parked] = field(default_factory=list[Parked])
    silent: str = ""  # there is no row of it: it had nothing to say, or was not there yet


@dataclass
class Story:
    """Everything that the ledger holds of one flow, as of one moment."""

    flow: FlowRow
    entries: list[Entry]
    notes: list[Note]
    parked: list[Parked]
    memories: list[Memory]
    positions: dict[str, Position]
    moment: int
    choreography: Choreography | None
    address: str = ""  # of the ledger
    runs: dict[str, bool | None] = field(default_factory=dict[str, "bool | None"])  # by service; None: nobody can tell
    heads: dict[tuple[str, str], Parked] = field(default_factory=dict[tuple[str, str], Parked])  # of lines it waits in
    lags: dict[str, int] = field(default_factory=dict[str, int])  # of the reactions that have not come to it

    def __post_init__(self) -> None:
        self.numbers = {entry.pos: number for number, entry in enumerate(self.entries, 1)}
        places = {entry.id: entry.pos for entry in self.entries}
        for entry in self.entries:
            if entry.causation_id is not None:  # a broker brought it: its cause is known by id, if it is here at all
                entry.cause = places.get(entry.causation_id, 0)
        self._rows: dict[int, list[Entry | Note | Parked]] = {}  # by the event that they are about
        for entry in self.entries:
            self._rows.setdefault(entry.cause, []).append(entry)
        for note in self.notes:
            self._rows.setdefault(note.pos, []).append(note)
        for row in self.parked:
            self._rows.setdefault(row.pos, []).append(row)

    def answers(self, entry: Entry) -> list[Answer]:
        """Who had to do with this event, in the order of what they did."""
        found: dict[str, Answer] = {}
        for row in self._rows.get(entry.pos, ()):
            match row:
                case Entry():
                    path = row.by or _TRACKER
                    found.setdefault(path, Answer(path)).emitted.append(row)
                case Note():
                    found.setdefault(row.reaction, Answer(row.reaction)).notes.append(row)
                case Parked():
                    found.setdefault(row.reaction, Answer(row.reaction)).parked.append(row)
        for contract in self.hearers(entry):
            if contract.path not in found and (silent := self._silence(contract, entry)):
                found[contract.path] = Answer(contract.path, silent=silent)
        return list(found.values())

    def hearers(self, entry: Entry) -> list[Contract]:
        """Whom this event is for, in this build."""
        contracts = self.choreography.contracts.values() if self.choreography else ()
        return [
            each for each in contracts if any(kind.name == entry.type for kind in each.hears) and _meant(each, entry)
        ]

    def _silence(self, contract: Contract, entry: Entry) -> str:
        position = self.positions.get(contract.path)
        if position is None:
            return "is not known to this ledger yet: no worker has run it"
        if entry.pos <= position.since:
            return ""  # it came later than the event
        if not position.finished(entry.pos):
            return "has not come to it yet"
        together = contract.is_join or contract.gathered is not None
        if together and any(each.by == contract.path and entry.pos in each.causes for each in self.entries):
            return ""  # told where the last part came
        return "done, emitted nothing"

    def remarks(self, entry: Entry) -> list[str]:
        """What is remembered of this event: undone, won, closed by it."""
        said: list[str] = []
        if len(entry.causes) > 1:
            others = [f"#{self.numbers[pos]}" for pos in entry.causes if pos != entry.cause and pos in self.numbers]
            said += [f"with {', '.join(others)}"] if others else []
        if entry.scatters and entry.scatters[-1].type == entry.type:
            said.append(f"{entry.scatters[-1].ordinal + 1} of {entry.scatters[-1].size}")
        if entry.source is not None:
            said.append(f"from {entry.source}")
        for memory in self.memories:
            if memory.kind == "undone" and memory.pos == entry.pos:
                said.append("undone")
            if memory.kind == "closed" and memory.pos == entry.pos:
                said.append(f"closes {memory.name}{f' of {memory.part}' if memory.part else ''}")
        return said

    def offset(self, entry: Entry) -> str:
        """When it came, counted from the flow's first event."""
        return f"+{shown_duration(entry.time - self.entries[0].time)}"


def _meant(contract: Contract, entry: Entry) -> bool:
    """A failure stays in its service; a compensation hears the one of the reaction that it undoes."""
    if not any(kind.name == entry.type and kind.cls is ReactionFailed for kind in contract.hears):
        return True
    if contract.options.compensates is not None:
        return entry.by == f"{contract.service}.{contract.options.compensates}"
    return (entry.by or "").partition(".")[0] == contract.service


async def read_story(ledger: Ledger, flow: FlowRow, moment: int, choreography: Choreography | None) -> Story:
    """The story of a flow. Where the reactions stand is read first: what is told as done is seen below."""
    positions = {position.reaction: position for position in await ledger.positions()}
    parked = await ledger.parked(flow=flow.number)
    notes, memories = await ledger.notes(flow.number), await ledger.memories([flow.number])
    entries = await ledger.flow_entries([flow.number])
    current = next((row for row in await ledger.flows_by_number([flow.number]) if row.name == flow.name), flow)
    address = address_of(await ledger.identity())
    story = Story(current, entries, notes, parked, memories, positions, moment, choreography, address)
    if current.verdict is None:
        await _look_around(ledger, story)
    return story


async def _look_around(ledger: Ledger, story: Story) -> None:
    """What stands in the way of a flow that is not over may be outside of it: its workers, its lines, the log."""
    owners = await ledger.owners()
    services = {path.partition(".")[0] for path in story.positions}
    story.runs = {service: owner_runs(owners.get(service)) for service in services}
    for row in story.parked:
        if row.why == "behind" and (row.reaction, row.line) not in story.heads:
            before = (each for each in await ledger.parked(reactions=[row.reaction]) if each.line == row.line)
            story.heads[row.reaction, row.line] = next(before)
    unread = {answer.reaction for each in story.entries for answer in story.answers(each) if answer.silent}
    for path in unread & story.positions.keys():
        contract = None if story.choreography is None else story.choreography.contracts.get(path)
        kinds = None if contract is None else [kind.name for kind in contract.hears]
        story.lags[path] = len(await ledger.read(story.positions[path].pos, limit=COUNTED, types=kinds))


# as a tree


def draw(story: Story, *, with_data: bool = False) -> list[Branch]:
    """The events that came from outside, and below each what it caused."""
    known = set(story.numbers)
    roots = [entry for entry in story.entries if entry.cause not in known or entry.cause == entry.pos]
    return [
        _event(story, entry, "from outside" if entry.cause == 0 else "its cause was pruned", with_data)
        for entry in roots
    ]


def _event(story: Story, entry: Entry, origin: str, with_data: bool) -> Branch:
    said = [story.offset(entry), *filter(None, [origin]), *story.remarks(entry)]
    branch = Branch(f"#{story.numbers[entry.pos]} {shown_type(entry)}   {' · '.join(said)}", tone=_tone(story, entry))
    if with_data:
        branch.below.append(Branch(entry.data.decode("utf-8", "backslashreplace"), tone="quiet"))
    branch.below += [_answer(story, answer, with_data) for answer in story.answers(entry)]
    return branch


def _answer(story: Story, answer: Answer, with_data: bool) -> Branch:
    events = [_event(story, entry, "", with_data) for entry in answer.emitted]
    before = [Branch(f"✗ {first_line(note.why)}", tone="failure") for note in answer.notes if note.what == "failed"]
    after = [Branch(shown_note(note), tone="quiet") for note in answer.notes if note.what != "failed"]
    after += [
        Branch(shown_wait(row, story.moment), tone="failure" if row.why == "dead" else "wait") for row in answer.parked
    ]
    if answer.silent:
        return Branch(
            f"{answer.reaction}: {answer.silent}", tone="quiet" if answer.silent.startswith("done") else "wait"
        )
    if len(events) == 1 and not before and not after:
        events[0].text = f"{answer.reaction} → {events[0].text}"
        return events[0]
    if not events and len(before + after) == 1:
        only = (before + after)[0]
        return Branch(f"{answer.reaction}: {only.text}", tone=only.tone)
    for event in events:
        event.text = f"→ {event.text}"
    return Branch(answer.reaction, [*before, *events, *after])


def shown_type(entry: Entry) -> str:
    """The type without our prefix; a timer as what it is."""
    if entry.type.startswith(_TIMER):
        return "(timer)"
    return entry.type.removeprefix("callboard.")


def shown_note(note: Note) -> str:
    """What is written down of a delivery that was not simply handled."""
    return first_line(note.why if note.what == "failed" else f"{note.what}: {note.why}")


def _tone(story: Story, entry: Entry) -> str:
    kind = story.choreography.events.get(entry.type) if story.choreography else None
    if entry.type.startswith(("callboard.FlowTimedOut", "callboard.FlowCancelled", _TIMER)):
        return "timer"
    is_failure = kind.failure if kind is not None else entry.type.startswith("callboard.ReactionFailed")
    contract = story.choreography.contracts.get(entry.by or "") if story.choreography else None
    if contract is not None and contract.options.compensates is not None and not is_failure:
        return "compensation"
    return "failure" if is_failure else ""


# for programs


def event_document(story: Story, entry: Entry) -> dict[str, Any]:
    """One event as a CloudEvent, and what came of it."""
    by_pos = {each.pos: each.id for each in story.entries}
    return {
        "number": story.numbers[entry.pos],
        **cloud_event(entry, story.address, entry.causation_id or by_pos.get(entry.cause)),
        "causes": [by_pos[pos] for pos in entry.causes if pos in by_pos],
        "remarks": story.remarks(entry),
        "answers": [
            {
                "reaction": answer.reaction,
                "emitted": [each.id for each in answer.emitted],
                "notes": [{"what": note.what, "why": note.why, "time": instant(note.time)} for note in answer.notes],
                "parked": [parked_document(row, story.moment) for row in answer.parked],
                "silent": answer.silent or None,
            }
            for answer in story.answers(entry)
        ],
    }


def cloud_event(entry: Entry, address: str, causation_id: str | None) -> dict[str, Any]:
    """The members of the CloudEvent, as they stand on the road."""
    import json

    try:
        json.loads(entry.data)
        kind = "application/json"
    except ValueError:
        kind = "application/octet-stream"
    members: dict[str, Any] = json.loads(as_envelope(entry, address, causation_id, kind).encode())
    return members
