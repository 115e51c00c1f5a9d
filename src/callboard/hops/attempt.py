"""One run of a reaction: its arguments, the call itself, and what it returned, encoded at once.

A plain reaction is called. An `async` one without a port is stepped where it stands and becomes a task only if it
suspends; one with a port is a task from the start, `blocking=True` runs in a thread.
"""

from __future__ import annotations

import asyncio
import types
from asyncio import tasks
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from callboard.contract import ContextOf, Gathered, Given, Many, PortOf, StateOf, Trigger, allowed
from callboard.errors import CallboardError, TransactionRefused
from callboard.event import attribute, event_type, is_event
from callboard.hops.gate import entries_of
from callboard.hops.rows import NeedsTask, NeedsTransaction, Uncommitted
from callboard.ids import child
from callboard.ledger import Entry, Scatter
from callboard.reaction import States

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping

    from callboard.contract import Contract
    from callboard.event import EventType
    from callboard.hops.deliveries import Delivery
    from callboard.hops.gate import Input
    from callboard.hops.rows import Session
    from callboard.ledger import Lent, StateKey
    from callboard.reaction import Context


class UndeclaredReturn(CallboardError):
    """A reaction returned what its annotation does not allow: nothing of the run was kept."""


class AttemptTimedOut(CallboardError, TimeoutError):
    """An attempt took longer than its reaction's `timeout=`."""


class Attempt:
    """A run that has begun: of one delivery, and for a compensation of one effect."""

    __slots__ = (
        "delivery", "effect", "error", "finished", "inputs", "lent", "limit", "result", "session", "task", "time",
    )  # fmt: skip

    def __init__(
        self, delivery: Delivery, inputs: dict[str, Input], effect: Entry | int | None, session: Session, time: int
    ) -> None:
        self.delivery = delivery
        self.inputs = inputs
        self.effect = effect
        self.session = session
        self.time = time
        self.lent: Lent | None = None  # where it runs inside of a commit
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = False
        self.task: asyncio.Future[Any] | None = None
        self.limit: asyncio.TimerHandle | None = None

    def lend(self) -> Lent:
        """The ledger's transaction, where this run is inside of one; else it is begun again there."""
        reader = self.delivery.reader
        if reader.outside:
            raise TransactionRefused(
                f"{reader.contract.where}: ctx.transaction locks the ledger, so nothing may be awaited beside it: "
                "write the SQL in a plain `def` without a port and without blocking=True, as a reaction to what this "
                "one emits"
            )
        if self.lent is None:
            reader.raw = True
            raise NeedsTransaction
        return self.lent


def event_arguments(attempt: Attempt, value: Callable[[Entry], Any]) -> dict[str, Any]:
    """The decoded events of the call, by parameter."""
    parameters = attempt.delivery.reader.contract.parameters
    return {p.name: _event(attempt, p, value) for p in parameters if isinstance(p, Trigger | Given | Gathered)}


def row_keys(contract: Contract, given: dict[str, Any]) -> list[StateKey]:
    """The keys of the rows that the call names."""
    keys = [
        (row.state.name, key_of_row(row.state.key, contract, given)) for row in contract.states if row.form != "any"
    ]
    return [(name, str(key)) for name, key in keys]


def other_arguments(
    attempt: Attempt, given: dict[str, Any], keepers: Mapping[type[Any], Any], context: Callable[[Attempt], Context]
) -> dict[str, Any]:
    """Private copies of the rows, keepers, and the context, by parameter. The rows are in memory."""
    contract, found = attempt.delivery.reader.contract, dict[str, Any]()
    for parameter in contract.parameters:
        if isinstance(parameter, StateOf):
            found[parameter.name] = state_argument(
                attempt.session, parameter, key_of_row(parameter.state.key, contract, given)
            )
        elif isinstance(parameter, PortOf):
            found[parameter.name] = keepers[parameter.port]
        elif isinstance(parameter, ContextOf):
            found[parameter.name] = context(attempt)
    return found


