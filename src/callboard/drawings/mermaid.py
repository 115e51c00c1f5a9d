"""Mermaid, as GitHub and most documentation tools draw it."""

from callboard.choreography import Choreography
from callboard.drawings.names import identifiers, label, places
from callboard.graph import OUTSIDE

_ARROWS = {"event": "-->", "failure": "-.->", "compensation": "==>", "timer": "--o", "prerequisite": "---"}
COLOURS = {"failure": "#c0392b", "compensation": "#8e44ad", "timer": "#2471a3", "prerequisite": "#7f8c8d"}


def draw(choreography: Choreography) -> str:
    """A flowchart: a box for each service, failures dotted, compensations thick, timers with a
    round end, prerequisites a line without an end.
    """
    nodes, edges = choreography.nodes(), choreography.edges()
    paths = [node.path for node in nodes]
    others = places((end for edge in edges for end in (edge.source, edge.target)), paths)
    ids = identifiers([*paths, *others, *(f"service {name}" for name in choreography.services)])
    drawn = ["flowchart LR"]
    drawn += [f"    {ids[each]}{_shape(each)}" for each in others]
    for name in choreography.services:
        drawn.append(f'    subgraph {ids[f"service {name}"]}["{quoted(name)}"]')
        drawn += [f'        {ids[node.path]}["{quoted(node.name)}"]' for node in nodes if node.service == name]
        drawn.append("    end")
    for edge in edges:
        arrow = f'{_ARROWS[edge.kind]}|"{quoted(label(edge.event))}"|'
        drawn.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    for kind, colour in COLOURS.items():
        numbers = [str(number) for number, edge in enumerate(edges) if edge.kind == kind]
        if numbers:
            drawn.append(f"    linkStyle {','.join(numbers)} stroke:{colour}")
    return "\n".join(drawn) + "\n"


def _shape(place: str) -> str:
    name = quoted(place.strip("()"))
    return f'(("{name}"))' if place == OUTSIDE else f'(["{name}"])'


def quoted(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
