"""The brokers that come with callboard keep the promise of a broker."""

import subprocess
import sys
from pathlib import Path

import pytest

from callboard.broker import Broker
from callboard.brokers.memory import MemoryBroker
from callboard.brokers.sqlite import SqliteBroker
from callboard.simulation.broker import SimulatedBroker
from callboard.testing.broker_suite import *  # noqa: F403
from callboard.testing.broker_suite import OpenBroker


@pytest.fixture(params=["memory", "sqlite", "simulated"])
def open_broker(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBroker:
    places: dict[str, Broker] = {}

    def memory(place: str) -> Broker:
        return places.setdefault(place, MemoryBroker())

    def sqlite(place: str) -> Broker:
        return SqliteBroker(f"sqlite:///{tmp_path / place}.db", synchronous="OFF")

    def simulated(place: str) -> Broker:
        return places.setdefault(place, SimulatedBroker())

    return {"memory": memory, "sqlite": sqlite, "simulated": simulated}[request.param]


def test_anyone_can_run_the_suite_on_an_adapter_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from functools import cache\n"
        "from callboard.brokers.memory import MemoryBroker\n"
        "open_broker = cache(lambda place: MemoryBroker())\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:callboard",
        "-p",
        "callboard.testing.plugin",
        "-p",
        "no:cacheprovider",
    ]
    suite = ["--pyargs", "callboard.testing.broker_suite", "--callboard-broker=mine:open_broker"]
    ran = subprocess.run(
        [*command, *suite], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