def _event(attempt: Attempt, parameter: Trigger | Given | Gathered, value: Callable[[Entry], Any]) -> Any:
    entry = attempt.inputs.get(parameter.name)
    if isinstance(parameter, Given) and parameter.name not in attempt.inputs:
        entry = attempt.effect if isinstance(attempt.effect, Entry) else None
        if entry is not None and entry.type not in {kind.name for kind in parameter.types}:
            entry = None
    if isinstance(entry, list):
        return [value(part) for part in entry]
    return None if entry is None else value(entry)


def _first_of(parts: Any) -> Any:
    return parts[0] if parts else None


def key_of_row(name: str, contract: Contract, given: dict[str, Any]) -> Any:
    """The key of a named row: read from the triggers, else from the given events in parameter order."""
    for kind in (Trigger, Gathered, Given):
        for parameter in contract.parameters:
            if isinstance(parameter, kind):
                event = given.get(parameter.name)
                if isinstance(event, list):
                    event = _first_of(event)
                if event is not None and (key := attribute(event, name)) is not None:
                    return key
    return None


def state_argument(session: Session, parameter: StateOf, key: Any) -> Any:
    """The private copy of a row, which is in memory; or the way to any rows."""
    if parameter.form == "any":
        return cast("Any", States).over(parameter.state, session)
    return session.load(parameter.state, key, new=parameter.form != "maybe", read_only=parameter.form == "read")


# calling


def call(attempt: Attempt, given: dict[str, Any]) -> None:
    """Run a plain reaction to its end."""
    reader = attempt.delivery.reader
    raw = reader.raw
    try:
        attempt.result = reader.reaction.function(**given)
    except (Exception, asyncio.CancelledError) as error:
        attempt.error = error
    except NeedsTransaction:
        pass
    if reader.raw and not raw:
        attempt.error = NeedsTransaction()  # whatever it made of it
    attempt.finished = True


def step(attempt: Attempt, given: dict[str, Any], done: Callable[[Attempt], None]) -> None:
    """Run a coroutine to its first suspension; if there is one it goes on as a task and `done` is called at its end."""
    reader = attempt.delivery.reader
    coroutine = reader.reaction.function(**given)
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    _leave(loop, current)  # or else a time limit inside would cancel whoever runs us
    attempt.session.stepped = True
    try:
        first = coroutine.send(None)
    except Uncommitted as error:
        attempt.error, attempt.finished = error, True
        return
    except StopIteration as end:
        attempt.result, attempt.finished = end.value, True
        return
    except (Exception, asyncio.CancelledError) as error:
        attempt.error, attempt.finished = error, True
        if isinstance(error, RuntimeError) and "task" in str(error):  # `asyncio.timeout` wants to be in one
            reader.steps, attempt.error = False, NeedsTask()
        return
    finally:
        attempt.session.stepped = False
        _enter(loop, current)
    start(attempt, _go_on(coroutine, first), done)


