"""Everything callboard raises on purpose: one tree, sorted by who must act. Each text says what, where, and the fix."""

import inspect
from types import FrameType
from typing import Any

PACKAGE = __file__.removesuffix("errors.py")


class CallboardError(Exception):
    """What callboard raises on purpose derives from this."""


class ContractError(CallboardError):
    """A declaration is wrong: whoever wrote the code at `where` does what `fix` says. Raised before anything runs."""

    where: str
    fix: str

    def __init__(self, where: str, fix: str) -> None:
        super().__init__(where, fix)
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.where}: {self.fix}"


class FlowError(CallboardError):
    """The caller of `publish` (or of a flow's handle) named a flow that cannot take the event."""

    flow: Any  # the handle of the flow that is meant, where there is one

    def __init__(self, why: str, flow: Any = None) -> None:
        super().__init__(why)
        self.flow = flow


class FlowIsOpen(FlowError):
    """A different starting event with this key already began a flow, and that flow still runs."""


class FlowHasEnded(FlowError):
    """The flow with this key has its verdict; its key names it until it is pruned."""


class NoSuchFlow(FlowError):
    """No flow carries this key, and the event starts none and declares no key of its own."""


class KeyReused(CallboardError):
    """One idempotency key came with two different events: give each its own."""


class PublishInReaction(CallboardError):
    """A reaction called `publish`: return the event instead, and add it to the annotation."""


class TransactionRefused(CallboardError):
    """A reaction asked of `ctx.transaction` what it does not give; the same run would ask it again."""


class Conflict(CallboardError):
    """Somebody else changed a row since it was loaded: nothing was saved, load and try again."""


class OutboxFull(CallboardError):
    """The broker has not taken events for too long, or the ledger no commits: nothing was published, try again."""


class TooLarge(CallboardError):
    """An event, a fan-out or a chain of events is over its stated limit."""


class LedgerError(CallboardError):
    """The database needs its operator."""


class LedgerRefusal(LedgerError):
    """The ledger is well, and holds something that forbids what was asked: the text says what, and the way out."""


class LedgerBusy(LedgerError):
    """Another process holds the ledger's write lock, or owns the service."""


class LedgerLost(LedgerError):
    """This process is no longer the owner: another took over, and nothing of this commit was written."""


class LedgerCorrupt(LedgerError):
    """What the ledger holds contradicts itself: stop, and restore."""


class BrokerError(CallboardError):
    """The broker needs its operator."""


class BrokerUnavailable(BrokerError):
    """The broker did not answer; what was to be sent stays in the outbox."""


class CodecError(CallboardError):
    """Bytes and events do not fit."""


class Undecodable(CodecError):
    """These bytes are not this type: they are kept as they came."""


class Unencodable(CodecError):
    """This value cannot be written so that it can be read back."""


def place() -> str:
    """Where the user's code called callboard, as "file:line"."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((PACKAGE, "<string>")):
        frame = frame.f_back  # "<string>" is the __init__ that dataclasses write
    return "(unknown)" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
