"""The few lines that each check is taught with, made into a choreography: what they take for declared is here."""

import linecache
from datetime import timedelta
from importlib.abc import InspectLoader
from itertools import count
from types import CodeType, ModuleType
from typing import Any, Protocol

from callboard import (
    Choreography,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    ReactionFailed,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)

EVENTS = (
    "Ordered", "Held", "Paid", "Sent", "Packed", "Released", "Refunded", "Restocked", "Closed", "Cancelled", "Noted",
    "Order",
)  # fmt: skip
FAILURES = ("SoldOut", "Declined", "NotSent", "Failed")
SERVICES = ("stock", "money", "parcels", "desk")
_NUMBERS = count(1)


def made(name: str, mark: Any) -> Any:
    return mark(type(name, (), {"__annotations__": {"order": str, "sku": str}, "__module__": __name__}))


KINDS = {**{name: made(name, event) for name in EVENTS}, **{name: made(name, failure) for name in FAILURES}}


@state(key="sku")
class Shelf:  # other flows see it too
    sku: str
    free: int = 3


@state(key="order")
class Note:  # private to the flow: its key is the flow's own
    order: str
    text: str = ""


@port
class Bank(Protocol): ...


@port
class Carrier(Protocol): ...


@port
class Post(Protocol): ...


KNOWN = {
    **KINDS,
    **{each.__name__: each for each in (Shelf, Note, Bank, Carrier, Post, Flow, FlowTimedOut, FlowCancelled)},
    "ReactionFailed": ReactionFailed,
    "Retry": Retry,
    "States": States,
    "Read": Read,
    "timedelta": timedelta,
    "event": event,
}


class Lines(InspectLoader):
    """A module that is not in a file."""

    def __init__(self, lines: str) -> None:
        self.lines = lines

    def get_source(self, fullname: str) -> str:
        return self.lines

    def get_code(self, fullname: str) -> CodeType:
        """Compiled under a name by which `inspect` finds the lines again."""
        file = f"{fullname}.py"
        linecache.cache[file] = (len(self.lines), None, self.lines.splitlines(keepends=True), file)
        return self.source_to_code(self.lines, file)


def choreography(lines: str) -> Choreography:
    """The choreography that these lines declare."""
    services = {name: Service(name) for name in SERVICES}
    told = ModuleType(f"fragment_{next(_NUMBERS)}")
    vars(told).update({**KNOWN, **services})
    Lines(lines).exec_module(told)
    incoming, outgoing = getattr(told, "incoming", None), getattr(told, "outgoing", None)
    return Choreography("shop", *services.values(), flows=told.flows, incoming=incoming, outgoing=outgoing)
