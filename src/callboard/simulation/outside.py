"""The world outside: every keeper is watched, or made from its Protocol, and a book is kept of all calls.

A call is named where something tells it from another flow's: an argument called `key`, or one that holds the key of the
flow. What has a name takes place once, however often it is made; what has none takes place each time.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

from msgspec import Struct

from callboard.errors import PACKAGE, ContractError
from callboard.guard import Guarded, looked_through
from callboard.hops.attempt import call as call_plain
from callboard.simulation.loop import LIFE, PowerCut
from callboard.simulation.samples import value

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from types import FrameType

    from callboard.hops.attempt import Attempt
    from callboard.simulation.worker import Worker
    from callboard.simulation.world import World

_QUESTIONS = ("get", "find", "list", "look", "read", "load", "fetch", "is", "has", "count", "search", "ask", "check")


class SimulatedFailure(ConnectionError):
    """A call outside failed, or its answer was lost, because the seed says so."""


class Call(Struct):
    """One call outside, as the book has it."""

    name: str  # "Bank.charge"
    told: str  # with its arguments
    key: str | None  # what tells it from every other; None: nothing does
    reaction: str
    flow: str
    delivery: str  # which event made the reaction run
    attempt: int
    place: str  # the line that calls
    worker: str
    asks: bool = False  # it changes nothing outside: by its name, or because the scene says that it only computes
    took_place: bool = False
    answer: str = ""
    at: float = 0.0  # seconds since the world began


class Outside:
    """Everybody whom the keepers speak to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[Call] = []
        self._answers: dict[str, Any] = {}
        self.functions = {
            code: path
            for path, reaction in world.scene.choreography.reactions.items()
            for code in _codes(reaction.function)
        }

    def keepers(self, given: list[object]) -> list[object]:
        """A keeper for each port: the one that was given, watched, or one that is made."""
        found: list[object] = []
        for port in self.world.scene.choreography.ports:
            fitting = [each for each in given if port in type(looked_through(each)).__mro__]
            keeper = fitting[0] if fitting else None
            watched = self._watch(port, looked_through(keeper))
            found.append(
                Guarded(watched, keeper.concurrency, keeper.breaker) if isinstance(keeper, Guarded) else watched
            )
        strangers = [
            each
            for each in given
            if not any(p in type(looked_through(each)).__mro__ for p in self.world.scene.choreography.ports)
        ]
        return [*found, *strangers]

    def _watch(self, port: type[Any], inner: object | None) -> object:
        methods = dict(_methods(port))
        if not methods or not getattr(port, "_is_protocol", False):
            return port() if inner is None else inner
        keeper: Any = _watcher(cast("Any", port))()
        own: dict[str, Any] = keeper.__dict__
        own.update({} if inner is None else inner.__dict__)
        own.update({name: self._watched(port, name, method, inner) for name, method in methods.items()})
        return cast("object", keeper)

    def _watched(self, port: type[Any], name: str, method: Any, inner: object | None) -> Any:
        is_async = inspect.iscoroutinefunction(method)
        real = getattr(inner, name) if inner is not None else None
        returns = _returned(method)

        def called(*args: Any, **named: Any) -> Any:
            call = self._open(port, name, method, args, named, inspect.currentframe())

            def answer() -> Any:
                return real(*args, **named) if real is not None else self._made(call, returns)

            may_refuse = NoneType in get_args(returns) or returns is bool
            play = self._play if is_async else self._play_at_once
            return play(call, answer, refusal=(False if returns is bool else None, may_refuse))

        return called

    def _open(
        self, port: type[Any], name: str, method: Any, args: tuple[Any, ...], named: dict[str, Any],
        frame: FrameType | None,
    ) -> Call:  # fmt: skip
        attempt, place, path = self._caller(frame)
        world, life = self.world, LIFE.get()
        delivery = flow = ""
        count = 0
        if attempt is not None:
            path, count = attempt.delivery.reader.path, attempt.delivery.attempts
            trigger = attempt.delivery.trigger
            effect = getattr(attempt.effect, "id", attempt.effect) or ""
            delivery, flow = f"{path} {trigger.id} {effect}", world.flow_name(trigger.id)
        arguments = _signature(method).bind(None, *args, **named).arguments
        told = dict(list(arguments.items())[1:])
        text = ", ".join(f"{key}={each!r}" for key, each in told.items())
        is_named = any(_names(key, each, flow) for key, each in told.items())
        call = Call(
            f"{port.__name__}.{name}", f"{port.__name__}.{name}({text})", f"{name}({text})" if is_named else None,
            path, flow, delivery, count, place, life.worker if life else "", self._asks(port.__name__, name),
            at=world.loop.time(),
        )  # fmt: skip
        self.calls.append(call)
        return call

    def _asks(self, port: str, name: str) -> bool:
        return name.split("_", 1)[0] in _QUESTIONS or bool(self.world.scene.pure & {port, f"{port}.{name}"})

    def _caller(self, frame: FrameType | None) -> tuple[Attempt | None, str, str]:
        """Which attempt calls, from which line, and by which reaction."""
        place = path = ""
        found: Attempt | None = None
        while frame is not None:
            code = frame.f_code
            if not place and not code.co_filename.startswith(PACKAGE):
                place = f"{code.co_filename}:{frame.f_lineno}"
            path = path or self.functions.get(code, "")
            if code is call_plain.__code__:
                found = frame.f_locals["attempt"]
            frame = frame.f_back
        return found or self._running(path), place, path

    def _running(self, path: str) -> Attempt | None:
        life = LIFE.get()
        board = self.world.workers[life.worker].board if life is not None else None
        if board is None:
            return None
        holder = self.world.run_of()
        there = sorted(board.work.running, key=lambda each: (each.delivery.entry.pos, each.delivery.reader.order))
        for attempt in there:
            if holder is not None and attempt.task is not None and _coroutine(attempt) is holder:
                return attempt
        alike = [attempt for attempt in there if attempt.delivery.reader.path == path]
        return alike[0] if len(alike) == 1 else None

    async def _play(self, call: Call, answer: Callable[[], Any], refusal: tuple[Any, bool]) -> Any:
        world = self.world
        worker: Worker = world.workers[call.worker]
        where = f"{call.name} in {call.reaction}#{call.flow}"
        await worker.may_die(f"before {where}")
        if worker.strikes("fail", where, f"{where} fails before it takes place") is not None:
            raise SimulatedFailure(f"{call.name} failed (simulated)")
        slow = worker.strikes("slow", where, f"{where} is slow")
        await asyncio.sleep(world.choices.between(world.choices.visit(f"outside {where}"), 0.01, 0.2) + (slow or 0))
        if self._refuses(worker, call, where, refusal):
            result = self._close(call, refusal[0])
        else:
            call.took_place = True
            result = answer()
            result = await result if inspect.isawaitable(result) else result
            self._close(call, result)
        await worker.may_die(f"after {where}")
        if worker.strikes("lose", where, f"{where}: its answer is lost") is not None:
            raise SimulatedFailure(f"the answer of {call.name} was lost (simulated)")
        return result

    def _play_at_once(self, call: Call, answer: Callable[[], Any], refusal: tuple[Any, bool]) -> Any:
        """As `_play`, for what cannot be awaited: it is never slow."""
        worker: Worker = self.world.workers[call.worker]
        where = f"{call.name} in {call.reaction}#{call.flow}"
        if worker.dies(f"before {where}"):
            raise PowerCut
        if worker.strikes("fail", where, f"{where} fails before it takes place") is not None:
            raise SimulatedFailure(f"{call.name} failed (simulated)")
        if self._refuses(worker, call, where, refusal):
            result = self._close(call, refusal[0])
        else:
            call.took_place = True
            result = self._close(call, answer())
        if worker.dies(f"after {where}"):
            raise PowerCut
        if worker.strikes("lose", where, f"{where}: its answer is lost") is not None:
            raise SimulatedFailure(f"the answer of {call.name} was lost (simulated)")
        return result

    def _refuses(self, worker: Worker, call: Call, where: str, refusal: tuple[Any, bool]) -> bool:
        """Nobody who has answered a call refuses it when it is made again."""
        if not refusal[1] or (call.key is not None and call.key in self._answers):
            return False
        return worker.strikes("refuse", where, f"{where} is refused") is not None

    def _close(self, call: Call, result: Any) -> Any:
        call.answer = repr(result)
        if call.key is not None:
            self._answers[call.key] = result
        self.world.tell(call.worker, "outside", f"{call.told} = {result!r}", call.flow)
        return result

    def _made(self, call: Call, returns: Any) -> Any:
        """The answer of a keeper that nobody wrote: a named call is always answered alike."""
        if call.key is not None and call.key in self._answers:
            return self._answers[call.key]
        name = call.name.rpartition(".")[2]
        key = call.told  # who is asked the same answers the same
        if not call.asks:
            key = self.world.choices.visit(f"{call.name} #{call.flow}" if call.key else call.told)
        try:
            made = value(returns, name, self.world.drawing(f"answer {key}"), "")
        except (ContractError, TypeError, ValueError) as error:
            raise ContractError(call.place, f"no answer can be made for {call.name}: give a keeper: {error}") from error
        return f"{made}-{call.flow}" if isinstance(made, str) else made


