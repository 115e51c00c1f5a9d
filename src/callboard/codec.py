"""The promise of a codec: events and state to bytes, and back."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from callboard.event import EventType, StateType


class Codec(Protocol):
    """What `encode` wrote, `decode` reads back as an equal value. What neither can do is told, never guessed."""

    def encode(self, value: object) -> bytes:
        """The bytes of this event or state; Unencodable if they could not be read back."""
        ...

    def decode(self, data: bytes, type: EventType | StateType) -> Any:
        """The event or state in these bytes; Undecodable if they are none."""
        ...

    def decode_state(self, data: bytes, state: StateType, shape: int) -> Any:
        """The state in these bytes, which were saved in this shape: an older one goes through the state's upcast."""
        ...


@runtime_checkable
class OfOneType(Protocol):
    """What a codec may offer beside: what writes, and reads back, the objects of one type, without asking which."""

    def of_type(self, type: EventType | StateType) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """Both raise for what `encode` refuses, with any exception."""
        ...
