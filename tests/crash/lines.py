"""Order per line: readings with a number, one line for each key, and two states that write down what they saw."""

from datetime import timedelta
from typing import Protocol

from callboard import Retry, Service, event, port, state


@event(key="dial")
class Reading:
    dial: str
    number: int


@event(key="dial")
class Recorded:
    dial: str
    number: int


meter, mirror = Service("meter"), Service("mirror")


@state(key="dial")
class Seen:
    """What `record` saw of one dial."""

    dial: str
    last: int = 0
    broken: int = 0  # so often the next number was another than the one after the last


@state(key="dial")
class Copied:
    """What `copy` saw of one dial."""

    dial: str
    last: int = 0
    broken: int = 0


@port
class Gauge(Protocol):
    async def show(self, dial: str, number: int) -> None: ...


def _note(row: Seen | Copied, number: int) -> None:
    if number != row.last + 1:
        row.broken += 1
    row.last = number


@meter.reaction(keeps="a reading is a reading")
def record(reading: Reading, seen: Seen) -> Recorded:
    _note(seen, reading.number)
    return Recorded(dial=reading.dial, number=reading.number)


@mirror.reaction(
    keeps="a reading is a reading",
    retry=Retry(max_attempts=30, first_wait=timedelta(milliseconds=20), max_wait=timedelta(milliseconds=300)),
)
async def copy(recorded: Recorded, copied: Copied, gauge: Gauge) -> None:
    await gauge.show(recorded.dial, recorded.number)
    _note(copied, recorded.number)
