"""What is done to a projection beside the folding: begun, rebuilt beside the live one, switched, kept, dropped.

All of it is one commit each, so that it may be done while a worker folds; what is rebuilt is folded by that worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callboard.errors import LedgerRefusal
from callboard.ledger import Position
from callboard.projection import place_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callboard.ledger import Ledger, Note
    from callboard.projection import Form, Projection

COUNTED = 10_000  # events that are counted one by one
FORMS: tuple[Form, ...] = ("projection", "rebuild", "snapshot")


async def begin(ledger: Ledger, projection: Projection, tokens: Mapping[str, int]) -> None:
    """The ledger knows the projection, and what it hears.

    Raises LedgerRefusal where it would begin without events that were pruned, or with rows of somebody else.
    """
    path, hears = place_of(projection.name), tuple(kind.name for kind in projection.hears)
    async with ledger.transaction(tokens) as tx:
        known = (await places(ledger, projection.name)).get("projection")
        if known is not None:
            if known.hears != hears:
                await tx.place([Position(path, known.since, known.pos, (), hears=hears)])
            return
        start = 0 if projection.since == "beginning" else tx.head
        await _refuse_pruned(ledger, projection, start, 'begin with what is there: Projection(since="now")')
        for state in projection.states:
            if await tx.fill(state.name, None):
                raise LedgerRefusal(
                    f"{state} has rows already, which {projection.name} did not make: give its class another "
                    "name, @state(name=...)"
                )
        await tx.place([Position(path, start, start, (), hears=hears)])


async def rebuild(ledger: Ledger, projection: Projection, record: Note, *, from_snapshot: bool = False) -> None:
    """The worker folds it anew beside the live one, from the beginning or from its snapshot.

    Raises LedgerRefusal where events are missing that the live one has folded.
    """
    async with ledger.transaction({}) as tx:
        live = await _found(ledger, projection, "projection")
        since = await _found(ledger, projection, "snapshot") if from_snapshot else live
        pos = since.pos if from_snapshot else since.since
        await _refuse_pruned(ledger, projection, pos, "begin with a snapshot that was made later (--from-snapshot)")
        for state in projection.states:
            await tx.fill(rows_of(state.name, "rebuild"), rows_of(state.name, "snapshot") if from_snapshot else None)
        path = place_of(projection.name, "rebuild")
        await tx.place([Position(path, since.since, pos, (), hears=live.hears)])
        await tx.edit()
        await tx.note([record])


async def switch(ledger: Ledger, projection: Projection, record: Note) -> None:
    """What was rebuilt is the live one. Raises LedgerRefusal as long as it has not folded what the live one has."""
    async with ledger.transaction({}) as tx:
        live, beside = [await _found(ledger, projection, form) for form in ("projection", "rebuild")]
        left = [e for e in await ledger.read(beside.pos, limit=COUNTED, types=live.hears) if e.pos <= live.pos]
        if left:
            stands = f", and stands still: {beside.by}" if beside.by else ""
            more = "more than " if len(left) == COUNTED else ""
            raise LedgerRefusal(
                f"{projection.name}: what is rebuilt is {more}{len(left):,} events behind the live one{stands}"
            )
        for state in projection.states:
            await tx.fill(state.name, rows_of(state.name, "rebuild"))
            await tx.fill(rows_of(state.name, "rebuild"), None)
        pos = max(live.pos, beside.pos)  # what lies between, if anything, is nothing that it hears
        await tx.place([Position(live.reaction, beside.since, pos, (), hears=live.hears)])
        await tx.retire([beside.reaction])
        await tx.edit()
        await tx.note([record])


async def keep(ledger: Ledger, projection: Projection, record: Note) -> None:
    """Its rows are kept as they are now, in place of the snapshot before."""
    async with ledger.transaction({}) as tx:
        live = await _found(ledger, projection, "projection")
        if live.pos == 0:
            raise LedgerRefusal(f"{projection.name} has folded nothing yet: there is nothing to keep")
        for state in projection.states:
            await tx.fill(rows_of(state.name, "snapshot"), state.name)
        path = place_of(projection.name, "snapshot")
        await tx.place([Position(path, live.since, live.pos, (), live=False, hears=live.hears)])
        await tx.note([record])


async def drop(ledger: Ledger, projection: Projection, record: Note) -> None:
    """The projection is gone with all its rows, and holds nothing back. Opened again with it, it begins anew."""
    async with ledger.transaction({}) as tx:
        await _found(ledger, projection, "projection")
        for state in projection.states:
            for form in FORMS:
                await tx.fill(rows_of(state.name, form), None)
        await tx.place([Position(place_of(projection.name, form), 0, 0, (), live=False) for form in FORMS])
        await tx.edit()
        await tx.note([record])


async def places(ledger: Ledger, name: str) -> dict[Form, Position]:
    """Where it stands, and what is kept beside it."""
    known = {each.reaction: each for each in await ledger.positions()}
    found: dict[Form, Position] = {}
    for form in FORMS:
        it = known.get(place_of(name, form))
        if it is not None and (it.live or (form == "snapshot" and it.pos > 0)):
            found[form] = it
    return found


async def _found(ledger: Ledger, projection: Projection, form: Form) -> Position:
    if (found := (await places(ledger, projection.name)).get(form)) is not None:
        return found
    said = {
        "projection": "it has never run on this ledger: `callboard run` begins it",
        "rebuild": "nothing is rebuilt beside it: `callboard projections rebuild` begins that",
        "snapshot": "it has no snapshot: `callboard projections snapshot` makes one",
    }
    raise LedgerRefusal(f"{projection.name}: {said[form]}")


async def _refuse_pruned(ledger: Ledger, projection: Projection, since: int, fix: str) -> None:
    """What is gone from the log cannot be folded again."""
    names = {kind.name for kind in projection.hears}
    gone = [each for each in await ledger.memories([0]) if each.kind == "pruned" and each.name in names]
    if late := [each for each in gone if each.pos > since]:
        count, newest = sum(int(each.part) for each in late), max(each.pos for each in late)
        which = ", ".join(sorted(each.name for each in late))
        raise LedgerRefusal(
            f"{projection.name}: {count:,} events that it folds were pruned ({which}, the newest #{newest}), so it "
            f"cannot be made from the log: {fix}; @event(keep=FOREVER) keeps those that come"
        )
