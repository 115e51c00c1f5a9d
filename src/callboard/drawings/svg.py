"""SVG: a picture that needs nothing else, no network, no font, no script. Time runs downwards, a column a service."""

import itertools
from collections.abc import Iterator, Sequence
from html import escape

from callboard.choreography import Choreography
from callboard.drawings.layout import PAD, ROW, Box, Plan, Way, ends_at, plan
from callboard.drawings.names import label, places
from callboard.graph import OUTSIDE, Edge, Kind

COLOURS: dict[Kind, str] = {
    "event": "#2d3436",
    "failure": "#c0392b",
    "compensation": "#8e44ad",
    "timer": "#2471a3",
    "prerequisite": "#7f8c8d",
}
STROKES: dict[Kind, str] = {
    "event": "",
    "failure": ' stroke-dasharray="7 4"',
    "compensation": ' stroke-width="2.6"',
    "timer": ' stroke-dasharray="2 3"',
    "prerequisite": ' stroke-dasharray="1 5" stroke-linecap="round"',
}
HEAD, MARGIN, LINE = 34.0, 20.0, 15.0  # a lane's heading, the rim, a line of text
SAID = "said by "
Rect = tuple[float, float, float, float]  # left, top, right, bottom


def draw(choreography: Choreography) -> str:
    """Every reaction in the column of its service, every edge with the name of its event beside it."""
    edges = choreography.edges()
    lanes = {name: _wide(name, 14) for name in choreography.services}
    planned = plan(_boxes(choreography, edges), [_ends(each) for each in edges], lanes)
    gap = 56.0
    while not (picture := _Picture(planned, edges, gap)).all_labels_are_free and gap < 400:
        gap += 24  # as much room between the rows as the names need
    return picture.text(choreography)


def _boxes(choreography: Choreography, edges: Sequence[Edge]) -> list[Box]:
    paths = [node.path for node in choreography.nodes()]
    boxes = [Box(node.path, _wide(node.name, 13) + 24, node.service) for node in choreography.nodes()]
    for each in places((end for edge in edges for end in _ends(edge)), paths):
        above = each == OUTSIDE or each.startswith(SAID)
        boxes.append(Box(each, _wide(_named(each), 13) + 30, stand="top" if above else "bottom"))
    return boxes


def _ends(edge: Edge) -> tuple[str, str]:
    """A flow that says something, that it timed out or was cancelled, stands above, and apart from its end."""
    is_said = edge.source.startswith("(") and edge.source != OUTSIDE
    return f"{SAID}{edge.source}" if is_said else edge.source, edge.target


def _named(place: str) -> str:
    if place.startswith(SAID):
        return f"{place.removeprefix(SAID).strip('()')} says"
    return place.strip("()") if place == OUTSIDE else f"{place.strip('()')}: end"


def _wide(text: str, size: float) -> float:
    return len(text) * size * 0.57