async def _go_on(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    return await _driven(coroutine, awaited)


_leave: Callable[..., None] = vars(tasks)["_leave_task"]
_enter: Callable[..., None] = vars(tasks)["_enter_task"]


@types.coroutine
def _driven(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Drive a coroutine that has been stepped once already."""
    while True:
        thrown: BaseException | None = None
        sent: Any = None
        try:
            sent = yield awaited
        except BaseException as error:  # what was thrown into us is thrown on into it
            thrown = error
        try:
            awaited = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as end:
            return end.value


def start(
    attempt: Attempt, running: Coroutine[Any, Any, Any] | asyncio.Future[Any], done: Callable[[Attempt], None]
) -> None:
    """Let it run beside us; `done` is called once, at its end or when its time is over."""
    loop = asyncio.get_running_loop()
    task = attempt.task = asyncio.ensure_future(running)
    attempt.delivery.running = True

    def ended(task: asyncio.Future[Any]) -> None:
        attempt.delivery.reader.tasks.discard(task)
        if attempt.finished:
            if not task.cancelled():
                task.exception()  # it outlived its limit: what it says now counts no more
            return
        if task.cancelled():
            attempt.error = asyncio.CancelledError("the attempt was cancelled")
        elif (error := task.exception()) is not None:
            attempt.error = error
        else:
            attempt.result = task.result()
        finish()

    def too_long() -> None:
        attempt.error = AttemptTimedOut(f"took longer than {attempt.delivery.reader.contract.options.timeout}")
        finish()
        task.cancel()

    def finish() -> None:
        attempt.finished = True
        if attempt.limit is not None:
            attempt.limit.cancel()
        done(attempt)

    attempt.delivery.reader.tasks.add(task)
    attempt.limit = loop.call_later(attempt.delivery.reader.contract.options.timeout.total_seconds(), too_long)
    task.add_done_callback(ended)


# what it returned


class Emission(NamedTuple):
    """One event that a run returned, its type, and which list of its return it stood in."""

    event: Any
    kind: EventType
    scatter: int | None


def emissions(contract: Contract, result: Any) -> list[Emission]:
    """The events of a return value, in order. Raises UndeclaredReturn for what the annotation does not allow."""
    found = list(_walk(contract, result, None, count(1)))
    kinds = [emission.kind for emission in found]
    if not allowed(contract.returns, kinds):
        names = ", ".join(kind.name for kind in kinds) or "None"
        raise UndeclaredReturn(
            f"{contract.where}: returned {names}, which `-> {contract.returns}` does not allow: return that, or add it"
        )
    return found


def _walk(contract: Contract, value: Any, scatter: int | None, numbers: Iterator[int]) -> Iterator[Emission]:
    if value is None:
        return
    if is_event(type(value)):
        yield Emission(value, event_type(type(value)), scatter)
    elif isinstance(value, list | tuple):
        if isinstance(value, list) or isinstance(contract.returns, Many):  # a `Sequence[A]` may come as a tuple
            scatter = next(numbers)
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _walk(contract, each, scatter, numbers)
    else:
        raise UndeclaredReturn(f"{contract.where}: returned {type(value).__name__}, which is no event")


def scatters_of(found: list[Emission], inherited: tuple[Scatter, ...], run: str) -> list[tuple[Scatter, ...]]:
    """The frames of each event: those it inherits, and one of its own if it stands in a list."""
    totals: dict[tuple[int, str], int] = {}
    for _, kind, scatter in found:
        if scatter is not None:
            totals[scatter, kind.name] = totals.get((scatter, kind.name), 0) + 1
    counts: dict[tuple[int, str], int] = {}
    frames: list[tuple[Scatter, ...]] = []
    for _, kind, scatter in found:
        if scatter is None:
            frames.append(inherited)
            continue
        place = (scatter, kind.name)
        ordinal = counts[place] = counts.get(place, -1) + 1
        frames.append((*inherited, Scatter(kind.name, f"{run}#{scatter}", ordinal, totals[place])))
    return frames


def run_id(attempt: Attempt) -> tuple[str, tuple[str, ...]]:
    """The id of the input that caused the run, and those of its further inputs: what the ids of its events derive
    from.
    """
    cause = attempt.delivery.trigger
    triggering = {p.name for p in attempt.delivery.reader.contract.parameters if isinstance(p, Trigger | Gathered)}
    inputs = {name: given for name, given in attempt.inputs.items() if name in triggering}
    others = [entry.id for entry in entries_of(inputs) if entry.id != cause.id]
    return cause.id, (*others, *undone_by(attempt))


def undone_by(attempt: Attempt) -> Iterator[str]:
    """What tells the runs of one ask apart: each undoes an effect of its own."""
    if isinstance(attempt.effect, Entry):
        yield attempt.effect.id
    elif attempt.effect:
        yield f"effect {attempt.effect}"


def id_of(attempt: Attempt, ordinal: int) -> str:
    """The id of the event with this ordinal among those that the run emits: the same if it runs again."""
    cause, others = run_id(attempt)
    return child(cause, attempt.delivery.reader.tag, ordinal, others)
