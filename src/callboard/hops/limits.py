"""The limits that hold in every ledger. What is over one is refused where it is made, with what and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.errors import TooLarge

if TYPE_CHECKING:
    from callboard.codec import Codec

PAYLOAD = 1024 * 1024  # bytes of one event or state row
FAN_OUT = 10_000  # events of one run


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


def few_enough(count: int, path: str) -> None:
    """Raises TooLarge for a run that returned more events than one run may."""
    if count > FAN_OUT:
        raise TooLarge(f"{path} returned {count:,} events, the limit is {FAN_OUT:,}: scatter in two steps")
