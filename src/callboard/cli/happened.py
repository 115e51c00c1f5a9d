"""What the ledger knows of one event or one flow, explained."""

from callboard.choreography import Choreography
from callboard.cli.command import Refusal
from callboard.cli.diagnosis import diagnose, told_causes
from callboard.cli.output import instant, say, say_json
from callboard.cli.reading import find_flow, flow_document, name_of, now, reading, shown_wait, status_of, tone_of
from callboard.cli.story import Answer, Story, event_document, read_story, shown_note, shown_type
from callboard.ledger import Entry


async def explain_event(url: str, target: str, choreography: Choreography | None, *, as_json: bool) -> None:
    """One event by its id: what caused it, who heard it, what each made of it."""
    async with reading(url) as ledger:
        entry = await ledger.find(target)
        if entry is None:
            raise Refusal(4, f"the ledger holds no event {target!r}: it is another ledger's, or the id is cut off")
        rows = [row for row in await ledger.flows_by_number([entry.flow]) if row.name]
        story = await read_story(ledger, rows[0], now(), choreography)
    if as_json:
        say_json("event", event_document(story, entry))
        return
    causes = {each.pos: each for each in story.entries}
    cause = causes.get(entry.cause)
    say(f"{shown_type(entry)}   {entry.id}")
    say(f"  flow    {name_of(rows[0])}, event #{story.numbers[entry.pos]} of {len(story.entries)}")
    say(f"  time    {instant(entry.time)}")
    by = f", emitted by {entry.by}" if entry.by else ""
    say(f"  cause   {'from outside' if cause is None else f'#{story.numbers[cause.pos]} {shown_type(cause)}'}{by}")
    say(f"  data    {entry.data.decode('utf-8', 'backslashreplace')}")
    for remark in story.remarks(entry):
        say(f"  note    {remark}")
    answers = story.answers(entry)
    for answer in answers:
        _tell(story, answer)
    if not answers:
        say(
            "  nobody has done anything with it"
            if choreography
            else "  no trace of a reaction: with --app, those who heard it are told too"
        )


def _tell(story: Story, answer: Answer) -> None:
    made = [f"emitted #{story.numbers[each.pos]} {shown_type(each)}" for each in answer.emitted]
    told = [
        *(shown_note(each) for each in answer.notes),
        *(shown_wait(each, story.moment) for each in answer.parked),
        *made,
    ]
    say(f"  {answer.reaction}: {'; '.join(told) or answer.silent}")


async def explain_flow(url: str, target: str, choreography: Choreography | None, *, as_json: bool) -> None:
    """One flow: how it stands and why; `flows show` has the whole story."""
    async with reading(url) as ledger:
        story = await read_story(ledger, await find_flow(ledger, target, choreography), now(), choreography)
    flow, causes = story.flow, diagnose(story)
    if as_json:
        say_json(
            "flow", {"flow": flow_document(flow, story.moment), **told_causes(causes), "path": _path(story.entries)}
        )
        return
    status = status_of(flow, story.moment)
    say(f"{name_of(flow)}   {status}", tone_of(status))
    say(f"  path    {' → '.join(_path(story.entries))}")
    if flow.verdict is not None:
        say(f"  verdict {flow.verdict}, by {flow.by or 'nobody'}")
        say(f"  leaked  {flow.leaked}" if flow.leaked else "  leaked  nothing") if flow.verdict == "failed" else None
    for each in causes:
        say(f"  waits   {each}")
    say(f"  more    callboard flows show {name_of(flow)}")


def _path(entries: list[Entry]) -> list[str]:
    return [shown_type(each) for each in entries]
