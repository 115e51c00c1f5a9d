"""A flow as a file, and what today's code makes of it."""

import json
from collections import Counter

import msgspec

from callboard.choreography import Choreography
from callboard.cli.command import Refusal
from callboard.cli.output import counted, say, say_json
from callboard.cli.reading import find_flow, now, reading
from callboard.cli.story import Story, read_story
from callboard.errors import LedgerError
from callboard.ledger import Entry, Ledger
from callboard.simulation.recording import Happened, Recorded, Replay, read_recorded

_TONES = {"same": "good", "differs": "failure", "given": "quiet", "unknown": "wait"}
_WORDS = {"same": "the same", "differs": "DIFFERS", "given": "as recorded", "unknown": "not known"}


async def exported(url: str, target: str, choreography: Choreography) -> str:
    """The flow as JSON. Exit 4 if there is none."""
    async with reading(url) as ledger:
        story = await read_story(ledger, await find_flow(ledger, target, choreography), now(), choreography)
        rows = await _rows(ledger, story, choreography)
    by_place = {entry.pos: entry.id for entry in story.entries}
    silent = [
        (answer.reaction, entry.id)
        for entry in story.entries
        for answer in story.answers(entry)
        if answer.silent.startswith("done")
    ]
    recorded = Recorded(
        choreography.name, story.flow.name, story.flow.key, story.flow.verdict,
        [_happened(entry, by_place) for entry in story.entries], silent, rows,
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(recorded)).decode()


def _happened(entry: Entry, by_place: dict[int, str]) -> Happened:
    try:
        json.loads(entry.data)
    except ValueError:
        raise Refusal(2, f"{entry.id} carries no JSON: only flows whose events are JSON can be exported") from None
    cause = entry.causation_id or by_place.get(entry.cause)
    causes = [by_place[pos] for pos in entry.causes if pos in by_place]
    return Happened(entry.id, entry.type, entry.time, msgspec.Raw(entry.data), entry.by, cause, causes)


async def _rows(ledger: Ledger, story: Story, choreography: Choreography) -> dict[str, msgspec.Raw]:
    found: dict[str, msgspec.Raw] = {}
    for state in choreography.states.values():
        if choreography.is_private(state) and story.flow.key is not None:
            key = (state.name, story.flow.key)
            try:
                row = (await ledger.states([key])).get(key)
            except LedgerError:  # this ledger has no rows of it yet
                continue
            if row is not None and row.data is not None:
                found[state.name] = msgspec.Raw(row.data)
    return found


def replay_recorded(data: bytes, choreography: Choreography, *, as_json: bool) -> int:
    """Tells what today's code makes of the flow. 1 if something differs."""
    flow = read_recorded(data, choreography)
    told = Replay(choreography, flow).run()
    differs = any(each.fate == "differs" for each in told)
    if as_json:
        name = f"{flow.flow}/{flow.key}"
        say_json("replay", {"flow": name, "differs": differs, "runs": [msgspec.to_builtins(each) for each in told]})
        return int(differs)
    for each in told:
        say(f"{_WORDS[each.fate]:<12} {each.what}", _TONES[each.fate])
        if each.why:
            say(f"             {each.why}", "quiet")
    counts = Counter[str](each.fate for each in told)
    summary = ", ".join(f"{counts[fate]} {word}" for fate, word in _WORDS.items() if counts[fate])
    tone = "failure" if differs else "good"
    say(f"{flow.flow}/{flow.key}: of {counted(len(told), 'run')} and rows {summary or 'none'}", tone)
    return int(differs)