_signature = cache(inspect.signature)


@cache
def _watcher(port: Any) -> type[Any]:
    """A class that is this port; what it does, each of its keepers is given."""
    return type(f"Simulated{port.__name__}", (port,), {})


@cache
def _returned(method: Any) -> Any:
    return get_type_hints(method).get("return", NoneType)


def _names(parameter: str, argument: object, flow: str) -> bool:
    return parameter == "key" or parameter.endswith("_key") or (bool(flow) and flow in str(argument))


def _methods(port: type[Any]) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for cls in reversed(port.__mro__):
        if getattr(cls, "_is_protocol", False):
            found |= {name: each for name, each in vars(cls).items() if inspect.isfunction(each) and name[0] != "_"}
    return list(found.items())


def _codes(function: Any) -> list[Any]:
    codes: list[Any] = []
    while function is not None:
        if hasattr(function, "__code__"):
            codes.append(function.__code__)
        function = getattr(function, "__wrapped__", None)
    return codes


def _coroutine(attempt: Attempt) -> object:
    task: Any = attempt.task
    coroutine: object = task.get_coro() if hasattr(task, "get_coro") else task
    return coroutine


def tag_runs(codes: dict[Any, str], run: Any) -> Callable[[Any, Context], None]:
    """Marks the context of each task that runs a reaction, so that the tasks it makes are known as its own."""

    def tag(coroutine: Any, context: Context) -> None:
        if getattr(coroutine, "cr_code", None) in codes:
            context.run(run.set, coroutine)

    return tag
