"""Text for a terminal: what happens, from outside inwards, each edge on a line of its own."""

from callboard.choreography import Choreography
from callboard.drawings.names import label
from callboard.drawings.tree import Branch, lines
from callboard.graph import OUTSIDE, Edge

_STROKES = {"event": "─", "failure": "╌", "compensation": "═", "timer": "·", "prerequisite": "┄"}


def draw(choreography: Choreography) -> str:
    """A tree of edges. A reaction is followed where it is first reached; elsewhere an arrow points back up."""
    by_source: dict[str, list[Edge]] = {}
    for edge in choreography.edges():
        by_source.setdefault(edge.source, []).append(edge)
    followed: set[str] = set()
    ends = {edge.target for edges in by_source.values() for edge in edges if edge.kind != "prerequisite"}
    flows = [f"({name})" for name in choreography.flows]
    starts = [OUTSIDE, *(source for source in by_source if source not in ends), *flows, *by_source]
    roots: list[Branch] = []
    for start in starts:
        if start in by_source and start not in followed:
            roots.append(Branch(start))
            _follow(roots[-1], start, by_source, followed)
    silent = [node.path for node in choreography.nodes() if node.path not in ends]
    if silent:
        roots.append(Branch("(never reached)", [Branch(path) for path in silent]))
    kinds = {edge.kind for edges in by_source.values() for edge in edges}
    legend = "   ".join(f"{stroke * 2}▶ {kind}" for kind, stroke in _STROKES.items() if kind in kinds)
    return "\n".join([*(text for text, _ in lines(roots)), "", legend]) + "\n"


def _follow(branch: Branch, source: str, by_source: dict[str, list[Edge]], followed: set[str]) -> None:
    followed.add(source)
    for edge in by_source[source]:
        goes_on = (
            edge.target in by_source and edge.kind != "prerequisite" and edge.target[0] != "("
        )  # a deadline is a root
        again = goes_on and edge.target in followed
        arrow = f"{label(edge.event)} {_STROKES[edge.kind] * 2}▶ {edge.target}{' ↑' if again else ''}"
        branch.below.append(Branch(arrow, tone=edge.kind))
        if goes_on and not again:
            _follow(branch.below[-1], edge.target, by_source, followed)
