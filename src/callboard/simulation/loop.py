"""An event loop without time, sockets or threads of its own: it does what is next, and jumps to what is due then.

Everything begun by a worker carries that worker's life. Once the life is over nothing of it is run any more, not even a
`finally`: that is what a power cut leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sys
from asyncio import events
from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from callboard.errors import CallboardError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class EscapedSimulation(CallboardError):
    """Code under simulation reached for something that a seed cannot decide: a socket, a thread, real time."""


class NeverRests(CallboardError):
    """The world took more steps than it may: something repeats for ever."""


class TookTooLong(CallboardError):
    """Something in the world does not come back."""


class PowerCut(BaseException):
    """The worker died inside a call that cannot be awaited."""


class Life:
    """One life of a worker, from its start to its end or its death."""

    def __init__(self, worker: str, number: int) -> None:
        self.worker = worker
        self.number = number
        self.over = False


LIFE: ContextVar[Life | None] = ContextVar("callboard_life", default=None)
RUN: ContextVar[Any] = ContextVar("callboard_run", default=None)  # what runs a reaction: a coroutine, or its future
Ready = tuple[asyncio.Handle, Life | None]
Timer = tuple[float, int, asyncio.TimerHandle, Life | None]


class Loop(asyncio.BaseEventLoop):
    """Virtual time. What was scheduled first for one moment comes first."""

    def __init__(self, most: int = 400_000) -> None:
        super().__init__()
        self.steps = 0
        self.made: list[asyncio.Task[Any]] = []  # all tasks: what lies dead is not collected while the world goes on
        self.idle: Callable[[float | None], None] = lambda _: None  # told when the next timer is, before time jumps
        self.run_tag: Callable[[Any, Context], None] = lambda _coro, _context: None
        self.stepped: Callable[[Any, Life], None] | None = None  # told of each task that a step of a life has left
        self.failed: BaseException | None = None
        self._most = most
        self._time = 0.0
        self._count = 0
        self._soon: deque[Ready] = deque()
        self._timers: list[Timer] = []

    def time(self) -> float:
        """Seconds since the world began."""
        return self._time

    def hold_up(self, seconds: float) -> None:
        """So much time passes, and nobody can do anything in it."""
        self._time += seconds

    def get_debug(self) -> bool:
        """Never: it is asked for each step."""
        return False

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Next, behind what is next already."""
        context = context if context is not None else copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append((handle, context.get(LIFE)))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """So many seconds from now."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """When it is so late."""
        context = context if context is not None else copy_context()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer, context.get(LIFE)))
        return timer

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """A task that is kept."""
        context = copy_context() if context is None else context
        self.run_tag(coro, context)
        task = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        self.made.append(task)
        return task

    def begin(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context) -> None:
        """It runs from now on."""
        self.create_task(coroutine, name=name, context=context).add_done_callback(self._look_at)

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        """What nobody waits for does not fail silently."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed = self.failed or error

    def call_exception_handler(self, context: Any) -> None:
        """What the dead have not looked at is not told, whenever it is collected."""

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """There are no threads: it is run here, as a step of its own."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except PowerCut:
                return
            except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        context = copy_context()
        context.run(RUN.set, future)
        self.call_soon(run, context=context)
        return future

    async def create_connection(self, *_: Any, **__: Any) -> Any:
        """Raises EscapedSimulation, as whatever else leaves the machine."""
        raise EscapedSimulation("a connection was opened under simulation: take it through a @port, and give a keeper")

    create_server = create_datagram_endpoint = subprocess_exec = subprocess_shell = getaddrinfo = create_connection

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns. Raises NeverRests after too many steps."""
        before, hooks = events._get_running_loop(), sys.get_asyncgen_hooks()  # a test may be in one
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(None, None)  # generators of this world are no business of that loop
        try:
            task = self.create_task(coroutine, name="world")
            while not task.done():
                self._step()
                if self.failed is not None:
                    raise self.failed
            result: T = task.result()
            return result
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(before)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._most:
            raise NeverRests(f"after {self._most:,} steps, {self._time:.0f} s of virtual time, it is still at work")
        if not self._soon:
            self._jump()
            return
        handle, life = self._soon.popleft()
        if not handle.cancelled() and (life is None or not life.over):
            handle._run()
            if self.stepped is not None and life is not None:
                self.stepped(getattr(handle._callback, "__self__", None), life)  # type: ignore[attr-defined]

    def _jump(self) -> None:
        while self._timers and _is_void(self._timers[0]):
            heapq.heappop(self._timers)
        self.idle(self._timers[0][0] if self._timers else None)
        if self._soon:
            return
        if not self._timers:
            raise NeverRests("everybody waits for somebody, and nothing is due any more")
        self._time = max(self._time, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._time:
            timer = heapq.heappop(self._timers)
            if not _is_void(timer):
                self._soon.append((timer[2], timer[3]))

    def bury(self) -> None:
        """The world is over: what lay dead is closed, and whatever its `finally` says counts no more."""
        before, sys.unraisablehook = sys.unraisablehook, _ignore
        try:
            for task in self.made:
                if not task.done():
                    _close(task)
            self.made.clear()
            self._soon.clear()
            self._timers.clear()
        finally:
            sys.unraisablehook = before
        self.close()


def _ignore(_told: Any) -> None: ...


def _is_void(timer: Timer) -> bool:
    return timer[2].cancelled() or (timer[3] is not None and timer[3].over)


def _close(task: asyncio.Task[Any]) -> None:
    dead: Any = task
    dead._log_destroy_pending = False
    with contextlib.suppress(BaseException):  # it belongs to a world that is over
        dead.get_coro().close()


async def never() -> None:
    """Waits until the life it belongs to is over, and longer."""
    await asyncio.get_running_loop().create_future()
