"""Boards that run by themselves with a broker between their ledgers: started, stopped, killed, and left without it."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from callboard import BrokerError, OutboxFull
from callboard.board import Board
from callboard.broker import Broker, Unsendable
from callboard.brokers.memory import MemoryBroker
from callboard.brokers.sqlite import SqliteBroker
from callboard.envelope import Envelope
from callboard.errors import BrokerUnavailable
from callboard.hops import abroad
from callboard.ledgers.sqlite import SqliteLedger
from callboard.traffic import open_broker
from tests.errands import ErrandAsked, ErrandDone, Errands, build

SOON = timedelta(seconds=30)


class Switched(MemoryBroker):
    """A broker that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_there = True
        self.asked = asyncio.Event()

    def _ask(self) -> None:
        self.asked.set()
        if not self.is_there:
            raise BrokerUnavailable("it is away")

    async def declare(self, subscription: str, types: Collection[str]) -> None:
        self._ask()
        await super().declare(subscription, types)

    async def send(self, envelopes: Sequence[Envelope]) -> Sequence[Unsendable]:
        self._ask()
        return await super().send(envelopes)


async def open_all(stack: AsyncExitStack, errands: Errands, folder: Path, broker: Broker | str) -> dict[str, Board]:
    boards: dict[str, Board] = {}
    for name in ("desk", "bikes", "road", "gateway"):
        services = [] if name == "gateway" else [getattr(errands, name)]
        url = f"sqlite:///{folder}/{name}.db"
        boards[name] = await stack.enter_async_context(errands.choreography.open(url, broker=broker, services=services))
    return boards


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_flow_goes_round_and_its_publisher_is_told(tmp_path: Path, kind: str) -> None:
    errands = build()
    broker = MemoryBroker() if kind == "memory" else f"sqlite:///{tmp_path}/bus.db"
    async with AsyncExitStack() as stack:
        boards = await open_all(stack, errands, tmp_path, broker)
        for name in ("desk", "gateway", "road"):
            flow = await boards[name].publish(ErrandAsked(errand_id=f"from-{name}"))
            done = await flow.completion(SOON)
            assert done.event(ErrandDone) == ErrandDone(errand_id=f"from-{name}")


async def test_a_broker_that_is_away_at_first_is_found_later(tmp_path: Path) -> None:
    errands, broker = build(), Switched()
    broker.is_there = False
    async with AsyncExitStack() as stack:
        boards = await open_all(stack, errands, tmp_path, broker)
        flow = await boards["desk"].publish(ErrandAsked(errand_id="e-1"))
        with pytest.raises(TimeoutError):
            await flow.completion(timedelta(milliseconds=1))
        broker.is_there = True
        assert (await flow.completion(SOON)).succeeded


async def test_a_broker_that_goes_away_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    errands, broker = build(), Switched()
    async with AsyncExitStack() as stack:
        boards = await open_all(stack, errands, tmp_path, broker)
        first = await boards["desk"].publish(ErrandAsked(errand_id="e-1"))
        await first.completion(SOON)
        broker.is_there = False
        broker.asked.clear()
        flows = [await boards["desk"].publish(ErrandAsked(errand_id=f"e-{number}")) for number in range(2, 12)]
        await asyncio.wait_for(broker.asked.wait(), 30)
        broker.is_there = True
        assert all([(await flow.completion(SOON)).succeeded for flow in flows])


async def test_what_was_published_is_sent_before_the_board_is_closed(tmp_path: Path) -> None:
    errands, broker = build(), MemoryBroker()
    url = f"sqlite:///{tmp_path}/desk.db"
    async with errands.choreography.open(url, broker=broker, services=[errands.desk]) as board:
        for number in range(20):
            await board.publish(ErrandAsked(errand_id=f"e-{number}"))
    assert len(await broker.receive("errands.bikes", limit=100)) == 20


async def test_what_could_not_be_sent_before_the_end_goes_with_the_next_start(tmp_path: Path) -> None:
    errands, broker = build(), Switched()
    url = f"sqlite:///{tmp_path}/desk.db"
    async with errands.choreography.open(url, broker=broker, services=[errands.desk]) as board:
        broker.is_there = False
        await board.publish(ErrandAsked(errand_id="e-1"))
    broker.is_there = True
    async with errands.choreography.open(url, broker=broker, services=[errands.desk]):
        pass
    assert len(await broker.receive("errands.bikes", limit=100)) == 1


async def test_a_ledger_whose_broker_has_taken_nothing_for_too_long_refuses_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abroad, "_MOST", 5)
    errands, broker = build(), Switched()
    url = f"sqlite:///{tmp_path}/desk.db"
    async with errands.choreography.open(url, broker=broker, services=[errands.desk]) as board:
        broker.is_there = False
        with pytest.raises(OutboxFull):
            await publish_ten(board)
        broker.is_there = True


async def publish_ten(board: Board) -> None:
    for number in range(10):
        await board.publish(ErrandAsked(errand_id=f"e-{number}"))


async def test_without_a_broker_nothing_is_different(tmp_path: Path) -> None:
    errands = build()
    async with errands.choreography.open(f"sqlite:///{tmp_path}/all.db") as board:
        flow = await board.publish(ErrandAsked(errand_id="e-1"))
        assert (await flow.completion(SOON)).succeeded
        assert board.work.abroad is None
        positions = {position.reaction for position in await board.work.ledger.positions()}
        assert "(relay)" not in positions
    assert not [each for each in os.listdir(tmp_path) if "relay" in each]  # noqa: PTH208


def test_a_url_names_a_broker_or_the_fix() -> None:
    assert isinstance(open_broker("sqlite:///bus.db"), SqliteBroker)
    with pytest.raises(BrokerError, match=r"sqlite:///bus\.db"):
        open_broker("rabbit://somewhere")


async def test_a_ledger_is_no_broker(tmp_path: Path) -> None:
    ledger = SqliteLedger(f"sqlite:///{tmp_path}/a.db")
    await ledger.open([], [])
    await ledger.close()
    with pytest.raises(BrokerError, match="name a file of its own"):
        await SqliteBroker(f"sqlite:///{tmp_path}/a.db").open(lambda: None)


async def test_two_processes_go_on_with_each_other_after_a_kill(tmp_path: Path) -> None:
    errands = build()
    worker = start_worker(tmp_path)
    try:
        bus, url = f"sqlite:///{tmp_path}/bus.db", f"sqlite:///{tmp_path}/desk.db"
        async with errands.choreography.open(url, broker=bus, services=[errands.desk]) as board:
            flows = [await board.publish(ErrandAsked(errand_id=f"e-{number}")) for number in range(40)]
            await flows[0].completion(SOON)
            kill(worker)
            flows += [await board.publish(ErrandAsked(errand_id=f"e-{number}")) for number in range(40, 60)]
            worker = start_worker(tmp_path)
            assert all([(await flow.completion(SOON)).succeeded for flow in flows])
            entries = await board.work.ledger.read(0, limit=1_000)
            assert Counter(entry.type for entry in entries) == {"ErrandAsked": 60, "ErrandTaken": 60, "ErrandDone": 60}
    finally:
        kill(worker)


def kill(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    worker.communicate()


def start_worker(folder: Path) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.errands_worker", str(folder)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    return worker
