"""JSON, by msgspec: dataclasses, attrs and Structs; a pydantic class by its own methods."""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, time
from typing import Any, cast

import msgspec

from callboard import fields
from callboard.errors import Undecodable, Unencodable
from callboard.event import SPEAKS_OF, EventType, StateType, is_state, state_type, type_of


class JsonCodec:
    """Writes JSON. What it has written it reads back once (`verify`) before it hands it out.

    Equal events have equal bytes. A dict keeps its order, unless there is a set in the same event or state: then both
    are sorted. A set inside a pydantic class is written as it comes.
    """

    content_type = "application/json"

    def __init__(self, *, verify: bool = True) -> None:
        self._verify = verify
        self._ways: dict[EventType | StateType, _Way] = {}
        self._of_class: dict[type[Any], _Way] = {}

    def encode(self, value: object) -> bytes:
        """The JSON of this event or state; Unencodable for a naive datetime, a NaN, or a value of another type."""
        try:
            way = self._of_class.get(type(value)) or self._find_way(value)
            if way.has_time:
                _refuse_naive(value)
            data = way.write(value)
            if self._verify:
                way.read(data)
        except Exception as error:
            raise Unencodable(f"{type(value).__name__} cannot be written: {error}") from error
        return data

    def decode(self, data: bytes, type: EventType | StateType) -> Any:
        """The event or state in this JSON; Undecodable, with the place in it, if it is none."""
        try:
            return self._way(type).read(data)
        except Exception as error:  # also what a __post_init__ of the user's raises
            raise Undecodable(f"this is no {type}: {error}") from error

    def decode_state(self, data: bytes, state: StateType, shape: int) -> Any:
        """The state in this JSON of an older shape, lifted by its upcast; Undecodable if that cannot be."""
        if shape == state.shape:
            return self.decode(data, state)
        if shape > state.shape or state.upcast is None:
            raise Undecodable(
                f"{state} was saved in shape {shape}, this build reads {state.shape}: give @state(upcast=...)"
            )
        try:
            lifted = msgspec.json.encode(state.upcast(msgspec.json.decode(data)))
        except Exception as error:
            raise Undecodable(f"the upcast of {state} from shape {shape} failed: {error!r}") from error
        return self.decode(lifted, state)

    def of_type(self, type: EventType | StateType) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """What writes and reads back the objects of one type, without asking which."""
        way = self._way(type)
        return (self.encode, len) if way.has_time or not self._verify else (way.write, way.read)

    def _find_way(self, value: object) -> "_Way":
        cls = type(value)
        way = self._way(state_type(cls) if is_state(cls) else type_of(value))
        if cls not in SPEAKS_OF:
            self._of_class[cls] = way
        return way

    def _way(self, type: EventType | StateType) -> "_Way":
        way = self._ways.get(type)
        if way is None:
            way = self._ways[type] = _way_of(type)
        return way


class _Way(msgspec.Struct, frozen=True, eq=False):
    """How one type is written and read."""

    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]
    has_time: bool


def _way_of(type: EventType | StateType) -> _Way:
    annotation = type.annotation if isinstance(type, EventType) else type.cls
    parts = {part if fields.is_class(part) else object for part in fields.reach(annotation)}
    has_time = any(part in (object, Any) or issubclass(part, datetime) for part in parts)
    if fields.kind_of(type.cls) == "pydantic":
        return _Way(_write_pydantic, type.cls.model_validate_json, has_time)
    order = "deterministic" if any(issubclass(part, AbstractSet) for part in parts) else None
    encoder = msgspec.json.Encoder(enc_hook=_foreign_to_json, order=cast("Any", order))
    return _Way(encoder.encode, msgspec.json.Decoder(annotation, dec_hook=_foreign_from_json).decode, has_time)


def _refuse_naive(value: object) -> None:
    for each in _datetimes(msgspec.to_builtins(value, builtin_types=(datetime, time), enc_hook=_foreign_to_builtins)):
        if each.tzinfo is None:
            raise ValueError(f"{each!r} is naive: nobody else knows its time zone. Write datetime(..., tzinfo=UTC)")


def _datetimes(value: Any) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        for each in cast("Iterable[Any]", value.values() if isinstance(value, dict) else value):
            yield from _datetimes(each)


def _write_pydantic(value: Any) -> bytes:
    written: str = value.model_dump_json(by_alias=True)
    return written.encode()


def _foreign_to_json(value: object) -> Any:
    if fields.kind_of(type(value)) == "pydantic":
        return msgspec.Raw(_write_pydantic(value))
    raise NotImplementedError(f"a {type(value).__name__} has no JSON")


def _foreign_to_builtins(value: object) -> Any:
    if fields.kind_of(type(value)) == "pydantic":
        return dict(cast("Any", value))
    raise NotImplementedError(f"a {type(value).__name__} has no JSON")


def _foreign_from_json(cls: type[Any], value: Any) -> Any:
    if fields.kind_of(cls) == "pydantic":  # through JSON again: its strict mode reads dates and the like only there
        return cast("Any", cls).model_validate_json(msgspec.json.encode(value))
    raise NotImplementedError(f"a {cls.__name__} cannot be read from JSON")
