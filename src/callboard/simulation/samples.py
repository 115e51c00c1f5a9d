"""Values made from annotations: events to publish, rows to begin with, answers of a keeper that nobody wrote.

A text is named for its field, so the same few values meet in events and rows: `sku-1`, `sku-2`.
"""

from __future__ import annotations

import dataclasses
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
    from collections.abc import Callable, Mapping

    Draw = Callable[[str], float]  # in [0, 1), by name

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
_FEW = 2  # different texts for one field


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
        return args[int(draw(at) * len(args))]
    if origin in (Union, UnionType):
        there = [each for each in args if each is not NoneType]
        return value(there[int(draw(at) * len(there))], name, draw, at, where)
    if origin in (list, tuple, set, frozenset, dict) or annotation in (list, tuple, set, frozenset, dict):
        return _many(origin or annotation, args, name, draw, at, where)
    return _one(annotation, name, draw, at, where)


def _many(origin: Any, args: tuple[Any, ...], name: str, draw: Draw, at: str, where: object) -> Any:
    if not args:
        return origin()
    if origin is tuple and Ellipsis not in args:
        return tuple(value(each, name, draw, f"{at}[{n}]", where) for n, each in enumerate(args))
    count = 1 + int(draw(f"{at} length") * _FEW)
    singular = name.removesuffix("s")
    if origin is dict:
        keys = [value(args[0], f"{singular}_key", draw, f"{at}[{n}] key", where) for n in range(count)]
        return {key: value(args[1], singular, draw, f"{at}[{n}]", where) for n, key in enumerate(keys)}
    return cast("Any", origin)(value(args[0], singular, draw, f"{at}[{n}]", where) for n in range(count))


def _one(cls: Any, name: str, draw: Draw, at: str, where: object) -> Any:
    drawn = draw(at)
    if cls in (None, NoneType):
        return None
    if cls in (str, Any, object):
        return f"{name}-{1 + int(drawn * _FEW)}"
    for kind, make in _MAKERS.items():
        if cls is kind:
            return make(drawn)
    if isinstance(cls, type) and issubclass(cls, Enum):
        members = list(cls)
        return members[int(drawn * len(members))]
    if isinstance(cls, type) and (fields.kind_of(cls) or hasattr(cls, "_fields") or dataclasses.is_dataclass(cls)):
        return sample(cls, draw, {}, at)
    told = place_of(where) if isinstance(where, type) else str(where or "")
    raise ContractError(
        f"{told} {name}".strip(), f"nothing can be made of `{cls}`: publish your own with @choreography.workload"
    )


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