class _Picture:
    """The plan with heights: where everything is, and what is still free."""

    def __init__(self, planned: Plan, edges: Sequence[Edge], gap: float) -> None:
        self._plan, self._edges, self._gap = planned, edges, gap
        starts, stops = _ports(planned)
        self._curves = [self._curve(way, starts[n], stops[n]) for n, way in enumerate(planned.ways)]
        parts = [each for curve in self._curves for each in curve]
        self._passed = [] if len(edges) > 200 else [_at(each, step / 12) for each in parts for step in range(13)]
        self._labels: list[tuple[float, float]] = []
        taken = [_heading(name, left, right, gap) for name, (left, right) in planned.lanes.items()]
        self.all_labels_are_free = True
        for edge, curve in zip(edges, self._curves, strict=True):
            x, y, is_free = self._free_place(label(edge.event), curve, taken)
            taken.append(_rect(label(edge.event), x, y))
            self._labels.append((x, y))
            self.all_labels_are_free &= is_free
        self._right = max([planned.width, *(each[2] for each in taken), *(b.x + b.width / 2 for b in self._all())])
        self._left = min([0.0, *(each[0] for each in taken), *(each.x - each.width / 2 for each in self._all())])

    def _all(self) -> list[Box]:
        return list(self._plan.boxes.values())

    def _top(self, row: int) -> float:
        heading = HEAD + PAD if row > 0 else 0.0
        return row * (ROW + self._gap) + heading

    def _curve(self, way: Way, start: float, stop: float) -> list[tuple[float, ...]]:
        """Curves between the rows, each of four points; a way is straight where it passes a row."""
        points = [(each.x, each.row) for each in way.points]
        points[0], points[-1] = (points[0][0] + start, points[0][1]), (points[-1][0] + stop, points[-1][1])
        curves: list[tuple[float, ...]] = []
        for (x1, row1), (x2, row2) in itertools.pairwise(points):
            y1 = self._top(row1) + (ROW if row2 >= row1 else 0)
            y2 = self._top(row2) + (ROW if row2 <= row1 else 0)
            bend = (y2 - y1) / 2 if row1 != row2 else self._gap * 0.7
            curves.append((x1, y1, x1, y1 + bend, x2, y2 - bend if row1 != row2 else y2 + bend, x2, y2))
        return curves

    def _free_place(self, text: str, curves: list[tuple[float, ...]], taken: list[Rect]) -> tuple[float, float, bool]:
        """On the way, nearest to its beginning, where no other name stands."""
        best: tuple[int, float, float] | None = None
        for curve in curves:
            for step in (8, 10, 6, 12, 4, 14, 3, 16):
                x, y = _at(curve, step / 20)
                rect = _rect(text, x, y)
                if self._is_between_rows(rect) and not any(_overlap(rect, each) for each in taken):
                    crossed = sum(rect[0] < a < rect[2] and rect[1] < b < rect[3] for a, b in self._passed)
                    if best is None or crossed < best[0]:
                        best = (crossed, x, y)
        if best is None:
            return (*_at(curves[0], 0.5), False)
        return best[1], best[2], True

    def _is_between_rows(self, rect: Rect) -> bool:
        tops = map(self._top, range(self._plan.rows))
        return not any(rect[1] < top + ROW + 4 and rect[3] > top - 9 for top in tops)

    def text(self, choreography: Choreography) -> str:
        used: list[Kind] = [kind for kind in COLOURS if any(edge.kind == kind for edge in self._edges)]
        height = self._top(self._plan.rows - 1) + ROW + 2 * MARGIN + LINE
        width = max(self._right - self._left, 125.0 * len(used)) + 2 * MARGIN
        left, size = self._left - MARGIN, f'width="{width:.0f}" height="{height + MARGIN:.0f}"'
        view = f"{left:.0f} {-MARGIN:.0f} {width:.0f} {height + MARGIN:.0f}"
        lines = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" {size}'
                ' font-family="Helvetica, Arial, sans-serif" font-size="13">'
            ),
            f"<title>{escape(choreography.name)}</title>",
            "<defs>",
            *map(_arrow_head, used),
            "</defs>",
            f'<rect x="{left:.0f}" y="{-MARGIN:.0f}" {size} fill="#fff"/>',
            *self._draw_lanes(),
            *self._draw_edges(),
            *self._draw_boxes(choreography),
            *self._draw_labels(),
            *self._draw_headings(),
            *_legend(used, self._left, height - MARGIN),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _draw_lanes(self) -> Iterator[str]:
        top = _lanes_top(self._gap)
        bottom = max([self._top(each.row) + ROW for each in self._all() if each.lane], default=top) + PAD
        for left, right in self._plan.lanes.values():
            yield (
                f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" rx="8" '
                'fill="#f7f8fa" stroke="#d5d9de"/>'
            )

    def _draw_headings(self) -> Iterator[str]:
        for name, (left, right) in self._plan.lanes.items():
            yield _ground(_heading(name, left, right, self._gap))
            look = 'font-size="14" font-weight="bold" fill="#57606a"'
            yield _text(name, (left + right) / 2, _lanes_top(self._gap) + 21, look)

    def _draw_edges(self) -> Iterator[str]:
        for edge, way, curves in zip(self._edges, self._plan.ways, self._curves, strict=True):
            path = f"M{curves[0][0]:.1f} {curves[0][1]:.1f}"
            for number, (x1, y1, *rest) in enumerate(curves):
                path += f" L{x1:.1f} {y1:.1f}" if number else ""
                path += " C" + " ".join(f"{each:.1f}" for each in rest)
            kind = edge.kind
            yield (
                f'<path class="{kind}" data-event="{escape(label(edge.event))}" data-source="{escape(edge.source)}" '
                f'data-target="{escape(way.target.name)}" d="{path}" fill="none" {_stroke(kind)}/>'
            )

    def _draw_boxes(self, choreography: Choreography) -> Iterator[str]:
        for each in self._all():
            contract = choreography.contracts.get(each.name)
            undoes = contract is not None and contract.options.compensates is not None
            is_pivot = contract is not None and contract.options.pivot
            colour = COLOURS["compensation"] if undoes else "#57606a"
            look = f'stroke="{colour}" stroke-width="{2.5 if is_pivot else 1.2}"'
            rim = 6 if contract else ROW / 2
            yield (
                f'<rect x="{each.x - each.width / 2:.1f}" y="{self._top(each.row):.1f}" width="{each.width:.1f}" '
                f'height="{ROW:.0f}" rx="{rim:.0f}" fill="{"#fff" if contract else "#eef2f5"}" {look}/>'
            )
            yield _text(contract.name if contract else _named(each.name), each.x, self._top(each.row) + 23, "")

    def _draw_labels(self) -> Iterator[str]:
        for edge, (x, y) in zip(self._edges, self._labels, strict=True):
            yield _ground(_rect(label(edge.event), x, y))
            yield _text(label(edge.event), x, y + 4, f'class="label" font-size="11" fill="{COLOURS[edge.kind]}"')


