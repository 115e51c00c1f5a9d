"""While a world lives, time and chance are its own, and what would leave it raises where it is called."""

from __future__ import annotations

import datetime as dt
import gc
import inspect
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, tzinfo
from hashlib import blake2b
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from callboard.errors import PACKAGE
from callboard.simulation.loop import EscapedSimulation, PowerCut, TookTooLong
from callboard.simulation.samples import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from callboard.simulation.world import World

_LONGEST = 60  # seconds of real time for one world
_REMEDIES = {
    "a socket": "reach the world outside through a @port, and give a keeper",
    "a thread": "write the reaction as `async def`, or with blocking=True",
    "a program": "reach it through a @port, and give a keeper",
    "time.sleep": "await asyncio.sleep(...), or let wait= do it",
}
_REAL = datetime
_MODULES: dict[tuple[int, frozenset[str]], list[ModuleType]] = {}  # as they were found last


class _Class(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _REAL)


class Sealed:
    """The seal around one world: it is put on for as long as it runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._drawn = 0
        self._depth = 0
        self._chance = random.Random(world.choices.seed).getstate()  # noqa: S311 - a seed is wanted
        self._stack = ExitStack()
        self._functions = {
            reaction.function.__code__: path
            for path, reaction in world.scene.choreography.reactions.items()
            if hasattr(reaction.function, "__code__")
        }

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        self._stack.enter_context(uncollected())
        self._stack.callback(random.setstate, random.getstate())
        random.setstate(self._chance)
        for name in ("callboard", "asyncio"):
            self._patch(logging.getLogger(name), "disabled", value=True)
        self._patch(os, "urandom", self._bytes)
        self._patch(random, "_urandom", self._bytes)
        self._patch(time, "sleep", self._refuse("time.sleep"))
        self._patch(threading.Thread, "start", self._refuse("a thread"))
        self._patch(socket.socket, "__init__", self._refuse("a socket"))
        self._patch(subprocess.Popen, "__init__", self._refuse("a program"))
        self._seal_time()
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGALRM, self._too_long)
            self._stack.callback(signal.signal, signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, _LONGEST, 1)  # and again, where a bare `except` has caught it
            self._stack.callback(signal.setitimer, signal.ITIMER_REAL, 0)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._chance = random.getstate()
        self._stack.close()

    def _patch(self, where: object, name: str, value: object) -> None:
        self._stack.callback(setattr, where, name, getattr(where, name))
        setattr(where, name, value)

    def _seal_time(self) -> None:
        """The clock of the world stands behind every name of the wall clock that a module of the user's has."""
        wall = self._wall
        named: dict[Any, Any] = {
            time.time: lambda: wall("time.time").timestamp(),
            time.time_ns: lambda: int(wall("time.time_ns").timestamp() * 1_000_000) * 1_000,
            time.monotonic: self._world.loop.time,
            time.perf_counter: self._world.loop.time,
            _REAL: self._datetime(),
        }
        instead = {id(each): other for each, other in named.items()}
        for module in (time, dt, *self._modules()):
            for name, value in list(vars(module).items()):
                if id(value) in instead:
                    self._patch(module, name, instead[id(value)])

    def _modules(self) -> list[ModuleType]:
        """Those of the user's reactions, and what lies beside them."""
        roots = {
            reaction.function.__module__.partition(".")[0]
            for reaction in self._world.scene.choreography.reactions.values()
        }
        key = len(sys.modules), frozenset(roots)
        if key not in _MODULES:
            _MODULES.clear()
            _MODULES[key] = [each for name, each in list(sys.modules.items()) if name.partition(".")[0] in roots]
        return _MODULES[key]

    def _datetime(self) -> type:
        wall = self._wall

        def now(_cls: type, tz: tzinfo | None = None) -> datetime:
            found = wall("datetime.now")
            return found.replace(tzinfo=None) if tz is None else found.astimezone(tz)

        def utcnow(_cls: type) -> datetime:
            return wall("datetime.utcnow").replace(tzinfo=None)

        def make(_cls: type, *args: Any, **named: Any) -> datetime:
            return _REAL(*args, **named)

        replaced: dict[str, Any] = {
            "now": classmethod(now),
            "utcnow": classmethod(utcnow),
            "today": classmethod(utcnow),
        }
        return _Class("datetime", (_REAL,), {**replaced, "__new__": make})

    def _wall(self, name: str) -> datetime:
        """What the wall clock says; a reaction that looks at it is told of."""
        frame = _caller()
        place = ""
        while frame is not None and not frame.f_code.co_filename.endswith("outside.py"):
            place = place or _place(frame)
            path = self._functions.get(frame.f_code)
            if path is not None:
                self._tell(path, name, place)
                break
            frame = frame.f_back
        return START + timedelta(seconds=self._world.loop.time())

    def _tell(self, path: str, name: str, place: str) -> None:
        from callboard.simulation.oracles import Violation  # noqa: PLC0415 - it stands above this module

        text = (
            f"{path} asks the clock of its machine ({name}): another attempt is told another time, and so is a replay"
        )
        if all(each.place != place for each in self._world.found):
            self._world.found.append(Violation("wall-clock", "", text, place))

    def _bytes(self, count: int) -> bytes:
        self._drawn += 1
        seed = f"{self._world.choices.seed} urandom {self._drawn}".encode()
        return b"".join(blake2b(seed + bytes([part])).digest() for part in range(count // 64 + 1))[:count]

    def _refuse(self, what: str) -> Callable[..., NoReturn]:
        def refused(*_: Any, **__: Any) -> NoReturn:
            frame = _caller()
            while frame is not None and not _place(frame):
                frame = frame.f_back
            place = "" if frame is None else f" at {_place(frame)}"
            raise EscapedSimulation(f"{what} was used under simulation{place}: {_REMEDIES[what]}")

        return refused

    def _too_long(self, _number: int, frame: FrameType | None) -> NoReturn:
        while frame is not None and not _place(frame):
            frame = frame.f_back
        place = "somewhere" if frame is None else _place(frame)
        text = f"the world took more than {_LONGEST} s of real time and was given up; it stood at {place}"
        self._world.loop.failed = TookTooLong(f"{text}: a loop there must await something, or end")
        raise PowerCut


@contextmanager
def uncollected() -> Iterator[None]:
    """What lies dead is collected at the end: no `__del__` runs at a moment that no seed decides."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _place(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    is_ours = name.startswith((PACKAGE, "<", sys.base_prefix + "/lib", sys.prefix + "/lib"))
    return "" if is_ours else f"{name}:{frame.f_lineno}"


def _caller() -> FrameType | None:
    """Who called the function that asks."""
    here = inspect.currentframe()
    return here.f_back.f_back if here is not None and here.f_back is not None else None
