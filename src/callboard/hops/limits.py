"""The limits that hold in every ledger. What is over one is refused where it is made, with what and by how much."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from callboard.codec import OfOneType
from callboard.errors import TooLarge
from callboard.ids import depth_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.codec import Codec
    from callboard.event import EventType, StateType

PAYLOAD = 1024 * 1024  # bytes of one event or state row
FAN_OUT = 10_000  # events of one run
DEPTH = 1_000  # reactions one after the other in one flow
BEHIND = 1_000  # deliveries of one line that are parked behind its dead letter
WAITING = 100_000  # publishes of one process that wait for their commit


def encoded(codec: Codec, value: object) -> bytes:
    """The bytes of an event or a state row.

    Raises TooLarge over the limit, Unencodable if they could not be read back.
    """
    data = codec.encode(value)
    if len(data) > PAYLOAD:
        raise TooLarge(
            f"{type(value).__name__} takes {len(data):,} bytes, the limit is {PAYLOAD:,}: "
            "keep the large part elsewhere and name it"
        )
    return data


def writer(codec: Codec, kind: EventType | StateType) -> Callable[[Any], bytes]:
    """`encoded`, for objects of one type."""
    if not isinstance(codec, OfOneType):
        return partial(encoded, codec)
    write, read = codec.of_type(kind)

    def written(value: Any) -> bytes:
        try:
            data = write(value)
            read(data)
        except Exception:
            return encoded(codec, value)  # which says what is wrong with it
        return data if len(data) <= PAYLOAD else encoded(codec, value)

    return written


def few_enough(count: int, path: str) -> None:
    """Raises TooLarge for a run that returned more events than one run may."""
    if count > FAN_OUT:
        raise TooLarge(f"{path} returned {count:,} events, the limit is {FAN_OUT:,}: scatter in two steps")


class TooDeep(TooLarge):
    """One reaction more in this flow would be one too many; the text still has to name the loop."""


def shallow_enough(cause: str) -> None:
    """Raises TooDeep for a run whose events would come after more reactions than a flow may have in a row."""
    if depth_of(cause) >= DEPTH:
        raise TooDeep(f"{DEPTH:,} reactions have followed each other in this flow, which is the limit")
