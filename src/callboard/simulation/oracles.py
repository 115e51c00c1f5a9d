"""What must be true at the end of every world, derived from the declaration: nobody writes a test to get these."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from traceback import extract_tb
from typing import TYPE_CHECKING

from msgspec import Struct

from callboard.contract import holds
from callboard.errors import CallboardError
from callboard.event import SPEAKS_OF
from callboard.simulation.outside import Call
from callboard.simulation.promises import books, broken, misread
from callboard.tracker import takes_effect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from callboard.flow import Flow
    from callboard.ledger import Entry
    from callboard.simulation.world import World

ORACLES = {
    "stuck": "a flow has no verdict although nothing more will happen",
    "two-verdicts": "a flow saw a success and a failure",
    "leak": "a flow failed, and an effect of it is left that nobody undoes",
    "dead-letter": "a reaction gave up for a reason that no fault explains",
    "endless": "events of a flow follow from each other, and there is no end",
    "contract": "an event was emitted that the signature does not declare",
    "order": "a line was handled out of order",
    "outside-twice": "a call outside took place twice for one event, because nothing names it",
    "outside-left": "a flow failed, and a call outside is left that nobody took back",
    "module-state": "a reaction keeps something in a variable of its module",
    "wall-clock": "a reaction looks at the wall clock",
    "invariant": "an invariant of the choreography is broken",
    "ledger": "a ledger contradicts itself",
    "durable": "what publish answered is not in the log",
    "identity": "two events have one id, or one has an id that its cause does not give",
    "gate": "a reaction ran where its options say that it does not",
    "told": "a dead letter, a deadline, a verdict or a wish was not told, or at a wrong time",
    "projection": "a projection says something else than the log",
    "trouble": "a worker stopped, or never came to rest",
}
# oracle -> what mends it, where that can be said of all that it finds
FIXES = {
    "stuck": "let what ran last lead to an event of succeeds= or fails=, and a reaction to FlowTimedOut end the rest",
    "two-verdicts": 'let one reaction decide: once="..." on those that compete, and unless=... on a timer',
    "leak": 'undo it with compensates=... when the flow fails, or say keeps="<reason>" or pivot=True if it may stay',
    "dead-letter": "return a failure event where it may go wrong, instead of raising; or mend what raised",
    "endless": "let one of them end it: once=, unless=, or no event where there is nothing more to do",
    "contract": "name it in the annotation of what the reaction returns",
    "outside-twice": "pass ctx.idempotency_key() to the call as its key: each attempt has the same",
    "outside-left": "call the port in the compensation also where it is given None: what it undoes has not committed "
    "then, and its call may have taken place all the same",
    "module-state": "keep it in a @state that the reaction takes as a parameter",
    "wall-clock": "take `ctx: Context`, and ask ctx.now()",
    "invariant": "find above what ran too early (needs= forbids it), after its undo or its flow's end (compensates= on "
    "the undo, or unless=), or twice (once=, or the key of a call)",
}
_NEVER = "never came: "
_EXPLAINED = ("(simulated)", "took longer than", "ended its process", "the outcome of", "was cut each time")


def fix_of(violation: Violation) -> str:
    """What mends it, where that can be said; "" otherwise."""
    if violation.oracle == "dead-letter" and _NEVER in violation.text:
        return "let what it needs come in every case, or take it as `E | None` and say what to do without it"
    return FIXES.get(violation.oracle, "")


class Violation(Struct, frozen=True):
    """One thing that is wrong: which oracle says so, of which flow, and how it is told."""

    oracle: str
    flow: str
    text: str
    place: str = ""  # the line of the user's that it is about, where there is one


async def judge(world: World) -> list[Violation]:
    """Everything that is wrong at the end of this world."""
    found = [*_troubles(world), *_flows(world), *_dead(world), *_contracts(world), *_lines(world)]
    found += [*_twice(world), *_left(world), *_memory(world)]
    for book in books(world):
        kept = [*broken(book), *[each async for each in misread(book)]]
        found += [Violation(oracle, world.flow_name(event_id), text) for oracle, event_id, text in kept]
    for worker in world.workers.values():
        if worker.board is not None and worker.board.failure is None:
            wrong = await worker.board.work.ledger.verify()
            found += [Violation("ledger", "", f"{worker.name}: {each}") for each in wrong]
    return found + [each async for each in _invariants(world)]


def _troubles(world: World) -> Iterator[Violation]:
    for worker in world.workers.values():
        if worker.board is not None and worker.board.failure is not None:
            error = worker.board.failure
            yield Violation("trouble", "", f"{worker.name} has stopped: {type(error).__name__}: {error}")


def _flows(world: World) -> Iterator[Violation]:
    choreography = world.scene.choreography
    for flow in choreography.flows.values():
        for row in world.flows_at(choreography.home_of(flow).name):
            if row.name != flow.name:
                continue
            name = world.flow_name(row.id)
            entries = [entry for _, entry in world.log if entry.id.startswith(row.id)]
            yield from _judge_flow(world, flow, name, row.verdict, entries)
            if row.verdict == "failed" and row.leaked and not _explained(world, name):
                yield Violation("leak", name, f"{flow.name} #{name} failed, and leaked {row.leaked}")
            elif row.verdict == "failed":
                yield from _unanswered(world, name, entries)


def _judge_flow(world: World, flow: Flow, name: str, verdict: str | None, entries: list[Entry]) -> Iterator[Violation]:
    events = world.scene.choreography.events
    seen = {events[entry.type] for entry in entries if entry.type in events}
    if verdict is None and not _explained(world, name):
        last = entries[-1].type.removeprefix("callboard.") if entries else "nothing"
        yield Violation("stuck", name, f"{flow.name} #{name} has no verdict; the last that happened is {last}")
    if flow.fails is not None and holds(flow.succeeds, seen) and holds(flow.fails, seen):
        yield Violation("two-verdicts", name, f"{flow.name} #{name} saw both {flow.succeeds} and {flow.fails}")


def _explained(world: World, name: str) -> bool:
    """Whether a fault used up the attempts of something in this flow: then an operator is asked, as it should be."""
    return any(line.flow == name and line.what == "dead letter" and _is_simulated(line.text) for line in world.lines)


def _gave_up(world: World, name: str, path: str) -> bool:
    """Whether this reaction has a dead letter in this flow: then an operator knows."""
    return any(each.flow == name and each.what == "dead letter" and each.text.startswith(path) for each in world.lines)


def _is_simulated(text: str) -> bool:
    return any(word in text for word in _EXPLAINED)


def _unanswered(world: World, name: str, entries: list[Entry]) -> Iterator[Violation]:
    """Effects in a failed flow that no compensation answers for."""
    choreography = world.scene.choreography
    for path in sorted({entry.by for entry in entries if entry.by in choreography.contracts}):
        contract = choreography.contracts[path]
        options = contract.options
        kinds = [choreography.events.get(entry.type) for entry in entries if entry.by == path]
        took = any(kind is not None and kind.inner is None and not kind.failure for kind in kinds)
        answered = options.pivot or options.keeps or options.compensates or path in choreography.compensations
        if took and not answered and takes_effect(choreography, contract):
            text = f"#{name} failed, and nothing undoes what {path} did"
            yield Violation("leak", name, text, f"{contract.file}:{contract.line}")


def _dead(world: World) -> Iterator[Violation]:
    told: set[tuple[str, str]] = set()
    for line in world.lines:
        reaction, _, error = line.text.partition(": ")
        known = _is_simulated(line.text) or (_NEVER in line.text and _explained(world, line.flow))
        if line.what == "dead letter" and not known and (line.flow, reaction) not in told:
            told.add((line.flow, reaction))
            path = reaction.partition("#")[0]
            contract = world.scene.choreography.contracts.get(path)
            place = f"{contract.file}:{contract.line}" if contract is not None else ""
            yield Violation("dead-letter", line.flow, f"{path} gave up on an event of #{line.flow}: {error}", place)


def _contracts(world: World) -> Iterator[Violation]:
    contracts = world.scene.choreography.contracts
    for _, entry in world.log:
        if entry.by not in contracts or entry.type.startswith("callboard."):
            continue
        if entry.type not in {kind.name for kind in contracts[entry.by].emits}:
            text = f"{entry.by} emitted {entry.type}, which its signature does not declare"
            yield Violation("contract", world.flow_name(entry.id), text)


def _lines(world: World) -> Iterator[Violation]:
    """Reactions that answered the events of one line in another order than that of their log."""
    last: dict[tuple[str, str, object], int] = {}
    ends = {worker: _ends(world, worker) for worker in world.workers}
    keys = {(worker, entry.pos): entry.key for worker, entry in world.log}
    for worker, entry in world.log:
        contract = world.scene.choreography.contracts.get(entry.by or "")
        if (
            contract is None
            or not entry.cause
            or entry.type.startswith(tuple(f"callboard.{c.__name__}" for c in SPEAKS_OF))
        ):
            continue
        options = contract.options
        if options.per or options.order == "loose" or options.compensates or contract.is_join or contract.gathered:
            continue
        if options.wait is not None or entry.source is not None:
            continue
        if entry.time >= ends[worker].get(entry.flow, entry.time + 1):
            continue
        line = (worker, contract.path, keys.get((worker, entry.cause)) or entry.flow)
        if last.get(line, 0) > entry.cause:
            name = world.flow_name(entry.id)
            yield Violation("order", name, f"{contract.path} answered an event of #{name} after a later one")
        last[line] = max(last.get(line, 0), entry.cause)


def _ends(world: World, worker: str) -> dict[int, int]:
    ends: dict[int, int] = {}
    for row in world.flows_at(worker):
        if row.ended is not None:
            ends[row.number] = min(row.ended, ends.get(row.number, row.ended))
    return ends


def _twice(world: World) -> Iterator[Violation]:
    """A delivery whose attempts, taken together, did more outside than any one of them: some call was not repeated, but
    made anew.
    """
    deliveries: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in world.calls:
        if call.took_place and call.delivery and not call.asks:
            deliveries[call.delivery, call.name].append(call)
    for calls in deliveries.values():
        each_run = Counter(call.attempt for call in calls)
        effects = len({call.key for call in calls if call.key is not None}) + sum(call.key is None for call in calls)
        if effects > max(each_run.values()):
            first, last = calls[0], calls[-1]
            why = "no key tells the second call from a new one"
            if first.key is not None:
                why = f"the key changed: {first.told}, then {last.told}"
            text = f"{last.name} took place {effects} times for #{last.flow}: {why}"
            yield Violation("outside-twice", last.flow, text, last.place)


def _left(world: World) -> Iterator[Violation]:
    """Calls outside of a failed flow that took place, and that no compensation spoke to the same port about."""
    choreography = world.scene.choreography
    failed = {line.flow for line in world.lines if line.what == "verdict" and " failed" in line.text}
    for flow in sorted(failed):
        calls = [call for call in world.calls if call.flow == flow and call.took_place and not call.asks]
        for path, undoers in choreography.compensations.items():
            if choreography.contracts[path].options.pivot or any(_gave_up(world, flow, undoer) for undoer in undoers):
                continue
            took = [call for call in calls if call.reaction == path and call.answer not in ("None", "False")]
            ports = {call.name.partition(".")[0] for call in took}
            undone = {call.name.partition(".")[0] for call in calls if call.reaction in undoers}
            for port in sorted(ports - undone):
                call = next(call for call in took if call.name.startswith(port))
                text = f"#{flow} failed, {call.told} took place, and no compensation of {path} called {port} about it"
                yield Violation("outside-left", flow, text, call.place)


def _memory(world: World) -> Iterator[Violation]:
    world.memory.look()
    for name, services in world.memory.changed.items():
        text = f"{name} is a variable of the module and was changed: it is gone when a worker of {services} ends"
        yield Violation("module-state", "", text, world.memory.place_of(name))


async def _invariants(world: World) -> AsyncIterator[Violation]:
    for invariant in world.scene.choreography.invariants:
        place = f"{invariant.__code__.co_filename}:{invariant.__code__.co_firstlineno}"
        try:
            told = invariant(world)
            told = await told if inspect.isawaitable(told) else told
        except AssertionError as error:
            frames = [each for each in extract_tb(error.__traceback__) if each.filename == place.rpartition(":")[0]]
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else place
            yield Violation("invariant", "", f"{invariant.__name__}: {error}".rstrip(": "), place)
        except CallboardError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever theirs raises is told
            yield Violation("invariant", "", f"{invariant.__name__} raised {type(error).__name__}: {error}", place)
        else:
            if told is False:
                yield Violation("invariant", "", f"{invariant.__name__} does not hold", place)
