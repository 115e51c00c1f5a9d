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


def lines(build: int) -> tuple[Service, Service]:
    """The meter and its mirror; in each build their reactions have other names."""
    meter, mirror = Service("meter"), Service("mirror")
    patient = Retry(max_attempts=30, first_wait=timedelta(milliseconds=20), max_wait=timedelta(milliseconds=300))

    def record(reading: Reading, seen: Seen) -> Recorded:
        _note(seen, reading.number)
        return Recorded(dial=reading.dial, number=reading.number)

    async def copy(recorded: Recorded, copied: Copied, gauge: Gauge) -> None:
        await gauge.show(recorded.dial, recorded.number)
        _note(copied, recorded.number)

    for service, function, retry in ((meter, record, Retry()), (mirror, copy, patient)):
        was = f"{function.__name__}{build - 1}" if build else None
        function.__name__ += str(build)
        service.reaction(keeps="a reading is a reading", retry=retry, was=was)(function)
    return meter, mirror
