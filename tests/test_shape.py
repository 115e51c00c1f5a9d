"""One grammar for parameters, returns and options; what a run may emit agrees with a regular expression."""

import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import ContractError, FlowTimedOut, ReactionFailed, event, state
from callboard.contract import AllOf, EventShape, Many, Nothing, OneOf, Shape, allowed, holds, shape_of, types_in, ways
from callboard.event import EventType, event_type


@event
class Ordered:
    order_id: str


@event
class Reserved:
    order_id: str


@event
class Paid:
    order_id: str


@state(key="sku")
class Shelf:
    sku: str


class Note:
    pass


A, B, C = (event_type(each) for each in (Ordered, Reserved, Paid))
a, b, c = EventShape(A), EventShape(B), EventShape(C)


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (None, Nothing()),
        (type(None), Nothing()),
        (Ordered, a),
        (Ordered | Reserved, OneOf((a, b))),
        (Union[Ordered, Reserved], OneOf((a, b))),  # noqa: UP007
        (Optional[Ordered], OneOf((a, Nothing()))),  # noqa: UP045
        (Ordered | FlowTimedOut[Ordered], OneOf((a, EventShape(event_type(FlowTimedOut[Ordered]))))),
        (ReactionFailed[Ordered | Reserved],
         OneOf((EventShape(event_type(ReactionFailed[Ordered])), EventShape(event_type(ReactionFailed[Reserved]))))),
        (tuple[Ordered, Reserved], AllOf((a, b))),
        (tuple[Ordered, ...], Many(a)),
        (list[Ordered], Many(a)),
        (Sequence[Ordered], Many(a)),
        (Annotated[Ordered, "said"], a),
        (SimpleNamespace(__value__=Ordered | Reserved), OneOf((a, b))),  # as `type Answer = Ordered | Reserved` is
        (tuple[Ordered, list[Reserved | Paid]] | None, OneOf((AllOf((a, Many(OneOf((b, c))))), Nothing()))),
        (list[Ordered] | Reserved, OneOf((Many(a), b))),
    ],
    ids=str,
)  # fmt: skip
def test_an_annotation_has_a_shape(annotation: Any, shape: Shape) -> None:
    assert shape_of(annotation, "here") == shape


@pytest.mark.parametrize(
    "annotation",
    [Note, int, Any, object, list, tuple, tuple[()], list[int], Iterator[Ordered], "Ordered", {Ordered, Reserved},
     Shelf, FlowTimedOut, FlowTimedOut[Note], dict[str, Ordered], Ordered | int, [Ordered]],
)  # fmt: skip
def test_what_is_outside_of_the_grammar_is_refused(annotation: Any) -> None:
    with pytest.raises(ContractError, match=r"^here: "):
        shape_of(annotation, "here")


def test_a_shape_is_written_as_it_was_read() -> None:
    shape = shape_of(tuple[Ordered, list[Reserved | Paid]] | None, "here")
    assert str(shape) == "tuple[Ordered, list[Reserved | Paid]] | None"
    assert types_in(shape) == (A, B, C)


@pytest.mark.parametrize(
    ("annotation", "may", "may_not"),
    [
        (None, [()], [(A,)]),
        (Ordered, [(A,)], [(), (B,), (A, A)]),
        (Ordered | None, [(), (A,)], [(B,), (A, A)]),
        (tuple[Ordered, Reserved], [(A, B)], [(A,), (B, A), (A, B, B), ()]),
        (list[Ordered | Reserved], [(), (A,), (B, A, A)], [(C,), (A, C)]),
        (tuple[list[Ordered], Reserved], [(B,), (A, A, B)], [(A,), (B, A)]),
        (tuple[list[Ordered], list[Ordered]], [(), (A,), (A, A, A)], [(B,)]),
        (list[tuple[Ordered, Reserved]], [(), (A, B), (A, B, A, B)], [(A,), (A, B, A)]),
        (list[Ordered] | Reserved, [(), (A,), (B,), (A, A)], [(A, B), (B, B)]),
        (list[list[Ordered]], [(), (A, A)], [(B,)]),
        (tuple[Ordered | None, Reserved], [(A, B), (B,)], [(A,)]),
    ],
    ids=str,
)
def test_a_run_emits_only_what_its_return_allows(
    annotation: Any, may: list[tuple[EventType, ...]], may_not: list[tuple[EventType, ...]]
) -> None:
    shape = shape_of(annotation, "here")
    assert [each for each in may if not allowed(shape, each)] == []
    assert [each for each in may_not if allowed(shape, each)] == []


shapes = st.recursive(
    st.sampled_from([a, b, c, Nothing()]),
    lambda inner: (
        st.builds(Many, inner)
        | st.builds(OneOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def words(shape: Shape) -> str:
    """The same grammar as a regular expression over letters: the oracle."""
    match shape:
        case EventShape(type=one):
            return {A: "A", B: "B", C: "C"}[one]
        case Nothing():
            return ""
        case OneOf(of=parts):
            return f"(?:{'|'.join(map(words, parts))})"
        case AllOf(of=parts):
            return "".join(map(words, parts))
        case Many(of=part):
            return f"(?:{words(part)})*"


@given(shapes, st.lists(st.sampled_from([A, B, C]), max_size=5))
def test_what_is_allowed_agrees_with_a_regular_expression(shape: Shape, emitted: list[EventType]) -> None:
    spelled = "".join({A: "A", B: "B", C: "C"}[each] for each in emitted)
    assert allowed(shape, emitted) == (re.fullmatch(words(shape), spelled) is not None)


def test_a_long_list_is_matched_quickly() -> None:
    assert allowed(Many(a), [A] * 10_000)
    assert not allowed(Many(a), [A] * 10_000 + [B])


@given(shapes, st.frozensets(st.sampled_from([A, B, C])))
def test_a_set_of_events_holds_exactly_when_it_has_one_of_its_ways(shape: Shape, seen: frozenset[EventType]) -> None:
    assert holds(shape, seen) == any(way <= seen for way in ways(shape))
