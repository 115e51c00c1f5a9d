"""What the ledger that keeps a flow answers to the one that asked: it was refused, or how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callboard import errors
from callboard.hops.abroad import ENDED, PUBLISHED, REFUSED, Ending, Refusal, Request
from callboard.ids import FLOW_LENGTH, flow_of
from callboard.ledger import Entry, Memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callboard.hops.group import Group
    from callboard.hops.work import Work
    from callboard.ledger import FlowRow

BY = "callboard.tracker"


def watched(flow: int, name: str, address: str, request: str, pos: int) -> Memory:
    """The ledger at `address` wants to know how this flow ends; `request` is what it knows it by."""
    return Memory(flow, "watched", f"{address} {request}", name, pos)


async def tell_endings(work: Work, group: Group) -> None:
    """Every ledger that asked is told of the verdicts of this group, in its commit."""
    ended = {(row.number, row.name): row for row in group.decided if row.verdict is not None}
    if not ended:
        return
    for memory in await work.ledger.memories({number for number, _ in ended}):
        row = ended.get((memory.flow, memory.part))
        if memory.kind == "watched" and row is not None:
            entries = [*await work.ledger.flow_entries([row.number]), *group.entries]
            group.append(ending(row, memory, [entry for entry in entries if entry.flow == row.number], group.now))


def ending(row: FlowRow, memory: Memory, entries: Iterable[Entry], now: int) -> Entry:
    """The entry that tells one watcher how the flow ended."""
    address, _, request = memory.name.partition(" ")
    kinds = (row.by or "").split(", ")
    deciding = [(entry.type, entry.version, entry.data) for entry in entries if entry.type in kinds]
    told = Ending(row.id, row.verdict or "", row.ended or now, row.by, row.leaked, deciding)
    event_id = f"{request}.ended-{row.name}"
    return Entry(0, event_id, f"{ENDED}{address}]", row.number, now, msgspec.json.encode(told), None, memory.pos, BY)


def refusal(error: errors.CallboardError, address: str, request: str, now: int) -> Entry:
    """The entry that tells the publisher why its event was not let in. It belongs to no flow here."""
    flow = getattr(error, "flow", None)
    meant = (flow.name, flow.key) if flow is not None and flow.key is not None else None
    told = Refusal(type(error).__name__, str(error), meant)
    return Entry(0, f"{request}.refused", f"{REFUSED}{address}]", 0, now, msgspec.json.encode(told), None, 0, BY)


def read_answer(entries: Sequence[Entry]) -> Refusal | Ending | None:
    """What was answered to the request that these entries begin with, if anything was."""
    for entry in entries:
        if entry.type.startswith(REFUSED):
            return msgspec.json.decode(entry.data, type=Refusal)
        if entry.type.startswith(ENDED):
            return msgspec.json.decode(entry.data, type=Ending)
    return None


def told_entries(told: Ending, known: Sequence[Entry]) -> list[Entry]:
    """The events that an ending tells of, but those that this ledger has itself."""
    have = {(entry.type, entry.data) for entry in known}
    flow = known[0].flow if known else 0
    return [
        Entry(0, told.flow, kind, flow, told.ended, data, version=version)
        for kind, version, data in told.events
        if (kind, data) not in have
    ]


def find_start(kind: str, entries: Sequence[Entry]) -> Entry | None:
    """The event of this type that began a flow, also where it is only on its way to the ledger that keeps the flow."""
    for entry in entries:
        if entry.type == kind and len(entry.id) == FLOW_LENGTH:
            return entry
        if entry.type.startswith(PUBLISHED):
            request = msgspec.json.decode(entry.data, type=Request)
            if request.type == kind:
                return Entry(entry.pos, flow_of(entry.id), kind, entry.flow, entry.time, request.data)
    return None


def error_of(told: Refusal) -> errors.CallboardError:
    """The error that `publish` would have raised in the ledger that keeps the flow."""
    kind = getattr(errors, told.error, errors.FlowError)
    return kind(told.text) if issubclass(kind, errors.CallboardError) else errors.FlowError(told.text)
