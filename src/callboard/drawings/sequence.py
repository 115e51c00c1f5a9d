"""A path as a Mermaid sequence diagram: who says what to whom, from the start of a flow to one of its events."""

from callboard.choreography import Choreography
from callboard.contracts.paths import Step, nearest_ending, path_to, steps_to
from callboard.drawings.mermaid import quoted
from callboard.drawings.names import identifiers, label
from callboard.event import EventType
from callboard.flow import Flow
from callboard.graph import Edge

_ARROWS = {"event": "->>", "failure": "--x", "compensation": "-->>", "timer": "-)", "prerequisite": "--)"}


def draw(choreography: Choreography, flow: Flow, target: EventType | None = None) -> str:
    """The shortest path to `target`, or to the success of the flow."""
    edges = edges_of_path(choreography, flow, target)
    services = dict.fromkeys(_place(choreography, end) for edge in edges for end in (edge.source, edge.target))
    ids = identifiers(services)
    drawn = ["sequenceDiagram", *(f"    participant {ids[each]} as {quoted(each.strip('()'))}" for each in services)]
    for number, edge in enumerate(edges, 1):
        source, place = ids[_place(choreography, edge.source)], ids[_place(choreography, edge.target)]
        drawn.append(f"    {source}{_ARROWS[edge.kind]}{place}: {quoted(label(edge.event))}")
        is_last = not any(each.target == edge.target for each in edges[number:])
        if is_last and edge.target in choreography.contracts:
            drawn.append(f"    Note over {place}: {quoted(edge.target.partition('.')[2])}")
    return "\n".join(drawn) + "\n"


def _place(choreography: Choreography, end: str) -> str:
    return choreography.contracts[end].service if end in choreography.contracts else end


def edges_of_path(choreography: Choreography, flow: Flow, target: EventType | None = None) -> list[Edge]:
    """The edges of the graph that the path takes, in order; LookupError if nothing leads there."""
    steps, edges = steps_to(choreography, flow), choreography.edges()
    ending = {target} if target is not None else nearest_ending(flow.succeeds, steps) or set[EventType]()
    if not ending or not ending <= steps.keys():
        raise LookupError(f"nothing in {choreography.name} leads to {label(target) if target else flow.succeeds}")
    taken = dict.fromkeys(step for each in sorted(ending, key=str) for step in path_to(each, steps))
    by_event = {step.event: step for step in taken}
    found: list[Edge] = []
    for step in sorted(taken, key=lambda each: each.length):
        if step.contract is not None:
            path = step.contract.path
            here = [edge for event in step.inputs for edge in _between(edges, by_event[event], path)]
            found += sorted(here, key=lambda edge: edge.kind != "prerequisite")
    for event in sorted(ending, key=str):
        end = _between(edges, by_event[event], f"({flow.name})")
        found += end or _between(edges, by_event[event], None)
    return list(dict.fromkeys(found))


def _between(edges: list[Edge], said: Step, target: str | None) -> list[Edge]:
    """The edge by which the event of this step comes to `target`, or to anybody."""
    edges = [each for each in edges if each.event is said.event and target in (None, each.target)]
    if said.contract is not None:
        return [each for each in edges if each.source == said.contract.path][: 1 if target else None]
    return edges[: 1 if target else None]
