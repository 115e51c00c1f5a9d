"""The promise of a broker: it carries envelopes between ledgers, at least once.

Order, retries, waiting and dead letters are the ledgers' business, so a broker stays thin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from callboard.envelope import Envelope
from callboard.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = ["Broker", "Delivery", "Features", "Unsendable"]


class Features(NamedTuple):
    """What this kind of broker claims; the conformance suite holds it to what it claims."""

    keeps_order: bool  # envelopes with the same `order`, sent one after the other, arrive in that order
    replays_history: bool  # a new subscription can be handed what was sent before it was declared
    survives_restart: bool  # what was sent and not acknowledged is there after the broker's crash


class Delivery(NamedTuple):
    """One handing-over. Bytes that are no envelope are handed over too: who receives them keeps them."""

    envelope: Envelope | None
    data: bytes  # as they came
    receipt: Any  # the broker's own; needed to acknowledge
    error: str | None = None  # why it is no envelope

    @classmethod
    def of(cls, data: bytes, receipt: Any) -> Delivery:
        """The delivery of these bytes."""
        try:
            return cls(Envelope.decode(data), data, receipt)
        except Undecodable as error:
            return cls(None, data, receipt, str(error))


class Unsendable(NamedTuple):
    """An envelope that this broker will never take, and why."""

    envelope: Envelope
    why: str


class Broker(Protocol):
    """What carries envelopes. A subscription is a service's place at it. Every method may raise BrokerUnavailable."""

    features: Features

    async def open(self, wake: Callable[[], None]) -> None:
        """Connect. `wake` is called, on the loop, when there may be something to receive.

        A broker that cannot tell never calls it, and is asked from time to time.
        """
        ...

    async def close(self, wake: Callable[[], None]) -> None:
        """Whoever opened with `wake` needs it no more. What was received and not acknowledged is handed over again."""
        ...

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        """From now on the subscription gets what is sent of these types, beside those it was declared for before."""
        ...

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        """Each is safe with the broker, for every subscription to its type, but those that are returned.

        If it raises, any of them may have been sent: the caller sends all of them again.
        """
        ...

    async def receive(self, subscription: str, *, limit: int) -> Sequence[Delivery]:
        """Up to `limit` of what waits, at once; nothing if nothing waits."""
        ...

    async def ack(self, subscription: str, deliveries: Sequence[Delivery]) -> None:
        """These are written down: they are not handed over again, or only if this very call is lost."""
        ...
