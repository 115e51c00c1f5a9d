"""Event-driven choreographies from typed functions: drawn, checked, broken on purpose, run and watched."""

from typing import TYPE_CHECKING, Any

from callboard.choreography import Choreography
from callboard.clock import FOREVER, Clock, ManualClock, SystemClock
from callboard.codec import Codec
from callboard.codecs.json import JsonCodec
from callboard.errors import (
    BrokerError,
    BrokerUnavailable,
    CallboardError,
    CodecError,
    Conflict,
    ContractError,
    FlowError,
    FlowHasEnded,
    FlowIsOpen,
    KeyReused,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    LedgerLost,
    LedgerRefusal,
    NoSuchFlow,
    OutboxFull,
    PublishInReaction,
    TooLarge,
    TransactionRefused,
    Undecodable,
    Unencodable,
)
from callboard.event import FlowCancelled, FlowTimedOut, ReactionFailed, event, failure, port, state
from callboard.flow import Flow
from callboard.guard import Breaker, Guarded
from callboard.projection import Projection
from callboard.reaction import Context, Read, States
from callboard.retry import Retry
from callboard.service import Service

if TYPE_CHECKING:
    from callboard.board import Board, Completion, Edit, FlowHandle

__all__ = [
    "Board",
    "Breaker",
    "BrokerError",
    "BrokerUnavailable",
    "CallboardError",
    "Choreography",
    "Clock",
    "Codec",
    "CodecError",
    "Completion",
    "Conflict",
    "Context",
    "ContractError",
    "Edit",
    "FOREVER",
    "Flow",
    "FlowCancelled",
    "FlowError",
    "FlowHandle",
    "FlowHasEnded",
    "FlowIsOpen",
    "FlowTimedOut",
    "Guarded",
    "JsonCodec",
    "KeyReused",
    "LedgerBusy",
    "LedgerCorrupt",
    "LedgerError",
    "LedgerLost",
    "LedgerRefusal",
    "ManualClock",
    "NoSuchFlow",
    "OutboxFull",
    "Projection",
    "PublishInReaction",
    "ReactionFailed",
    "Read",
    "Retry",
    "Service",
    "States",
    "SystemClock",
    "TooLarge",
    "TransactionRefused",
    "Undecodable",
    "Unencodable",
    "event",
    "failure",
    "port",
    "state",
]


def __getattr__(name: str) -> Any:
    """What only a running choreography needs is imported when it is asked for."""
    if name in ("Board", "Completion", "Edit", "FlowHandle"):
        from callboard import board

        return getattr(board, name)
    raise AttributeError(f"module 'callboard' has no attribute {name!r}")
