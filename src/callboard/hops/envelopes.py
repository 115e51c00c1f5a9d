"""Between an entry and an envelope: how one is made of the other, and what an envelope is known by."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from callboard.envelope import Envelope
from callboard.event import EventType, FlowCancelled, FlowTimedOut, ReactionFailed, event_type
from callboard.hops.abroad import DIRECTED
from callboard.ids import flow_of
from callboard.ledger import Entry, Scatter

if TYPE_CHECKING:
    from callboard.broker import Delivery
    from callboard.hops.abroad import Abroad
    from callboard.hops.work import Work

_SPEAK: dict[str, Any] = {f"callboard.{cls.__name__}": cls for cls in (FlowCancelled, FlowTimedOut, ReactionFailed)}


def seal(abroad: Abroad, entry: Entry, causation_id: str | None, content_type: str) -> Envelope:
    """The envelope of an entry of this ledger, as it goes to another."""
    content_type = "application/json" if entry.type.startswith(DIRECTED) else content_type
    sealed = as_envelope(entry, abroad.address, causation_id, content_type)
    return replace(sealed, ledger=abroad.address, choreography=abroad.name)


def as_envelope(entry: Entry, address: str, causation_id: str | None, content_type: str) -> Envelope:
    """An entry of the ledger at this address under the names that it has on the road."""
    emitted = entry.by if entry.by is not None and not entry.by.startswith("callboard.") else None
    return Envelope(
        id=entry.id, source=entry.source or (address if emitted is None else emitted.partition(".")[0]),
        type=entry.type, data=entry.data, time=entry.time, correlation_id=flow_of(entry.id), causation_id=causation_id,
        key=entry.key, version=entry.version,
        scatters=tuple((frame.type, frame.id, frame.ordinal, frame.size) for frame in entry.scatters),
        reaction=entry.by, content_type=content_type,
    )  # fmt: skip


def opened(envelope: Envelope, flow: int, now: int) -> Entry:
    """The entry of an envelope that came from elsewhere, without a place yet."""
    return Entry(
        0,
        envelope.id,
        envelope.type,
        flow,
        now if envelope.time is None else envelope.time,
        envelope.data,
        envelope.key,
        0,
        envelope.reaction,
        tuple(Scatter(*frame) for frame in envelope.scatters),
        (),
        envelope.source,
        envelope.version,
        envelope.causation_id,
    )


def mark_of(delivery: Delivery) -> str:
    """What names it for ever: CloudEvents' source and id, or else its bytes."""
    if delivery.envelope is None:
        return f"bytes {blake2b(delivery.data, digest_size=16).hexdigest()}"
    return f"{delivery.envelope.source} {delivery.envelope.id}"


def kind_of(work: Work, name: str) -> EventType | None:
    """The type with this name on the wire; None if this build does not know it."""
    if (kind := work.types.get(name)) is not None:
        return kind
    origin, _, inner = name.partition("[")
    if origin in _SPEAK and name.endswith("]") and (about := kind_of(work, inner[:-1])) is not None:
        try:
            return event_type(_SPEAK[origin][about.annotation])
        except TypeError:
            return None  # a built-in of a built-in that never happens
    return None
