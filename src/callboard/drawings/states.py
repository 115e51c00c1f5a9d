"""The life of a flow as a Mermaid state diagram: which event may follow on which, and how it may end."""

from collections.abc import Iterator

from callboard.choreography import Choreography
from callboard.contract import Contract, ways
from callboard.contracts.paths import steps_to
from callboard.drawings.mermaid import COLOURS, quoted
from callboard.drawings.names import identifiers, label
from callboard.event import EventType
from callboard.flow import Flow


def draw(choreography: Choreography, flow: Flow) -> str:
    """A state for each event that may be in the flow; on the arrows, the reactions that it makes run."""
    events = sorted(steps_to(choreography, flow).values(), key=lambda step: step.length)
    said = [step.event for step in events]
    contracts = [each for each in choreography.contracts.values() if any(event in said for event in each.hears)]
    ids = identifiers([*map(label, said), "(succeeded)", "(failed)"])
    drawn = ["stateDiagram-v2", *(f'    state "{quoted(label(each))}" as {ids[label(each)]}' for each in said)]
    drawn.append(f"    [*] --> {ids[label(flow.start)]}")
    drawn += (f"    {ids[label(each.inner)]} --> {ids[label(each)]}" for each in said if each.inner)
    for contract in contracts:
        for event in contract.hears:
            if event in said:
                told = f"{contract.path}{_aside(contract)}"
                targets = [each for each in contract.emits if each in said] or [event]
                drawn += (f"    {ids[label(event)]} --> {ids[label(each)]}: {quoted(told)}" for each in targets)
    drawn += _endings(flow, said, ids)
    return "\n".join([*drawn, *_looks(contracts, said, ids)]) + "\n"


def _aside(contract: Contract) -> str:
    undone = contract.options.compensates
    waits = ", after a while" if contract.options.wait is not None else ""
    return f" (compensates {undone})" if undone else waits


def _endings(flow: Flow, said: list[EventType], ids: dict[str, str]) -> Iterator[str]:
    for shape, verdict in ((flow.succeeds, "(succeeded)"), (flow.fails, "(failed)")):
        reached = [way for way in ways(shape) if way <= set(said)] if shape is not None else []
        for way in reached:
            for event in sorted(way, key=str):
                others = " and ".join(label(each) for each in sorted(way, key=str) if each is not event)
                yield f"    {ids[label(event)]} --> {ids[verdict]}{f': with {quoted(others)}' if others else ''}"
        if reached:
            yield f'    state "{quoted(flow.name)} {verdict.strip("()")}" as {ids[verdict]}'
            yield f"    {ids[verdict]} --> [*]"


def _looks(contracts: list[Contract], said: list[EventType], ids: dict[str, str]) -> Iterator[str]:
    """Failures, deadlines, and what only compensations emit, look different from success."""
    undoing = {each for contract in contracts if contract.options.compensates for each in contract.emits}
    doing = {each for contract in contracts if not contract.options.compensates for each in contract.emits}
    kinds = {
        "timer": [each for each in said if each.inner is not None and not each.failure],
        "failure": [each for each in said if each.failure],
        "compensation": [each for each in said if each in undoing - doing and not each.failure],
    }
    for kind, events in kinds.items():
        if events:
            yield f"    classDef {kind} stroke:{COLOURS[kind]},color:{COLOURS[kind]},stroke-width:2px"
            yield f"    class {','.join(ids[label(each)] for each in events)} {kind}"
