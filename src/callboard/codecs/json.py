"""JSON, by msgspec: dataclasses, attrs and Structs; a pydantic class by its own methods."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, time
from typing import Any, cast

import msgspec

from callboard import fields
from callboard.errors import Undecodable, Unencodable
from callboard.event import EventType, StateType, is_state, state_type, type_of


class JsonCodec:
    """Writes JSON. Before bytes are handed out they are read back once (`verify`), so no event is lost to a typo."""

    content_type = "application/json"

    def __init__(self, *, verify: bool = True) -> None:
        self._verify = verify
        self._encoder = msgspec.json.Encoder(enc_hook=_foreign_to_json)
        self._readers: dict[Any, Callable[[bytes], Any]] = {}
        self._timed: dict[type[Any], bool] = {}

    def encode(self, value: object) -> bytes:
        """The JSON of this event or state; Unencodable for a naive datetime, a NaN, or a value of another type."""
        try:
            data = _write_pydantic(value) if fields.kind_of(type(value)) == "pydantic" else self._encoder.encode(value)
            if self._may_hold_a_time(type(value)):
                _refuse_naive(value)
            if self._verify:
                self._read_back(data, value)
        except Exception as error:
            raise Unencodable(f"{type(value).__name__} cannot be written: {error}") from error
        return data

    def decode(self, data: bytes, type: EventType | StateType) -> Any:
        """The event or state in this JSON; Undecodable, with the place in it, if it is none."""
        try:
            return self._reader(type)(data)
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
            lifted = state.upcast(msgspec.json.decode(data))
        except Exception as error:
            raise Undecodable(f"the upcast of {state} from shape {shape} failed: {error!r}") from error
        return self.decode(self._encoder.encode(lifted), state)

    def _reader(self, type: EventType | StateType) -> Callable[[bytes], Any]:
        if type not in self._readers:
            if fields.kind_of(type.cls) == "pydantic":
                self._readers[type] = type.cls.model_validate_json
            else:
                annotation = type.annotation if isinstance(type, EventType) else type.cls
                self._readers[type] = msgspec.json.Decoder(annotation, dec_hook=_foreign_from_json).decode
        return self._readers[type]

    def _read_back(self, data: bytes, value: object) -> None:
        self._reader(state_type(type(value)) if is_state(type(value)) else type_of(value))(data)

    def _may_hold_a_time(self, cls: type[Any]) -> bool:
        if cls not in self._timed:
            self._timed[cls] = any(_may_be_time(each) for each in fields.reach(cls))
        return self._timed[cls]


def _may_be_time(each: Any) -> bool:
    return not isinstance(each, type) or each is object or issubclass(each, datetime)


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
    return dict(cast("Any", value)) if fields.kind_of(type(value)) == "pydantic" else str(value)


def _foreign_from_json(cls: type[Any], value: Any) -> Any:
    if fields.kind_of(cls) == "pydantic":  # through JSON again: its strict mode reads dates and the like only there
        return cast("Any", cls).model_validate_json(msgspec.json.encode(value))
    raise NotImplementedError(f"a {cls.__name__} cannot be read from JSON")
