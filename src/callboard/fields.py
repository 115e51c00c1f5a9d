"""What a class is made of, whichever of four kinds it is: a dataclass, attrs, a msgspec Struct or pydantic."""

import dataclasses
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

Kind = Literal["dataclass", "attrs", "struct", "pydantic"]

OPEN = frozenset({tuple, frozenset, list, dict, set, Any})
NEVER_CHANGES = frozenset(
    {str, int, float, bool, bytes, NoneType, Decimal, datetime, date, time, timedelta, timezone, UUID, tuple, frozenset}
)


def is_class(x: object) -> TypeGuard[type[Any]]:
    """`x` is a class."""
    return isinstance(x, type)


def kind_of(cls: type[Any]) -> Kind | None:
    """Which kind `cls` itself was made; None for a plain class, also for one whose base is a dataclass."""
    if issubclass(cls, msgspec.Struct):
        return "struct"
    if hasattr(cls, "model_validate_json"):
        return "pydantic"
    if "__attrs_attrs__" in vars(cls):
        return "attrs"
    return "dataclass" if "__dataclass_fields__" in vars(cls) else None


def frozen(cls: type[Any]) -> bool:
    """Assigning to a field of it is refused."""
    match kind_of(cls):
        case "struct":
            return bool(cls.__struct_config__.frozen)
        case "pydantic":
            return bool(cls.model_config.get("frozen"))
        case "attrs":
            return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"
        case "dataclass":
            return bool(cls.__dataclass_params__.frozen)
        case None:
            return False


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """Its fields, in order."""
    match kind_of(cls):
        case "struct":
            return tuple(cls.__struct_fields__)
        case "pydantic":
            return tuple(cls.model_fields)
        case "attrs":
            return tuple(each.name for each in cls.__attrs_attrs__)
        case "dataclass":
            return tuple(each.name for each in dataclasses.fields(cls))
        case None:
            return ()


def required_names(cls: type[Any]) -> tuple[str, ...]:
    """The fields without a default, in order."""
    match kind_of(cls):
        case "struct":
            return tuple(each.name for each in msgspec.structs.fields(cls) if each.required)
        case "pydantic":
            return tuple(name for name, each in cls.model_fields.items() if each.is_required())
        case "attrs":
            nothing = sys.modules["attr"].NOTHING
            return tuple(each.name for each in cls.__attrs_attrs__ if each.default is nothing)
        case "dataclass":
            return tuple(
                each.name
                for each in dataclasses.fields(cls)
                if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            )
        case None:
            return ()


def carries(cls: type[Any], name: str) -> bool:
    """An object of it has this attribute, as a field or a property."""
    return name in field_names(cls) or isinstance(getattr(cls, name, None), property | cached_property)


def immutable(cls: type[Any]) -> bool:
    """Nothing in an object of it can change, all the way down, as far as the annotations say."""
    try:
        return all(_never_changes(each) for each in reach(cls))
    except (NameError, TypeError):  # an annotation that cannot be found: told when the choreography is built
        return False


def _never_changes(each: Any) -> bool:
    if not is_class(each):
        return False
    if each in NEVER_CHANGES or issubclass(each, Enum) or _is_named_tuple(each):
        return True
    return kind_of(each) is not None and frozen(each) and not _keeps_more_than_fields(each)


def _keeps_more_than_fields(cls: type[Any]) -> bool:
    """A cached property, or what pydantic keeps beside the fields, may be a list that somebody changes."""
    if getattr(cls, "__private_attributes__", None) or getattr(cls, "model_config", {}).get("extra") == "allow":
        return True
    return any(isinstance(value, cached_property) for each in cls.__mro__ for value in vars(each).values())


def reach(annotation: Any, seen: set[Any] | None = None) -> Iterator[Any]:
    """Every class that a value of this annotation may be made of, itself included; what is unknown comes as it is."""
    seen = set() if seen is None else seen
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, TypeVar | NewType) or origin is Annotated:
        inner = _inner_of(annotation)
        yield from (each for one in inner for each in reach(one, seen))
    elif origin is Literal:
        yield from (type(value) for value in args)
    elif origin in (Union, UnionType):
        yield from (each for one in args for each in reach(one, seen))
    elif origin is not None:
        yield from (origin,) if origin in OPEN else _reach_class(origin, seen)
        yield from (each for one in args if one is not Ellipsis for each in reach(one, seen))
    else:
        yield from _reach_class(NoneType if annotation is None else annotation, seen)


def _inner_of(annotation: Any) -> tuple[Any, ...]:
    if isinstance(annotation, TypeVar):
        return annotation.__constraints__ or (annotation.__bound__ or object,)
    return (annotation.__supertype__,) if isinstance(annotation, NewType) else (get_args(annotation)[0],)


def _reach_class(cls: Any, seen: set[Any]) -> Iterator[Any]:
    if cls in seen:
        return
    seen.add(cls)
    yield cls
    if cls in OPEN:  # `list` alone may hold anything
        yield object
    if is_class(cls) and (kind_of(cls) or _is_named_tuple(cls)):
        hints = get_type_hints(cls, include_extras=True)
        for name in getattr(cls, "_fields", None) or field_names(cls):
            yield from reach(hints.get(name, Any), seen)


def _is_named_tuple(cls: type[Any]) -> bool:
    return hasattr(cls, "_fields") and issubclass(cls, tuple)


def unreadable(cls: type[Any]) -> str | None:
    """Why an object of it could not be read back from bytes; None if it can."""
    if kind_of(cls) == "pydantic":
        return None  # pydantic refuses what it cannot read when the class is made
    try:
        msgspec.json.Decoder(cls)
        strangers = _strangers(msgspec.inspect.type_info(cls), set())
    except NameError as error:
        return (
            f"the annotation `{error.name}` cannot be found: move that class to the top of the module, "
            "and import it outside of `if TYPE_CHECKING`"
        )
    except TypeError as error:
        return f"its fields cannot be read back: {error}"
    for each in reach(cls):
        if is_class(each) and (hidden := [name for name in field_names(each) if name.startswith("_")]):
            return f"the field `{hidden[0]}` of {each.__name__} would not be written: call it `{hidden[0].lstrip('_')}`"
    for each in strangers:
        if kind_of(each) != "pydantic":
            return f"a field of type `{each.__name__}` cannot be read back: make `{each.__name__}` a frozen dataclass"
    return None


def _strangers(node: Any, seen: set[int]) -> Iterator[type[Any]]:
    """The classes that msgspec knows nothing about."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, msgspec.inspect.CustomType):
        yield node.cls
    elif isinstance(node, tuple):
        for each in node:  # pyright: ignore[reportUnknownVariableType]
            yield from _strangers(each, seen)
    elif isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in node.__struct_fields__:
            if name not in ("cls", "default", "default_factory"):
                yield from _strangers(getattr(node, name), seen)
