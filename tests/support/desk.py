"""One port whose calls a test holds in its hand, and what reactions have told, read back from the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from callboard import Choreography, port
from callboard.event import event_type

from .outside import Outside
from .stage import Stage

T = TypeVar("T")


@port
class Desk(Protocol):
    async def take(self, key: str) -> bool: ...
    async def void(self, key: str) -> None: ...


class Clerk(Desk):
    """Takes a key once; a voided key is taken no more."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def take(self, key: str) -> bool:
        return await self._outside.take("take", key)

    async def void(self, key: str) -> None:
        await self._outside.void("void", key)


def on_stage(choreography: Choreography, folder: Path, outside: Outside | None = None, *, seed: int = 0) -> Stage:
    """A stage with a clerk, if anybody takes one."""
    ports = [Clerk(outside or Outside())] if Desk in choreography.ports else []
    return Stage(choreography, folder / "stage.db", ports=ports, seed=seed)


class Trouble:
    """How often a run of something fails before it goes well."""

    def __init__(self, **times: int) -> None:
        self.times = times

    def at(self, name: str) -> None:
        if self.times.get(name, 0) > 0:
            self.times[name] -= 1
            raise ConnectionError(f"{name} has trouble, as the test has it")


ALWAYS = 1_000_000  # so often a run fails that never goes well


async def told(stage: Stage, kind: type[T], so: Callable[[T], bool] = lambda _: True) -> list[T]:
    """The events of this class in the log, in its order."""
    name = event_type(kind).name
    found: list[Any] = [
        stage.work.value(entry) for entry in await stage.ledger.read(0, limit=1_000_000) if entry.type == name
    ]
    return [event for event in found if so(event)]


async def parked_as(stage: Stage) -> list[tuple[str, str]]:
    """What is parked, in the order of the log: which reaction, and why."""
    rows = sorted(await stage.parked(), key=lambda row: (row.pos, row.effect, row.reaction))
    return [(row.reaction, row.why) for row in rows]
