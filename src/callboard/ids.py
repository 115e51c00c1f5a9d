"""Identity: ids that sort by their flow's start and are derived from what caused them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
LONGEST = 96  # a path longer than this keeps its flow and hashes the rest
FLOW_LENGTH = 26
_COUNTED = 1024 * 1024 - 1  # what four characters count


_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


def _base32(number: int, length: int) -> str:
    """So many characters, an even number of them."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * length - 10, -1, -10)])


def _digest(text: str, length: int) -> str:
    return _base32(int.from_bytes(blake2b(text.encode(), digest_size=20).digest(), "big"), length)


def flow_id(milliseconds: int, chance: int) -> str:
    """A new flow's id: 10 characters of time, then 16 of `chance` (80 bits). Ids sort by the time their flow began."""
    return _base32(milliseconds, 10) + _base32(chance, 16)


class FlowIds:
    """Ids for many new flows: those of one millisecond begin alike, with 60 bits of chance, and count on from there."""

    def __init__(self) -> None:
        self._moment = -1
        self._prefix = ""
        self._count = 0

    def new(self, milliseconds: int, chance: Random) -> str:
        """An id that nobody has, behind those that were given before."""
        if milliseconds != self._moment or self._count >= _COUNTED:
            drawn = chance.getrandbits(80)
            self._moment, self._count = milliseconds, (drawn % _COUNTED) // 2
            self._prefix = flow_id(milliseconds, drawn)[:-4]
        self._count += 1
        return self._prefix + _PAIRS[self._count >> 10] + _PAIRS[self._count & 1023]


def began_at(identity: str) -> int:
    """When the flow of this id (or event id) began, in microseconds; 0 if it is no id of ours."""
    milliseconds = 0
    for letter in identity[:10]:
        place = _ALPHABET.find(letter)
        if place < 0:
            return 0
        milliseconds = milliseconds << 5 | place
    return milliseconds * 1000 if len(identity) >= FLOW_LENGTH else 0


def depth_of(event_id: str) -> int:
    """How many reactions lie between the event from outside that began the flow and this one."""
    tail = event_id[FLOW_LENGTH:]
    if not tail.startswith(".~"):
        return tail.count(".")
    number, _, rest = tail[2:].partition("~")
    return (int(number) if number.isdigit() else 0) + rest.count(".")


@lru_cache(4096)
def tag(path: str) -> str:
    """Four characters that stand for a reaction in the ids of what it emits. Two that hear one event have two tags."""
    return _digest(path, 4)


def child(cause: str, reaction_tag: str, ordinal: int = 0, others: Sequence[str] = ()) -> str:
    """The id of an emitted event: its cause's id, the reaction's tag, and the ordinal when there is more than one.

    `others` are the further inputs of a join, a gather or a compensation. The same inputs give the same id after a
    crash.
    """
    path = f"{cause}.{reaction_tag}"
    if others:
        path += "+" + _digest("|".join(others), 6)
    if ordinal:
        path += f"-{ordinal}"
    if len(path) > LONGEST:
        return f"{path[:FLOW_LENGTH]}.~{depth_of(path)}~{_digest(path, 24)}"
    return path


def flow_of(event_id: str) -> str:
    """The id of the flow an event id belongs to."""
    return event_id[:FLOW_LENGTH]


def idempotency_key(flow: str, inputs: Sequence[str], reaction: str, label: str = "") -> str:
    """The key of one outside call: the same for every attempt, crash and edited replay of one delivery."""
    return _digest("|".join((flow, reaction, label, *inputs)), 26)
