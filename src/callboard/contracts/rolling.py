"""The order in which services go from one version to the next, so that at no time one cannot read another."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from callboard.contracts.compatibility import emitted, taken, unread_event
from callboard.contracts.file import ContractFile


class Wall(Struct, frozen=True):
    """Two services that cannot stand beside each other in these versions, and why."""

    event: str
    emitter: str
    emitter_is_new: bool
    reader: str
    reader_is_new: bool
    reactions: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        one, other = ("new" if each else "old" for each in (self.emitter_is_new, self.reader_is_new))
        return f"the {one} {self.emitter} says {self.event}, which the {other} {self.reader} cannot read: {self.why}"


class Upgrade(Struct, frozen=True):
    """An order that is safe at each step, or the walls that stand in the way of every one."""

    order: tuple[str, ...]
    walls: tuple[Wall, ...]
    looked: int  # at so many mixtures of old and new


def upgrade(before: ContractFile, after: ContractFile) -> Upgrade:
    """A safe order for the services that changed: those that no wall joins are looked at apart from each other."""
    walls = list(_walls(before, after))
    moving = {each for wall in walls for each in (wall.emitter, wall.reader)} & {*before.services} & {*after.services}
    found = [_search(group, moving) for group in _joined(walls)]
    order = tuple(each for way in found for each in way.order)
    in_the_way = tuple(wall for way in found for wall in way.walls)
    return Upgrade(() if in_the_way else order, in_the_way, sum(way.looked for way in found))


def _joined(walls: list[Wall]) -> list[list[Wall]]:
    groups: list[list[Wall]] = []
    for wall in walls:
        ends = {wall.emitter, wall.reader}
        near = [group for group in groups if any(ends & {each.emitter, each.reader} for each in group)]
        groups = [group for group in groups if group not in near] + [[*(each for it in near for each in it), wall]]
    return groups


def _search(walls: list[Wall], moving: set[str]) -> Upgrade:
    """Step by step, and never twice in one mixture of old and new."""
    ends = sorted({each for wall in walls for each in (wall.emitter, wall.reader)} & moving)
    seen: set[frozenset[str]] = set()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        order = waiting.pop()
        if frozenset(order) in seen or any(_stands(wall, order, moving) for wall in walls):
            continue
        seen.add(frozenset(order))
        if len(order) == len(ends):
            return Upgrade(order, (), len(seen))
        waiting += [(*order, each) for each in reversed(ends) if each not in order]
    return Upgrade((), tuple(walls), len(seen))


def _stands(wall: Wall, upgraded: Sequence[str], moving: set[str]) -> bool:
    """The wall is there when just these are upgraded. Who never moves is there in whichever version he has."""
    pairs = ((wall.emitter, wall.emitter_is_new), (wall.reader, wall.reader_is_new))
    return all(each not in moving or (each in upgraded) is is_new for each, is_new in pairs)


def _walls(before: ContractFile, after: ContractFile) -> Iterator[Wall]:
    """Every pair of an emitter and a reader, each old or new, of which the second cannot read the first."""
    versions = ((before, False), (after, True))
    for one, emitter_is_new in versions:
        for other, reader_is_new in versions:
            for reader in other.services:
                for event, reactions in taken(other, reader).items():
                    why = "; ".join(unread_event(event, one, other))
                    for emitter in one.services if why else ():
                        if event in emitted(one, emitter) and emitter != reader:
                            yield Wall(event, emitter, emitter_is_new, reader, reader_is_new, tuple(reactions), why)
