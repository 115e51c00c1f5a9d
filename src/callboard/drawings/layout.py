"""Where boxes and ways go in a picture: rows from top to bottom, a lane for each service. Arithmetic, nothing drawn."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Literal

from msgspec import Struct

GAP = 26.0  # between two things in a row
ROW = 36.0  # the height of a box
PAD = 18.0  # inside a lane
BEND = 14.0  # what a way takes where it passes a row


class Box(Struct):
    """Something with a name and a width, in a lane or above or below all of them."""

    name: str
    width: float
    lane: str = ""
    stand: Literal["", "top", "bottom"] = ""
    row: int = 0
    x: float = 0.0  # of its middle


class Way(Struct):
    """From one box to another: a point in each row that it passes, from its source to its target."""

    source: Box
    target: Box
    points: list[Box]


class Plan(Struct):
    """Boxes and ways in their places."""

    boxes: dict[str, Box]
    ways: list[Way]
    lanes: dict[str, tuple[float, float]]  # from left to right
    rows: int
    width: float


def plan(boxes: Sequence[Box], ends: Sequence[tuple[str, str]], lanes: dict[str, float]) -> Plan:
    """A plan for these boxes and the ways between them; `lanes` says how wide each is at least."""
    known = {each.name: each for each in boxes}
    _set_rows(known, ends)
    ways = [_way(known[source], known[target]) for source, target in ends]
    rows = _in_rows(boxes, ways)
    near = _neighbours(ways)
    placed = _place_lanes(rows, lanes)
    width = max((right for _, right in placed.values()), default=0.0)
    order = {name: number for number, name in enumerate(placed)}
    for _ in range(12):
        for row in (*rows, *reversed(rows)):
            _settle(row, near, placed, order, width)
    return Plan(known, ways, placed, len(rows), width)


def _set_rows(boxes: dict[str, Box], ends: Sequence[tuple[str, str]]) -> None:
    """Each box one row below the lowest that leads to it; where that goes in a circle, the circle is cut once."""
    before: dict[str, set[str]] = defaultdict(set)
    for source, target in ends:
        if source != target and boxes[target].stand != "top":
            before[target].add(source)
    waiting = [name for name, each in boxes.items() if each.stand != "bottom"]
    placed: dict[str, int] = {}
    while waiting:
        ready = [name for name in waiting if before[name] <= placed.keys()]
        if not ready:
            ready = [next((name for name in waiting if before[name] & placed.keys()), waiting[0])]
        for name in ready:
            above = [placed[each] + 1 for each in before[name] if each in placed]
            placed[name] = 0 if boxes[name].stand == "top" else max(above, default=1)
        waiting = [name for name in waiting if name not in placed]
    last = max(placed.values(), default=0) + 1
    for name, each in boxes.items():
        each.row = placed.get(name, last)


def _way(source: Box, target: Box) -> Way:
    """With a bend in each row between; it passes them in the lane of the one that has a lane."""
    lane = target.lane or source.lane
    step = 1 if source.row < target.row else -1
    between = range(source.row + step, target.row, step) if source.row != target.row else ()
    return Way(source, target, [source, *(Box("", BEND, lane, row=row) for row in between), target])


def _in_rows(boxes: Sequence[Box], ways: Sequence[Way]) -> list[list[Box]]:
    rows: list[list[Box]] = [[] for _ in range(max((each.row for each in boxes), default=0) + 1)]
    for each in (*boxes, *(bend for way in ways for bend in way.points[1:-1])):
        rows[each.row].append(each)
    return rows


def _neighbours(ways: Sequence[Way]) -> dict[int, list[Box]]:
    near: dict[int, list[Box]] = defaultdict(list)
    for way in ways:
        for one, other in zip(way.points, way.points[1:], strict=False):
            near[id(one)].append(other)
            near[id(other)].append(one)
        bends = way.points[1:-1]
        for each in bends:  # a way is straight as long as it can be
            near[id(each)] += [other for other in bends if other is not each]
    return near


def _place_lanes(rows: list[list[Box]], lanes: dict[str, float]) -> dict[str, tuple[float, float]]:
    placed: dict[str, tuple[float, float]] = {}
    left = 0.0
    for lane, least in lanes.items():
        inside = [[each.width + GAP for each in row if each.lane == lane] for row in rows]
        right = left + max([least, *(sum(widths) - GAP for widths in inside if widths)]) + 2 * PAD
        placed[lane] = (left, right)
        for row in rows:
            for each in row:
                if each.lane == lane:
                    each.x = (left + right) / 2
        left = right + GAP / 2
    for row in rows:
        for each in row:
            if not each.lane:
                each.x = left / 2
    return placed


def _settle(
    row: list[Box],
    near: dict[int, list[Box]],
    lanes: dict[str, tuple[float, float]],
    order: dict[str, int],
    width: float,
) -> None:
    """Everything in the row as near as may be to what it is joined with, inside its lane, and nothing on another."""
    wish = {id(each): fmean(it.x for it in near[id(each)]) if near[id(each)] else each.x for each in row}
    groups: dict[str, list[Box]] = defaultdict(list)
    for each in sorted(row, key=lambda each: (order.get(each.lane, -1), wish[id(each)])):
        groups[each.lane].append(each)
    for lane, group in groups.items():
        left, right = lanes.get(lane, (0.0, width))
        _spread(group, wish, left + PAD, right - PAD)


def _spread(group: list[Box], wish: dict[int, float], left: float, right: float) -> None:
    edge = left
    for each in group:
        each.x = max(wish[id(each)], edge + each.width / 2)
        edge = each.x + each.width / 2 + GAP
    edge = max(right, left + sum(each.width + GAP for each in group) - GAP)
    for each in reversed(group):
        each.x = min(each.x, edge - each.width / 2)
        edge = each.x - each.width / 2 - GAP


def ends_at(box: Box, ways: Sequence[Way]) -> Iterator[tuple[Way, bool, float]]:
    """Where each way leaves or enters the box: the way, whether it begins here, and how far from the middle."""
    for side in (True, False):  # below, above
        here = [(way, begins) for way in ways for begins in (True, False) if _is_at(box, way, begins, below=side)]
        here.sort(key=lambda each: _next(*each).x)
        room = min(box.width * 0.8, 22.0 * (len(here) - 1))
        for number, (way, begins) in enumerate(here):
            yield way, begins, (number / (len(here) - 1) - 0.5) * room if len(here) > 1 else 0.0


def _next(way: Way, begins: bool) -> Box:
    return way.points[1] if begins else way.points[-2]


def _is_at(box: Box, way: Way, begins: bool, *, below: bool) -> bool:
    if (way.source if begins else way.target) is not box:
        return False
    other = _next(way, begins)
    return (other.row >= box.row) if below else (other.row < box.row)
