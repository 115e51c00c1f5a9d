"""An envelope: an event and what the road needs, under CloudEvents' names."""

from datetime import UTC, datetime, timedelta

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder, decode, encode

from callboard.clock import EPOCH
from callboard.errors import Undecodable
from callboard.ids import flow_of

__all__ = ["Envelope", "Frame"]

Frame = tuple[str, str, int, int]
"""One frame of a scatter on the road: the type that was listed, the scatter's id, the place in it, and its size."""


class Envelope(Struct, frozen=True, kw_only=True):
    """One event between two ledgers. `source` and `id` together name it; sent again it is the same."""

    id: str
    source: str  # the service that emitted it, or the address of the ledger where it was published
    type: str
    data: bytes
    time: int | None = None  # microseconds since 1970
    correlation_id: str | None = None  # its flow
    causation_id: str | None = None  # the event that directly caused it
    key: str | None = None  # what it is ordered by, if it belongs to no flow
    version: int = 1
    scatters: tuple[Frame, ...] = ()
    reaction: str | None = None  # that emitted it
    ledger: str | None = None  # the address of the ledger that sent it
    choreography: str | None = None  # that both ledgers are of
    content_type: str = "application/json"

    @property
    def flow(self) -> str:
        """The id of its flow, also where only the id of the event says it."""
        return self.correlation_id or flow_of(self.id)

    @property
    def order(self) -> str:
        """What has the same, keeps its order, on a broker that orders by key: the event's own key, else its flow."""
        return self.key or self.correlation_id or self.id

    def encode(self) -> bytes:
        """A CloudEvent in JSON. Data that is JSON itself stands in it as it is."""
        embed = _is_json(self.content_type)
        return encode(
            _CloudEvent(
                specversion="1.0",
                id=self.id,
                source=self.source,
                type=self.type,
                time=None if self.time is None else EPOCH + timedelta(microseconds=self.time),
                datacontenttype=self.content_type,
                correlationid=self.correlation_id,
                causationid=self.causation_id,
                partitionkey=self.key,
                dataversion=self.version,
                scatters=encode(self.scatters).decode() if self.scatters else None,
                reaction=self.reaction,
                ledger=self.ledger,
                choreography=self.choreography,
                data=Raw(self.data) if embed else UNSET,
                data_base64=None if embed else self.data,
            )
        )

    @classmethod
    def decode(cls, written: bytes) -> "Envelope":
        """The envelope in these bytes; Undecodable if they are no CloudEvent in JSON."""
        try:
            read = _read(written)
            scatters = decode(read.scatters, type=tuple[Frame, ...]) if read.scatters else ()
        except (DecodeError, ValidationError, UnicodeDecodeError) as error:
            raise Undecodable(f"this is no CloudEvent in JSON: {error}") from error
        if not (read.specversion.startswith("1.") and read.id and read.source and read.type):
            raise Undecodable("this is no CloudEvent: specversion 1.0, id, source and type must be there")
        return cls(
            id=read.id, source=read.source, type=read.type, data=_data_of(read),
            time=None if read.time is None else _micros(read.time), correlation_id=read.correlationid,
            causation_id=read.causationid, key=read.partitionkey, version=read.dataversion, scatters=scatters,
            reaction=read.reaction, ledger=read.ledger, choreography=read.choreography,
            content_type=read.datacontenttype or "application/json",
        )  # fmt: skip


class _CloudEvent(Struct, kw_only=True, omit_defaults=True):
    """The members of the JSON object; extensions have lower-case names without underscores."""

    specversion: str
    id: str
    source: str
    type: str
    time: datetime | None = None
    datacontenttype: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    partitionkey: str | None = None
    dataversion: int = 1
    scatters: str | None = None  # JSON in a string: an attribute is no list
    reaction: str | None = None
    ledger: str | None = None
    choreography: str | None = None
    data: Raw | UnsetType = UNSET
    data_base64: bytes | None = None


_read = Decoder(_CloudEvent).decode


def _data_of(read: _CloudEvent) -> bytes:
    if read.data_base64 is not None:
        return read.data_base64
    return b"null" if read.data is UNSET else bytes(read.data)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)
