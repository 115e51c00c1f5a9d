"""The workers of one crash test: started, killed, paused and started again, each by its own number."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Heard:
    """What the workers have said."""

    flows: dict[str, str] = field(default_factory=dict[str, str])  # order -> flow id, as first acknowledged
    verdicts: dict[str, str] = field(default_factory=dict[str, str])
    dials: dict[str, int] = field(default_factory=dict[str, int])
    edits: dict[str, int] = field(default_factory=dict[str, int])
    faults: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])  # workers that ended although nobody wanted it
    orphans: list[str] = field(default_factory=list[str])  # services that a standby did not take over
    counts: Counter[str] = field(default_factory=Counter[str])

    def hear(self, publisher: str, told: dict[str, Any]) -> None:
        """Take note of a line."""
        what = told["what"]
        self.counts[what] += 1
        match what:
            case "ack":
                order = f"{publisher}-{told['number']}"
                known = self.flows.setdefault(order, told["flow"])
                if known != told["flow"] or (told["new"] and self.counts[f"ack {order}"]):
                    self.faults.append(f"{order}: acknowledged as {known}, then as {told['flow']} (new: {told['new']})")
                self.counts[f"ack {order}"] += 1
            case "done":
                order = f"{publisher}-{told['number']}"
                if self.verdicts.setdefault(order, told["verdict"]) != told["verdict"]:
                    self.faults.append(f"{order}: {self.verdicts[order]}, then {told['verdict']}")
            case "read":
                self.dials[told["dial"]] = max(told["number"], self.dials.get(told["dial"], 0))
            case "edit":
                self.edits[publisher] = max(told["number"], self.edits.get(publisher, 0))
            case "fault":
                self.faults.append(told["text"])
            case _:
                pass

    def begin(self, publisher: str) -> int:
        """The first order of a publisher that was not acknowledged."""
        number = 0
        while f"{publisher}-{number}" in self.flows:
            number += 1
        return number


class Player:
    """One worker, through all its lives. `services`: what it wants to own; none for a publisher."""

    def __init__(self, role: str, services: list[str], heard: Heard, *, scene: str, folder: Path, seed: str) -> None:
        self.role = role
        self.services = services
        self.heard = heard
        self.scene = scene
        self.folder = folder
        self.seed = seed
        self.life = 0
        self.robbed: set[str] = set()  # lives whose locks were taken away: they may end by LedgerLost
        self.killed: set[str] = set()  # lives that ended by our kill
        self.ready = asyncio.Event()
        self.finished = asyncio.Event()
        self.gone = asyncio.Event()
        self.gone.set()
        self.leaving = False  # it was told to stop
        self.build = 0
        self.keep: float | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Of its present life."""
        return f"{self.role}{self.life}"

    @property
    def alive(self) -> bool:
        return not self.gone.is_set()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None and self.alive else -1

    async def start(self) -> None:
        """A new life begins. Returns when it is started, not yet ready."""
        self.life += 1
        self.ready, self.finished, self.gone, self.leaving = asyncio.Event(), asyncio.Event(), asyncio.Event(), False
        spec: dict[str, Any] = {
            "name": self.name, "scene": self.scene, "folder": str(self.folder), "seed": self.seed,
            "services": self.services, "build": self.build, "keep": self.keep,
        }  # fmt: skip
        if not self.services:
            spec |= {
                "publisher": self.role, "begin": self.heard.begin(self.role), "dials": self.heard.dials,
                "edits": self.heard.edits.get(self.role, 0),
            }  # fmt: skip
        path = [str(ROOT / "src"), str(ROOT), str(ROOT / "tests" / "targets"), os.environ.get("PYTHONPATH", "")]
        with (self.folder / f"{self.role}.log").open("ab") as log:
            log.write(f"-- {self.name}\n".encode())
            log.flush()
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.crash.worker", json.dumps(spec), cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._listening = asyncio.create_task(self._listen(self._child, self.name))

    async def _listen(self, child: asyncio.subprocess.Process, name: str) -> None:
        assert child.stdout is not None
        failed = ""
        while line := await child.stdout.readline():
            with contextlib.suppress(json.JSONDecodeError):  # a kill may cut the last line
                told = msgspec.json.decode(line, type=dict[str, Any])
                self.heard.hear(self.role, told)
                if told["what"] == "ready":
                    self.ready.set()
                elif told["what"] == "finished":
                    self.finished.set()
                elif told["what"] == "failed":
                    failed = f"{told['why']}: {told['text']}"
        code = await child.wait()
        excused = (
            name in self.killed
            or (self.leaving and code == 128 + signal.SIGTERM)
            or (failed.startswith("LedgerLost") and name in self.robbed)
        )
        if not (excused or (code == 0 and self.leaving)):
            self.heard.broken.append(f"{name} ended with {code}, {failed or f'see {self.role}.log'}")
        self.ready.set()
        self.finished.set()
        self.gone.set()

    def send(self, number: signal.Signals) -> None:
        """Send its present life a signal."""
        if self._child is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    def tell(self, wish: str) -> None:
        """`enough`, `full`, `room` or `stop`."""
        self.leaving = self.leaving or wish == "stop"
        if self._child is not None and self._child.stdin is not None and self.alive:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._child.stdin.write(f"{wish}\n".encode())

    async def kill(self) -> bool:
        """Kill -9; True if it was alive until then. All that it said has been heard when this returns."""
        was_alive = self.alive
        if was_alive:
            self.killed.add(self.name)
            self.send(signal.SIGKILL)
        await self.gone.wait()
        return was_alive