def _ports(planned: Plan) -> tuple[list[float], list[float]]:
    starts, stops = [0.0] * len(planned.ways), [0.0] * len(planned.ways)
    number = {id(way): n for n, way in enumerate(planned.ways)}
    by_box: dict[str, list[Way]] = {}
    for way in planned.ways:
        for name in {way.source.name, way.target.name}:
            by_box.setdefault(name, []).append(way)
    for name, ways in by_box.items():
        for way, begins, offset in ends_at(planned.boxes[name], ways):
            (starts if begins else stops)[number[id(way)]] = offset
    return starts, stops


def _at(curve: tuple[float, ...], t: float) -> tuple[float, float]:
    """The point of a cubic curve."""
    x1, y1, x2, y2, x3, y3, x4, y4 = curve
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return a * x1 + b * x2 + c * x3 + d * x4, a * y1 + b * y2 + c * y3 + d * y4


def _rect(text: str, x: float, y: float) -> Rect:
    half = _wide(text, 11) / 2 + 5
    return x - half, y - LINE / 2 - 1, x + half, y + LINE / 2 + 1


def _overlap(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ground(rect: Rect) -> str:
    """What makes a name readable where ways pass below it."""
    left, top, right, bottom = rect
    where = f'x="{left + 3:.1f}" y="{top + 2:.1f}" width="{right - left - 6:.1f}" height="{bottom - top - 4:.1f}"'
    return f'<rect {where} fill="#f7f8fa" fill-opacity="0.9"/>'


def _stroke(kind: Kind) -> str:
    return f'stroke="{COLOURS[kind]}"{STROKES[kind]} marker-end="url(#{kind})"'


def _arrow_head(kind: Kind) -> str:
    size = 'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"'
    head = f'<path d="M0 0 10 5 0 10z" fill="{COLOURS[kind]}"/>'
    return f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" {size}>{head}</marker>'


def _lanes_top(gap: float) -> float:
    return ROW + gap + 4


def _heading(name: str, left: float, right: float, gap: float) -> Rect:
    middle, half, top = (left + right) / 2, _wide(name, 14) / 2 + 6, _lanes_top(gap)
    return middle - half, top + 6, middle + half, top + HEAD - 6


def _text(words: str, x: float, y: float, look: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {look}>{escape(words)}</text>'


def _legend(used: Sequence[Kind], left: float, y: float) -> Iterator[str]:
    for number, kind in enumerate(used):
        x = left + number * 125
        yield f'<path d="M{x:.0f} {y:.0f}h26" {_stroke(kind)}/>'
        yield f'<text x="{x + 32:.0f}" y="{y + 4:.0f}" font-size="11" fill="{COLOURS[kind]}">{kind}</text>'
