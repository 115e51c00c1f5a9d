"""What a service has seen of one flow: the log is the memory of joins, prerequisites, effects and answers."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from callboard.ledger import Entry, Ledger, Memory

_KEPT = 4096  # flows in memory; what falls out is read from the ledger again


class View:
    """The entries and memories of one flow, in log order, committed or of the group that is being built."""

    __slots__ = ("entries", "memories")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.memories: list[Memory] = []

    def add(self, entry: Entry) -> None:
        """See one more entry; one that was seen already is not added again."""
        if not self.entries or self.entries[-1].pos < entry.pos:
            self.entries.append(entry)
            return
        place = bisect_left(self.entries, entry.pos, key=attrgetter("pos"))
        if self.entries[place].pos != entry.pos:  # logged by others while an event of ours was seen already
            self.entries.insert(place, entry)

    def of(self, types: Collection[str], upto: int) -> Iterator[Entry]:
        """The entries of these types up to a position, in log order."""
        for entry in self.entries:
            if entry.pos > upto:
                break
            if entry.type in types:
                yield entry

    def remembered(self, kind: str, name: str, part: str) -> Iterator[Memory]:
        """The memories of this kind and name that count for the part.

        The whole flow ("") counts for, and is asked of, all parts.
        """
        for memory in self.memories:
            if memory.kind == kind and memory.name == name and (not part or not memory.part or memory.part == part):
                yield memory


class Views:
    """The views of the flows that reactions look back into; bounded."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._views: OrderedDict[int, View] = OrderedDict()

    def __getitem__(self, flow: int) -> View:
        return self._views[flow]

    def get(self, flow: int) -> View | None:
        """The view of the flow if it is in memory."""
        return self._views.get(flow)

    def begin(self, flow: int) -> View:
        """The view of a flow that has just begun."""
        view = self._views[flow] = View()
        return view

    async def fetch(self, flows: Iterable[int], upto: int) -> set[int]:
        """Afterwards the views of these flows are in memory, whole up to `upto`: what is behind it is handed out later.

        Returns those that were read.
        """
        missing = {flow for flow in flows if flow not in self._views}
        if not missing:
            return missing
        entries = await self._ledger.flow_entries(missing)
        memories = await self._ledger.memories(missing)
        self._views.update((flow, View()) for flow in missing)  # not before: a view that could not be read is none
        for entry in entries:
            if entry.pos <= upto:
                self._views[entry.flow].add(entry)
        for memory in memories:
            self._views[memory.flow].memories.append(memory)
        return missing

    def forget(self, flows: Iterable[int] | None = None) -> None:
        """Drop these views, or all: what they held may not have been committed."""
        if flows is None:
            self._views.clear()
            return
        for flow in flows:
            self._views.pop(flow, None)

    def trim(self) -> None:
        """Keep memory bounded. Called between groups, when nobody holds a view."""
        while len(self._views) > _KEPT:
            self._views.popitem(last=False)
