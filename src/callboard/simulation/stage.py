"""A world of one flow that follows a script: each delivery waits until it is called, in the order of the steps.

A reaction that is held has fallen behind in its log, as it may in production; called, it reads one event. The body
decides what comes of it, by its inputs: fields of what is published, rows, answers from outside. Each has a name, and
is as `given` says; else keepers refuse and rows are empty where the script wants a failure, and what is published
speaks of what was said before. A reaction that is to fail is made to. Time stands still but where a step waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, get_type_hints

from msgspec.structs import replace

from callboard import fields
from callboard.checks.extraction import ATTEMPT_FAILED, GAVE_UP, ITS_TIME
from callboard.errors import CallboardError
from callboard.event import attribute, type_of
from callboard.hops.work import TIMER
from callboard.simulation.choices import Choices
from callboard.simulation.oracles import Violation
from callboard.simulation.outside import SimulatedFailure
from callboard.simulation.samples import START, sample
from callboard.simulation.workload import rows_of
from callboard.simulation.world import Ending, Scene, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from callboard.check import Step
    from callboard.event import EventType, StateType
    from callboard.hops.deliveries import Delivery, Reader
    from callboard.hops.work import Work
    from callboard.ledger import Entry

HELD, ONE, FREE = 0, 2, 256  # how much a reaction may have open: nothing; one more event; as ever
_ROUNDS = 40  # events that one step may read before it is given up
_EVENTS = 500  # of one flow, before it is given up
_ANSWERS = ("answer ", "refuse ", "fail ")  # how the names of inputs begin that come from outside


class OffScript(Exception):
    """The code goes another way than the script says."""


class Cues(Choices):
    """No chance: each input is as it was given, or as the script would have it."""

    def __init__(self, given: Mapping[str, float]) -> None:
        super().__init__(0, (), swarm=False)
        self.given = given
        self.asked: dict[str, int] = {}  # each input, and how many special values it has
        self.refusing: frozenset[str] = frozenset()  # the reactions whose keepers refuse

    def choose(self, key: str, special: int) -> float:
        """What was given, or something usual."""
        self.asked[key] = special
        return self.given.get(key, self.draw(key))

    def picks(self, key: str, usual: int, count: int) -> int:
        """One of so many."""
        self.asked[key] = count
        return min(int(self.given.get(key, usual + 1)) - 1, count - 1)

    def strikes(self, fault: str, where: str) -> float | None:
        """Only refusals, and calls that fail."""
        if fault not in ("refuse", "fail"):
            return None
        key = self.visit(f"{fault} {where}")
        wanted = fault == "refuse" and where.rpartition(" in ")[2].rpartition("#")[0] in self.refusing
        if not self.picks(key, int(wanted), 2):
            return None
        self.deviations[key] = 1.0
        return 1.0


class Opened(dict[int, "Delivery"]):
    """The deliveries that a reaction has open; each new one is told."""

    def __init__(self, told: Callable[[Delivery], None]) -> None:
        super().__init__()
        self._told = told

    def __setitem__(self, pos: int, delivery: Delivery) -> None:
        super().__setitem__(pos, delivery)
        self._told(delivery)


def runs_of(step: Step) -> str:
    """The reaction of a step, by path; empty if it is the world's or the tracker's."""
    return f"{step.service}.{step.reaction}" if step.reaction else ""


class Stage(World):
    """One try of a script. `followed` steps went as they should; `why` says what went otherwise."""

    def __init__(self, scene: Scene, script: Sequence[Step], given: Mapping[str, float]) -> None:
        calm = Scene(
            scene.choreography, scene.keepers, (), swarm=False, flows=1, ledgers="shared", ignored=scene.ignored
        )
        super().__init__(calm, 0)
        self.choices = self._cues = Cues(given)
        self.script = [step for step in script if step.service]
        self.given = dict(given)
        self.followed = 0
        self.why = ""
        self.verdicts: dict[str, str | None] = {}  # of each flow in the end
        self.is_free = False  # whether it was a body that went otherwise
        self.inputs: list[str] = []  # that may have made it go otherwise, the nearest first
        self._left = list(self.script)
        self._known: dict[EventType, list[Any]] = {}  # what the user's own workload publishes
        self._learning = False
        self._is_held = False
        self._called: Reader | None = None
        self._taken: Entry | None = None
        self._pos = 0  # of the last that was taken
        self._ran = False  # the body, since it was called
        self._key = ""
        self._before: frozenset[str] = frozenset()  # what was asked before this step

    def run(self) -> Ending:
        """Live it; how it ended counts only if the script was followed."""
        ending = super().run()
        if self.why:
            ending.violations = []
        return ending

    @property
    def is_followed(self) -> bool:
        """Whether every step went as the script says."""
        return not self.why and self.followed == len(self.script)

    # the play

    async def live(self) -> None:
        """The script, step by step."""
        self._build()
        (worker,) = self.workers.values()
        worker.refuse_wrong_keepers()
        worker.start()
        await worker.up()
        try:
            await self._furnish()
            for reader in self.work.readers.values():
                reader.lag, reader.most, reader.open = reader.pos, HELD, Opened(self._took)
            self._is_held = True
            while self._left:
                await self._perform(self._left.pop(0))
                self.followed += 1
        except (OffScript, CallboardError) as error:
            self.why, self.is_cut = str(error), True
            self.inputs = self._inputs_of(self.script[self.followed]) if self.followed < len(self.script) else []
        else:
            await self._go_on()

    async def _go_on(self) -> None:
        """Everything that is left to be done; not for ever, where reactions answer each other in a circle."""
        self._is_held = False
        for reader in self.work.readers.values():
            reader.most = FREE
        self.work.wake()
        await self.rest()
        for disk in self.disks.values():
            self.verdicts |= dict(disk.query("SELECT name, verdict FROM flow WHERE name <> ''"))
        if len(self.log) >= _EVENTS:
            self.is_cut = True
            self.found.append(Violation("trouble", "", f"after {_EVENTS} events one flow is still at work"))

    def tell(
        self, worker: str, what: str, text: str, flow: str = "", content: bytes = b"", *, deviation: str | None = None
    ) -> None:
        """As in every world; so many lines are one of too many events."""
        super().tell(worker, what, text, flow, content, deviation=deviation)
        if len(self.log) >= _EVENTS and self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    @property
    def work(self) -> Work:
        """Of the only worker, which never dies."""
        (worker,) = self.workers.values()
        if worker.board is None:
            raise OffScript("the worker has stopped")
        return worker.board.work

    def _took(self, delivery: Delivery) -> None:
        if delivery.reader is self._called:
            self._taken, delivery.reader.most = delivery.entry, HELD
            self._pos = delivery.entry.pos

    def _idle(self, due: float | None) -> None:
        if self._is_held:
            resting = self._resting
            work = self.work
            if resting is not None and not (resting.done() or work.running or work.busy or work.later):
                resting.set_result(None)
        else:
            super()._idle(due)

    async def _perform(self, step: Step) -> None:
        self._before = frozenset(self._cues.asked)
        path = runs_of(step)
        if not path:
            await self._say(step)
        elif step.note == ITS_TIME:
            await self._fire(self.work.readers[path])
        else:
            await self._run(self.work.readers[path], step)

    # what the world says

    async def _furnish(self) -> None:
        """Rows are there before anything happens: those of the user's workload, else our own."""
        workloads = self.scene.choreography.workloads
        self._learning = True
        await self._work_through(workloads)
        self._learning = False
        for state in self.scene.choreography.states.values() if not workloads else ():
            if not self.scene.choreography.is_private(state):
                number = self._number(state.name)
                await self.put(*(self._bent(row, number, state, n) for n, row in enumerate(rows_of(self, state), 1)))

    def _bent(self, row: Any, number: int | None, state: StateType, ordinal: int) -> Any:
        """The same row, its numbers so small or large that what is asked of it fails or goes well."""
        hints, given = get_type_hints(state.cls), self._cues.given
        fixed = {name for name in hints if f"row {state.name} {ordinal}.{name}" in given} | {state.key}
        bent = {name for name, hint in hints.items() if hint is int and name not in fixed and number is not None}
        names = fields.field_names(state.cls)
        return sample(state.cls, self.drawing(""), {n: number if n in bent else getattr(row, n) for n in names})

    def _number(self, state: str) -> int | None:
        """What the numbers of its rows are: little where a reaction is to fail, plenty where it is to go well."""
        contracts, failures = self.scene.choreography.contracts, {str(k) for k in self._kinds() if k.failure}
        wants = [
            any(each.partition("#")[0] in failures for each in step.emitted)
            for step in self.script
            if (path := runs_of(step)) and step.emitted and any(r.state.name == state for r in contracts[path].states)
        ]
        return 0 if any(wants) else 1000 if wants else None

    def _kinds(self) -> list[EventType]:
        return list(self.scene.choreography.events.values())

    async def publish(self, event: Any, *, after: float = 0.0) -> None:
        """What the user's workload publishes is an example; the script says when."""
        if self._learning:
            self._known.setdefault(type_of(event), []).append(event)
        else:
            await super().publish(event, after=after)

    async def cancel(self, flow: str, key: str) -> None:
        """The script says when."""

    async def _say(self, step: Step) -> None:
        name = step.emitted[0].partition("#")[0]
        if step.service == "(tracker)":
            await self._pass_deadline()
        elif name.startswith("FlowCancelled"):
            (worker,) = self.workers.values()
            flow = next(each for each in self.scene.choreography.flows.values() if f"[{each.start}]" in name)
            await self._insist(worker, lambda board: board.flow(flow.name, self._key).cancel("as the script says"))
        else:
            kind = next(each for each in self._kinds() if str(each) == name)
            await self.publish(self._example(kind, step.emitted[0].partition("#")[2]))
        await self._settle()

    def _example(self, kind: EventType, ordinal: str) -> Any:
        """An event as the user's workload publishes it, or one that is made: it speaks of what was said before."""
        flow = next(each for each in self.scene.choreography.flows.values() if kind.carries(each.key))
        known = self._known.get(kind, [])
        known = [each for each in known if not self._key or str(attribute(each, flow.key)) == self._key]
        name = f"event {kind} {kind.name}{ordinal}"
        if known:
            event = known[self._cues.picks(f"{name} example", 0, len(known))]
        else:
            given = self._spoken_of(kind, name, int(ordinal or 1))
            given[flow.key] = self._key or f"{flow.key.removesuffix('_id')}-1"
            event = sample(kind.cls, self.drawing(name), given)
        self._key = str(attribute(event, flow.key))
        return event

    def _spoken_of(self, kind: EventType, name: str, ordinal: int) -> dict[str, Any]:
        """The fields that earlier events of the flow have too: what they said, each part for the event of its part."""
        given: dict[str, Any] = {}
        events = self.scene.choreography.events
        said = [self.codec.decode(e.data, events[e.type]) for _, e in self.log if e.type in events and e.by]
        for field in fields.field_names(kind.cls):
            values = [*dict.fromkeys(getattr(each, field) for each in said if hasattr(each, field))]
            if values:
                which = self._cues.picks(f"{name} .{field} as said", (ordinal - 1) % len(values), len(values) + 1)
                given |= {field: values[which]} if which < len(values) else {}
        return given

    async def _pass_deadline(self) -> None:
        due = self.work.watcher.next_deadline() if self.work.watcher is not None else None
        if due is None:
            raise OffScript("no deadline is left that could pass: the flow is over, or was told of it")
        await self._sleep_until(due)

    async def _sleep_until(self, due: int) -> None:
        await asyncio.sleep(max(due / 1_000_000 - START.timestamp() - self.loop.time(), 0) + 0.05)

    # what a reaction does

    async def _settle(self) -> None:
        """Everything is done that can be done without that time passes; who has nothing to read is told so."""
        await self.rest()
        moved = False
        for reader in self.work.readers.values():
            ahead = await self._next_of(reader)
            lag = self.work.read if ahead is None else ahead.pos - 1
            moved, reader.lag = moved or reader.lag != lag, lag
        if moved:
            self.work.wake()
            await self.rest()

    async def _next_of(self, reader: Reader) -> Entry | None:
        pos = reader.pos if reader.lag is None else reader.lag
        found: list[Entry] = await self.work.ledger.read(pos, limit=1, types=self.work.kinds_of(reader))
        return found[0] if found else None

    async def _call(self, reader: Reader) -> bool:
        """It reads one event, and does what it can do of it at once. False if there is none."""
        self._taken = None
        if await self._next_of(reader) is None:
            return False
        self._called, reader.most = reader, ONE
        self.work.wake()
        await self._settle()
        self._called, reader.most = None, HELD
        return True

    async def _arm(self) -> None:
        """Timers are set as soon as their event is said."""
        for reader in self.work.readers.values():
            if reader.contract.options.wait is not None:
                while (entry := await self._next_of(reader)) is not None and not entry.type.startswith(TIMER):
                    if not await self._call(reader):
                        return

    async def _fire(self, reader: Reader) -> None:
        await self._arm()
        timers = [row.due for row in reader.rows.values() if row.why == "timer" and row.due is not None]
        ahead = await self._next_of(reader)
        if timers:
            await self._sleep_until(min(timers))
            await self._settle()
        elif ahead is None or not ahead.type.startswith(TIMER):
            raise OffScript(f"the timer of {reader.path} is not set")

    async def _run(self, reader: Reader, step: Step) -> None:
        wanted = Counter(each.partition("#")[0] for each in step.emitted)
        failures = {str(each) for each in self._kinds() if each.failure}
        wants_failure = any(each in failures for each in wanted)
        self._cues.refusing = frozenset({reader.path}) if wants_failure else frozenset()
        usual, start = reader.reaction, len(self.log)
        self._ran = False
        function = usual.function if step.note not in (ATTEMPT_FAILED, GAVE_UP) else _failing(reader.contract.is_async)
        reader.reaction = replace(usual, function=self._watched(function))
        try:
            await self._until(reader, step, start, wanted)
        finally:
            reader.reaction = usual

    def _watched(self, function: Any) -> Any:
        def runs(**given: Any) -> Any:
            self._ran = True
            return function(**given)

        return runs

    async def _until(self, reader: Reader, step: Step, start: int, wanted: Counter[str]) -> None:
        await self._arm()
        said: Counter[str] = Counter()
        for _ in range(_ROUNDS):
            if not await self._tried_again(reader):
                await self._call(reader)
            said = self._said(reader, start)
            if self._is_done(reader, step, said, wanted):
                return
            if said or self._taken is None:
                break
            await self._free_mates(reader)
        raise OffScript(self._otherwise(reader, step, said))

    def _is_done(self, reader: Reader, step: Step, said: Counter[str], wanted: Counter[str]) -> bool:
        parked = {row.why for row in reader.rows.values() if row.pos == self._pos}
        if step.note in (ATTEMPT_FAILED, GAVE_UP):
            return ("dead" if step.note == GAVE_UP else "retry") in parked
        if said == wanted:
            return bool(said) or (self._is_heard(step) and "retry" not in parked)
        if (swapped := self._later(step, said)) is not None:
            self._left[swapped] = step
        return swapped is not None

    def _is_heard(self, step: Step) -> bool:
        taken = self._taken
        return taken is not None and (
            " + " in step.heard or taken.type.startswith(TIMER) or self._name(taken) == step.heard.partition("#")[0]
        )

    def _name(self, entry: Entry) -> str:
        return str(self.scene.choreography.events.get(entry.type, entry.type))

    def _said(self, reader: Reader, start: int) -> Counter[str]:
        entries = [entry for _, entry in self.log[start:] if entry.by == reader.path]
        return Counter(self._name(each) for each in entries if not each.type.startswith(TIMER))

    def _later(self, step: Step, said: Counter[str]) -> int | None:
        """Of two deliveries of one reaction either may go first: the script has them the other way round."""
        for number, other in enumerate(self._left):
            if (other.service, other.reaction) == (step.service, step.reaction) and other.heard != step.heard:
                kinds = Counter(each.partition("#")[0] for each in other.emitted)
                if kinds == said and self._is_heard(other):
                    return number
        return None

    async def _free_mates(self, reader: Reader) -> None:
        """What stands before a compensation in the log, and has no part in the script any more, is read."""
        busy = {runs_of(step) for step in self._left}
        for mate in self.work.world.pairs.get(reader.pair or "", ()):
            if mate is not reader and mate.path not in busy:
                await self._call(mate)

    async def _tried_again(self, reader: Reader) -> bool:
        """What has failed before goes first. False if there is nothing of it."""
        dues = [(row.due, row.pos) for row in reader.rows.values() if row.why == "retry" and row.due is not None]
        if dues:
            due, self._pos = min(dues)
            (self._taken,) = await self.work.ledger.entries([self._pos])
            await self._sleep_until(due)
            await self._settle()
        return bool(dues)

    def _otherwise(self, reader: Reader, step: Step, said: Counter[str]) -> str:
        wanted = " + ".join(step.emitted) or "nothing"
        rows = [row for row in reader.rows.values() if row.why != "timer"]
        self.is_free = bool(said) or (self._ran and not rows)
        if self.is_free:
            return f"{reader.path} said {' + '.join(said.elements()) or 'nothing'} to {step.heard}, not {wanted}"
        if rows:
            row = rows[-1]
            told = f"waits for {row.missing}" if row.missing else f"is parked: {row.why}, {row.error or 'no error'}"
            return f"{reader.path} {told}, where it should say {wanted}"
        return f"{reader.path} did not run for {step.heard}, to say {wanted}: it was skipped, or held back by another"

    # what may have made it go otherwise

    def _inputs_of(self, step: Step) -> list[str]:
        """The inputs that were asked for so far, what is likelier to matter first: what this step read, then what those
        read that write its rows, then the rest; and how many there are of something before what they are.
        """
        contracts = self.scene.choreography.contracts
        contract = contracts.get(runs_of(step))
        if contract is None:
            return []
        own = {row.state.name for row in contract.states}
        near = {r.state.name for c in contracts.values() if own & {w.state.name for w in c.states} for r in c.states}
        heard = {str(kind) for kind in contract.hears} | {str(kind) for each in contract.givens for kind in each.types}

        def distance(key: str) -> tuple[int, bool, bool]:
            what, name = key.split(" ")[:2]
            ranks = (own, near) if what == "row" else (heard, heard)
            far = next((n for n, names in enumerate(ranks, 1) if name in names), len(ranks) + 1)
            if key.startswith(_ANSWERS):
                far = 0 if key not in self._before else 2
            return far, not self._cues.asked[key], not key.endswith((" length", "?"))

        latest_first = [*self._cues.asked][::-1]
        return sorted(filter(self._may_matter, latest_first), key=distance)

    def _may_matter(self, key: str) -> bool:
        """Of rows only those that some event names; a call that fails is another story, if it is not the step's own."""
        what, name, at = [*key.split(" "), ""][:3]
        if what == "row":
            state = self.scene.choreography.states[name]
            row = f"{state.key}-{at.partition('.')[0]}".encode()
            return any(row in entry.data for _, entry in self.log)
        return what != "fail" or key not in self._before

    def options(self, key: str) -> list[float]:
        """What else this input may be: special values and usual ones in turn."""
        special = [1.0 + number for number in range(self._cues.asked[key])]
        usual = [] if key.startswith(("refuse ", "fail ")) or key.endswith((" example", " as said")) else [0.0, 0.99]
        return [each for each in (*special[:2], *usual, *special[2:]) if each != self._cues.given.get(key)]


def _failing(is_async: bool) -> Any:
    async def fails_later(**_: Any) -> None:
        raise SimulatedFailure("the script lets it fail (simulated)")

    def fails(**_: Any) -> None:
        raise SimulatedFailure("the script lets it fail (simulated)")

    return fails_later if is_async else fails
