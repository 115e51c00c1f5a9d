"""What lies outside this ledger: the services that keep one of their own, what they hear, and the broker in between.

What ledgers say to each other about flows travels as events too, under types that name one receiver.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from callboard.contract import types_in
from callboard.ledger import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from callboard.broker import Broker
    from callboard.choreography import Choreography
    from callboard.contract import Contract
    from callboard.envelope import Envelope
    from callboard.event import EventType
    from callboard.flow import Flow
    from callboard.ledger import Entry

RELAY = "(relay)"
PUBLISHED = "callboard.Published["  # an event on its way to the ledger that keeps its flow
REFUSED = "callboard.FlowRefused["  # what that ledger answers: it was not let in,
ENDED = "callboard.FlowEnded["  # or the flow that it was let into has its verdict
ASKED = "callboard.FlowAsked["  # whether a flow has its verdict: what waits in it for nothing is then closed
DIRECTED = (PUBLISHED, REFUSED, ENDED, ASKED)
RECEIVED = "callboard.Received"  # what could not be read; kept as it came

_FAILED = "callboard.ReactionFailed["
_MOST = 100_000  # entries that may wait for the broker; then `publish` refuses


def intake_of(service: str | None) -> str:
    """Under which name the intake of a service, or of answers, stands among the ledger's reactions."""
    return "(intake)" if service is None else f"{service}.(intake)"


class Request(Struct):
    """An event published in one ledger, for a flow that is kept in another; or no event, only the wish to be told."""

    type: str = ""
    version: int = 1
    data: bytes = b""
    flow: tuple[str, str] | None = None  # name and key, where the publisher named them
    idempotency_key: str | None = None


class Refusal(Struct):
    """Why a request was not let in: the error that `publish` would have raised there."""

    error: str
    text: str
    flow: tuple[str, str] | None = None  # the flow that is meant, where there is one


class Ending(Struct):
    """How the flow ended that a request was let into, and the events that decided it."""

    flow: str  # its id
    verdict: str
    ended: int
    by: str | None
    leaked: str | None
    events: list[tuple[str, int, bytes]]  # type, version, data


class Abroad:
    """One ledger among several of one choreography, as one process sees it.

    `here` are the services of this process. What others hear is sent to them even if they share this ledger: what comes
    back was written down before, and is dropped.
    """

    def __init__(self, choreography: Choreography, broker: Broker, *, here: Collection[str], identity: str) -> None:
        self.broker = broker
        self.name = choreography.name
        self.address = address_of(identity)
        self.here = frozenset(here)
        self.heard = {service: types_heard(choreography, service) for service in choreography.services}
        outside = [kinds for service, kinds in self.heard.items() if service not in self.here]
        self.own: set[str] = set()  # ids of events that were sent lately; those that are heard here come back
        self.outside = frozenset[str]().union(*outside, (kind.name for kind in choreography.outgoing))
        self.token: int | None = None  # of the relay, if this process owns it
        self.sent = 0  # everything up to here is with the broker
        self.sent_at = 0  # when that was
        self.saved = 0  # as the ledger has it
        self.away: tuple[int, str] | None = None  # since when the broker does not do its part, and what it says
        self.refused: list[tuple[Entry, str]] = []  # what the broker never takes, and why; not written down yet
        self.idle: set[str] = set()  # those of the relay and the intakes that have nothing parked to look at again
        self._homes = {name: choreography.home_of(flow).name for name, flow in choreography.flows.items()}

    def subscription(self, service: str) -> str:
        """The place of a service at the broker."""
        return f"{self.name}.{service}"

    def declarations(self) -> Iterable[tuple[str, Collection[str]]]:
        """Every subscription that somebody may send to: nothing is lost while those who receive are not there yet."""
        for service, kinds in self.heard.items():
            here = self.subscription(service)
            yield here, {*kinds, f"{PUBLISHED}{here}]", f"{ASKED}{here}]"}
        yield self.address, [f"{REFUSED}{self.address}]", f"{ENDED}{self.address}]"]

    def keeps(self, flow: str) -> bool:
        """Whether the keys, deadlines and verdicts of this Flow are with a service of this process."""
        return self._homes[flow] in self.here

    def request_type(self, flow: str) -> str:
        """The type of an envelope that asks the ledger of this Flow."""
        return f"{PUBLISHED}{self.subscription(self._homes[flow])}]"

    def questions(self) -> set[str]:
        """The types of envelopes that ask the other ledgers that keep flows whether one has its verdict."""
        return {f"{ASKED}{self.subscription(home)}]" for home in self._homes.values() if home not in self.here}

    def is_full(self, head: int) -> bool:
        """Whether so much waits for the broker that nothing more may be published here."""
        return self.token is not None and head - self.sent > _MOST

    def position(self) -> Position:
        """Where the relay stands; where the broker is away, since when and why."""
        since, why = self.away or (None, None)
        return Position(RELAY, 0, self.sent, (), paused=since, by=why)

    def comes_back(self, envelope: Envelope | None) -> bool:
        """Whether this process has sent it; of what it does not remember the log knows."""
        return envelope is not None and envelope.ledger == self.address and envelope.id in self.own

    def concerns(self, entry: Entry) -> bool:
        """Whether the entry began here and somebody outside waits for it."""
        if entry.source is not None:
            return False
        return entry.type in self.outside or entry.type.startswith(DIRECTED)


def address_of(identity: str) -> str:
    """The name of the ledger with this identity, as the source of what was published in it."""
    return f"ledger-{identity}"


@lru_cache(256)
def types_heard(choreography: Choreography, service: str) -> frozenset[str]:
    """The types that the ledger of a service must see: what its reactions take, wait for or look at, and its flows."""
    kinds: set[str] = set()
    for contract in choreography.contracts.values():
        if contract.service == service:
            kinds |= {kind.name for kind in _looked_at(contract)}
    for flow in choreography.flows.values():
        if choreography.home_of(flow).name == service:
            kinds |= types_of_flow(choreography, flow)
    for projection in choreography.projections.values():
        if choreography.home_of(projection).name == service:
            kinds |= {kind.name for kind in projection.hears}
    return frozenset(kinds)


def _looked_at(contract: Contract) -> Iterable[EventType]:
    yield from contract.hears
    for given in contract.givens:
        yield from given.types
    for shape in (contract.options.needs, contract.options.unless):
        yield from types_in(shape)


def types_of_flow(choreography: Choreography, flow: Flow) -> set[str]:
    """Everything that may happen in a flow: its home sees all, so one ledger knows what leaked and what is missing."""
    emitted = {kind.name for contract in choreography.contracts.values() for kind in contract.emits}
    start = flow.start.name
    kinds = {start, f"callboard.FlowTimedOut[{start}]", f"callboard.FlowCancelled[{start}]"}
    for contract in choreography.contracts.values():
        kinds |= {k.name for k in contract.hears if k.inner is None and k.name not in emitted and k.carries(flow.key)}
    todo = list(choreography.contracts.values())
    while reached := [contract for contract in todo if any(kind.name in kinds for kind in contract.hears)]:
        for contract in reached:
            todo.remove(contract)
            kinds |= {kind.name for kind in contract.emits}
            kinds |= {f"{_FAILED}{kind.name}]" for kind in contract.hears if not kind.name.startswith(_FAILED)}
    return kinds
