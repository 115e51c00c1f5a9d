"""Recorded orders, replayed: every order is a flow whose events come at their recorded moments, in virtual time.

    python replay.py                                          the sample beside this file, made up
    python replay.py --orders ../shared/data/olist/orders.csv any file with these columns

The clock follows the data: it stands at the moment that is told, and stops at every deadline and timer on the way.
Exit code 1 if an order is lost, doubled, or ends otherwise than its record says.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from recorded import Till, marketplace
from records import WHAT_CAME_OF_IT, Recorded, contradiction, read

from callboard import FOREVER, Board, ManualClock

SAMPLE = Path(__file__).with_name("sample_orders.csv")
RARE = 5  # exceptions of which there are so few are listed one by one


class Drawer(Till):
    """A till that counts: what was taken for each order, and what it holds."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.holds: dict[str, str] = {}

    async def collect(self, order_id: str, *, key: str) -> None:
        if key not in self.holds:
            self.taken[order_id] += 1
        self.holds[key] = order_id

    async def give_back(self, *, key: str) -> None:
        del self.holds[key]


@dataclass
class Ended:
    """What became of one order."""

    verdict: str | None
    types: list[str]


@dataclass
class Replay:
    """One run of the record."""

    orders: Sequence[Recorded]
    url: str
    drawer: Drawer = field(default_factory=Drawer)
    moments: int = 0
    ended: dict[str, Ended] = field(default_factory=dict[str, Ended])

    async def run(self) -> None:
        """Every order has been told to its end, and past the last deadline."""
        script = sorted((moment, number, event) for number, (moment, event) in enumerate(self._script()))
        clock = ManualClock(script[0][0])
        async with marketplace.open(self.url, ports=[self.drawer], clock=clock, keep=FOREVER) as board:
            progress = time.monotonic()
            for moment, _, event in script:
                await turn(board, clock, moment)
                await board.publish(event)
                self.moments += 1
                if time.monotonic() > progress + 2:
                    progress = time.monotonic()
                    print(f"{moment:%Y-%m-%d}  {self.moments}/{len(script)} moments", file=sys.stderr)
            await turn(board, clock, script[-1][0] + timedelta(days=365))
            for order in self.orders:
                flow = board.flow("order", order.order_id)
                row = await flow.row()
                self.ended[order.order_id] = Ended(row.verdict, [type(each).__name__ for each in await flow.events()])

    def _script(self) -> Iterable[tuple[datetime, Any]]:
        for order in self.orders:
            yield from order.told()

    def contradictions(self) -> list[str]:
        """Orders that are lost, doubled, or ended otherwise than their record says."""
        found: list[str] = []
        held = Counter(self.drawer.holds.values())
        for order in self.orders:
            ended = self.ended[order.order_id]
            takings = self.drawer.taken[order.order_id]
            why = contradiction(order, ended.verdict, ended.types, takings, held[order.order_id])
            if why is not None:
                found.append(f"{order.order_id}: {why}")
        return found

    def digest(self) -> str:
        """The same for two runs with the same verdicts."""
        lines = sorted(
            f"{order_id} {ended.verdict} {' '.join(sorted(ended.types))}" for order_id, ended in self.ended.items()
        )
        return sha256("\n".join(lines).encode()).hexdigest()[:16]


async def turn(board: Board, clock: ManualClock, moment: datetime) -> None:
    """It is `moment` now. What was due on the way has happened at its own time, and everything that came of it."""
    await board.rest()
    while (due := board.next_due()) is not None and due <= moment:
        clock.advance(max(timedelta(0), due - clock.now()))
        await board.rest()
    clock.advance(moment - clock.now())


def report(replay: Replay, seconds: float) -> str:
    """Verdicts by status, and the exceptions."""
    counts = Counter((order.status, order.ending, replay.ended[order.order_id].verdict) for order in replay.orders)
    lines = [
        f"{len(replay.orders)} orders, {replay.moments} moments",
        "",
        f"{'status':<14}{'ends by':<12}{'verdict':<12}{'orders':>6}",
    ]
    lines += [
        f"{status:<14}{ending:<12}{verdict or 'none':<12}{n:>6}"
        for (status, ending, verdict), n in sorted(counts.items())
    ]
    found: dict[str, list[str]] = {}
    for order in replay.orders:
        for kind in order.exceptions():
            found.setdefault(kind, []).append(order.order_id)
    lines += ["", f"{'exception':<42}{'orders':>6}  what came of it"]
    lines += [f"{kind:<42}{len(found[kind]):>6}  {what}" for kind, what in WHAT_CAME_OF_IT.items() if kind in found]
    rare = [
        (kind, order_id) for kind in WHAT_CAME_OF_IT for order_id in found.get(kind, ()) if len(found[kind]) <= RARE
    ]
    lines += [f"  {order_id}: {kind}" for kind, order_id in rare]
    lines += ["", f"verdicts {replay.digest()}, in {seconds:.1f} s"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--orders", type=Path, default=SAMPLE, help="a CSV file (default: the sample beside this program)"
    )
    parser.add_argument(
        "--ledger", default="sqlite:///:memory:", help="where the events are kept (default: %(default)s)"
    )
    given = parser.parse_args()
    began = time.monotonic()
    replay = Replay(read(given.orders), given.ledger)
    asyncio.run(replay.run())
    print(report(replay, time.monotonic() - began))
    wrong = replay.contradictions()
    print(f"{len(wrong)} orders lost, doubled or against their record")
    for line in wrong[:20]:
        print(f"  {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
