"""DOT, for Graphviz and what reads it."""

import json

from callboard.choreography import Choreography
from callboard.drawings.names import identifiers, label, places
from callboard.graph import OUTSIDE

_LOOKS = {
    "event": "",
    "failure": 'style=dashed, color="#c0392b", fontcolor="#c0392b"',
    "compensation": 'style=bold, color="#8e44ad", fontcolor="#8e44ad"',
    "timer": 'style=dotted, arrowhead=dot, color="#2471a3", fontcolor="#2471a3"',
    "prerequisite": 'style=dashed, arrowhead=empty, color="#7f8c8d", fontcolor="#7f8c8d"',
}


def draw(choreography: Choreography) -> str:
    """A directed graph: a cluster for each service, failures dashed, compensations bold, timers dotted,
    prerequisites grey.
    """
    nodes, edges = choreography.nodes(), choreography.edges()
    others = places((end for edge in edges for end in (edge.source, edge.target)), [node.path for node in nodes])
    ids = identifiers([*(node.path for node in nodes), *others])
    drawn = [f"digraph {_quoted(choreography.name)} {{", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    for place in others:
        shape = "circle" if place == OUTSIDE else "doublecircle"
        drawn.append(f"    {ids[place]} [label={_quoted(place.strip('()'))}, shape={shape}];")
    for number, name in enumerate(choreography.services):
        drawn += [f"    subgraph cluster_{number} {{", f"        label={_quoted(name)};"]
        drawn += [f"        {ids[n.path]} [label={_quoted(n.name)}];" for n in nodes if n.service == name]
        drawn.append("    }")
    for edge in edges:
        look = ", ".join(filter(None, (f"label={_quoted(label(edge.event))}", _LOOKS[edge.kind])))
        drawn.append(f"    {ids[edge.source]} -> {ids[edge.target]} [{look}];")
    return "\n".join([*drawn, "}"]) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
