"""Values made from annotations: events to publish, rows to begin with, answers of a keeper that nobody wrote.

A text is named for its field, so the same few values meet in events and rows: `sku-1`, `sku-2`. What is drawn is a
number in [0, 1), or 1 + n for the n-th of the special values of a type: nothing, plenty, what the code compares with.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from callboard import fields
from callboard.errors import ContractError
from callboard.signature import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from callboard.choreography import Choreography
    from callboard.simulation.choices import Choices

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
_FEW = 2  # different texts for one field
_PLENTY = 1000
_WORD = 30  # characters of a constant that is no sentence


class Draw(NamedTuple):
    """Where values come from: the choices of a world, under names that begin with `about`."""

    choices: Choices
    about: str
    texts: Sequence[str] = ()  # that are named for some field
    constants: Sequence[Any] = ()  # that the code compares with

    def __call__(self, at: str, special: int = 0) -> float:
        """In [0, 1), or 1 + n for one of so many special values."""
        return self.choices.choose(f"{self.about} {at}", special)

    def special(self, annotation: Any, name: str) -> list[Any]:
        """The values of this type for which code has a case of its own."""
        constants = [each for each in self.constants if type(each) is annotation]
        if annotation is str:
            return ["", *(self.named(name) or self.texts), *constants]
        return [*_SPECIAL.get(annotation, ()), *constants]

    def named(self, name: str) -> list[str]:
        """The texts that some field like this one is given."""
        stem = _stem(name)
        return [text for text in self.texts if _stem(text) == stem]


@cache
def _stem(name: str) -> str:
    return re.split("[-_]", name)[0].removesuffix("s")


def texts_of(choreography: Choreography) -> list[str]:
    """What the fields of its events and rows that hold a text are given."""
    classes: list[Any] = [each.cls for each in choreography.events.values()]
    classes += [each.cls for each in choreography.states.values()]
    names = {name: None for cls in classes for name, hint in _hints(cls).items() if hint is str}
    return [f"{name}-{number}" for name in names for number in range(1, _FEW + 1)]


def constants_of(choreography: Choreography) -> list[Any]:
    """The numbers and texts that its reactions, and the functions they call, are written with."""
    found: dict[Any, None] = {}
    todo: list[Any] = [reaction.function for reaction in choreography.reactions.values()]
    known: set[Any] = set()
    while todo:
        function = inspect.unwrap(todo.pop(0))
        code = getattr(function, "__code__", function)
        if not inspect.iscode(code) or code in known:
            continue
        known.add(code)
        names = getattr(function, "__globals__", {})
        todo += [names[name] for name in code.co_names if inspect.isfunction(names.get(name))]
        for each in code.co_consts[bool(getattr(function, "__doc__", None)) :]:
            if inspect.iscode(each):
                todo.append(each)
            elif type(each) is int:
                found |= {each: None, each + 1: None}
            elif type(each) is str and len(each) <= _WORD:
                found[each] = None
    return list(found)


def sample(cls: type[Any], draw: Draw, given: Mapping[str, Any], at: str = "") -> Any:
    """An object of this class, with the `given` fields as they are."""
    hints = _hints(cast("Any", cls))
    values = {
        name: given[name] if name in given else value(hints.get(name, Any), name, draw, f"{at}.{name}", cls)
        for name in fields.field_names(cls) or getattr(cls, "_fields", ())
    }
    return cls(**values)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def value(annotation: Any, name: str, draw: Draw, at: str, where: object = None) -> Any:
    """A value that fits. Raises ContractError for an annotation of which nothing can be made."""
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, TypeVar | NewType):
        inner = annotation.__supertype__ if isinstance(annotation, NewType) else annotation.__bound__ or str
        return value(inner, name, draw, at, where)
    if origin is Annotated:
        return value(args[0], name, draw, at, where)
    if origin is Literal:
        return _one_of(args, draw, at)
    if origin in (Union, UnionType):
        there = [each for each in args if each is not NoneType]
        drawn = draw(f"{at}?", len(args))
        if drawn >= 1:
            return value(args[int(drawn) - 1], name, draw, at, where)
        return value(there[int(draw(at) % 1 * len(there))], name, draw, at, where)
    if origin in (list, tuple, set, frozenset, dict) or annotation in (list, tuple, set, frozenset, dict):
        return _many(origin or annotation, args, name, draw, at, where)
    return _one(annotation, name, draw, at, where)


def _many(origin: Any, args: tuple[Any, ...], name: str, draw: Draw, at: str, where: object) -> Any:
    if not args:
        return origin()
    if origin is tuple and Ellipsis not in args:
        return tuple(value(each, name, draw, f"{at}[{n}]", where) for n, each in enumerate(args))
    drawn = draw(f"{at} length", 1 + _FEW)
    count = int(drawn) - 1 if drawn >= 1 else 1 + int(drawn * _FEW)
    singular = name.removesuffix("s")
    if origin is dict:
        names = draw.named(singular) if args[0] is str else []
        keys = names[:count] or [value(args[0], f"{singular}_key", draw, f"{at}[{n}] key", where) for n in range(count)]
        return {key: value(args[1], singular, draw, f"{at}[{n}]", where) for n, key in enumerate(keys)}
    return cast("Any", origin)(value(args[0], singular, draw, f"{at}[{n}]", where) for n in range(count))


def _one(cls: Any, name: str, draw: Draw, at: str, where: object) -> Any:
    if cls in (None, NoneType):
        return None
    special = draw.special(cls, name)
    drawn = draw(at, len(special))
    if drawn >= 1:
        return special[int(drawn) - 1]
    if cls in (str, Any, object):
        return f"{name}-{1 + int(drawn * _FEW)}"
    for kind, make in _MAKERS.items():
        if cls is kind:
            return make(drawn)
    if isinstance(cls, type) and issubclass(cls, Enum):
        return _one_of(list(cls), draw, at)
    if isinstance(cls, type) and (fields.kind_of(cls) or hasattr(cls, "_fields") or dataclasses.is_dataclass(cls)):
        return sample(cls, draw, {}, at)
    told = place_of(where) if isinstance(where, type) else str(where or "")
    raise ContractError(
        f"{told} {name}".strip(), f"nothing can be made of `{cls}`: publish your own with @choreography.workload"
    )


def _one_of(options: Sequence[Any], draw: Draw, at: str) -> Any:
    drawn = draw(at, len(options))
    return options[int(drawn) - 1 if drawn >= 1 else int(drawn * len(options))]


_SPECIAL: dict[Any, tuple[Any, ...]] = {
    bool: (False,),
    int: (0, _PLENTY),
    Decimal: (Decimal(), Decimal(_PLENTY)),
    bytes: (b"",),
    datetime: (START - timedelta(days=1), START + timedelta(days=_PLENTY)),
    date: (START.date() - timedelta(days=1), START.date() + timedelta(days=_PLENTY)),
    timedelta: (timedelta(), timedelta(days=_PLENTY)),
}
_MAKERS: dict[Any, Callable[[float], Any]] = {
    bool: lambda _: True,
    int: lambda drawn: 1 + int(drawn * 3),
    float: lambda drawn: 1.0 + int(drawn * 3),
    Decimal: lambda drawn: Decimal(1 + int(drawn * 30)),
    bytes: lambda drawn: b"%d" % int(drawn * 10),
    datetime: lambda drawn: START + timedelta(hours=int(drawn * 24)),
    date: lambda drawn: START.date() + timedelta(days=int(drawn * 10)),
    time: lambda drawn: time(int(drawn * 24)),
    timedelta: lambda drawn: timedelta(seconds=1 + int(drawn * 60)),
    UUID: lambda drawn: UUID(int=int(drawn * 1_000_000)),
}
