"""The ways in which a run may come out, from its return alone: each a sequence of events.

A list is nothing, or two of a kind: two are enough to see that several differ from one. Where the return has a word
of its own for nothing (`list[A] | NoneLeft`), an empty list is not expected.
"""

from itertools import product
from typing import NamedTuple

from callboard.contract import AllOf, EventShape, Many, Nothing, OneOf, Shape
from callboard.event import EventType

SEVERAL = (1, 2)


class Emitted(NamedTuple):
    """One event of an outcome; `ordinal` tells the events of one list apart, 0 stands in none."""

    kind: EventType
    ordinal: int = 0


Outcome = tuple[Emitted, ...]


def outcomes(shape: Shape) -> tuple[Outcome, ...]:
    """Every way, each once; the first is the one that is written first."""
    parts = shape.of if isinstance(shape, OneOf) else (shape,)
    says_nothing = len(parts) > 1
    return tuple(dict.fromkeys(way for part in parts for way in _ways(part, may_be_empty=not says_nothing)))


def _ways(shape: Shape, *, may_be_empty: bool = True) -> list[Outcome]:
    match shape:
        case EventShape(type=one):
            return [(Emitted(one),)]
        case Nothing():
            return [()]
        case OneOf(of=parts):
            return [way for part in parts for way in _ways(part)]
        case AllOf(of=parts):
            return [sum(each, ()) for each in product(*map(_ways, parts))]
        case Many(of=part):
            inner = [way for way in _ways(part) if way]
            several = [
                tuple(Emitted(each.kind, ordinal) for ordinal, way in zip(SEVERAL, pair, strict=True) for each in way)
                for pair in product(inner, repeat=len(SEVERAL))
            ]
            return [*several, ()] if may_be_empty else several
