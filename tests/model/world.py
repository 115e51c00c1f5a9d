"""One ledger, one process, many crashes: the react group as an executable model. ``run(seed, rules)`` gives an Outcome.

A ``Ledger`` is what commits make durable, a ``Memory`` what a crash takes away. Every decision reads the two that it is
given, so the draft of a group and the real thing are decided by the same lines. Limits: one process, no broker, no
prerequisites, joins or gathers, and a pair has at most one effect in a flow (there is one OrderCreated in it).
"""
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random
from typing import Literal, NamedTuple

from .plan import Plan, draw
from .rules import PROPOSED, Rules
from .shop import COMPENSATION, FAILURES, ONCE, REACTIONS, Call, Emitted, Event, Given, Outside, Reaction, Shelf, Steps, heard_by

Delivery = tuple[str, int]  # (reaction, seq)
MAX_ATTEMPTS = 3
IN_FLIGHT = 8
SUSPECTS = 2  # after an unclean stop so many claims go one at a time, twice as many after the next
ENDS = ("OrderCompleted", "OrderCancelled")


class Killed(Exception):
    """The user's code ended the process."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The one home of a delivery that is neither open nor settled."""

    why: Literal["behind", "retry", "timer", "running", "dead", "settled"]
    due: int = 0
    attempts: int = 0
    replays: int = 0
    tried: bool = False  # it may have reached the outside; attempts may be forgiven, this never
    reason: str = ""


class FlowRow(NamedTuple):
    """What the tracker knows of a flow."""

    deadline: int
    seen: str = ""  # the end that was read from the log
    verdict: str = ""
    at: int = 0  # head of the log at the verdict
    leaked: tuple[str, ...] = ()
    timed_out: bool = False
    asked: bool = False  # an asked compensation was not done at the verdict (judged, never used)


@dataclass(slots=True)
class Ledger:
    """What is durable."""

    shelves: dict[str, Shelf]
    position: dict[str, int]
    open: dict[str, frozenset[int]]
    log: list[Event] = field(default_factory=list)
    parked: dict[Delivery, Parked] = field(default_factory=dict)
    memory: set[tuple[str, str, str]] = field(default_factory=set)  # (flow, closed | answered | unknown | compensated, name)
    once: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    skipped: list[tuple[Delivery, str]] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)
    supplied: set[str] = field(default_factory=set)
    flows: dict[str, FlowRow] = field(default_factory=dict)
    tracked: int = 0

    def copy(self) -> "Ledger":
        """The draft of a transaction."""
        return Ledger(self.shelves.copy(), self.position.copy(), self.open.copy(), self.log.copy(), self.parked.copy(),
                      self.memory.copy(), self.once.copy(), self.skipped.copy(), self.status.copy(), self.supplied.copy(),
                      self.flows.copy(), self.tracked)

    def of(self, flow: str) -> Iterator[Event]:
        """The events of a flow, in log order."""
        return (event for event in self.log if event.flow == flow)


@dataclass(slots=True, eq=False)
class Run:
    """One attempt, from its claim to its settlement."""

    delivery: Delivery
    shelf: Shelf | None
    effect: Event | None
    row: str = ""
    free: int = 0  # what the shelf had when it was loaded
    steps: Steps | None = None
    call: Call | None = None
    emitted: Emitted | None = None
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it can be settled."""
        return self.emitted is not None or bool(self.error)


@dataclass(slots=True)
class Memory:
    """What a crash takes away."""

    read: int
    open: dict[str, set[int]]
    running: dict[Delivery, Run] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    fused: int = 0  # up to here no row is new to the plain reactions

    def copy(self) -> "Memory":
        """The draft of a transaction."""
        return Memory(self.read, {name: seqs.copy() for name, seqs in self.open.items()}, self.running.copy())


class World:
    """The process, its ledger and the outside, moved one step at a time."""

    def __init__(self, plan: Plan, rules: Rules, schedule: int = 0) -> None:
        self.plan, self.rules = plan, rules
        self.chance = Random(f"{plan.seed}/{schedule}")  # noqa: S311
        self.outside = Outside(plan)
        self.ledger = Ledger({sku: Shelf(free) for sku, free in plan.stock.items()}, dict.fromkeys(REACTIONS, 0),
                             dict.fromkeys(REACTIONS, frozenset()))
        self.memory = Memory(0, {name: set() for name in REACTIONS})
        self.now = self.beat = self.published = self.suspects = self.unclean = self.moves = 0

    # -- inputs ------------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Commit the next input. Another process does it: nothing is handed on to ours."""
        if self.published < len(self.plan.inputs):
            one, ledger = self.plan.inputs[self.published], self.ledger
            self.published += 1
            self.moves += 1
            if one.id not in ledger.supplied or not self.rules.drops_duplicates:
                ledger.supplied.add(one.id)
                self.append(ledger, Event(0, one.id, one.type, one.key, "" if one.number else one.key, number=one.number))
                if one.type == "OrderCreated":
                    ledger.flows.setdefault(one.key, FlowRow(self.now + self.plan.timeout))

    def cancel(self, flow: str) -> None:
        """Cancel a flow from outside, unless there is none, or it has its end: then it is refused."""
        ledger = self.ledger
        if flow in ledger.flows and flow not in ledger.supplied and not any(event.type in ENDS for event in ledger.of(flow)):
            ledger.supplied.add(flow)
            self.moves += 1
            self.append(ledger, Event(0, f"{flow}.FlowCancelled", "FlowCancelled", flow, flow))

    def append(self, ledger: Ledger, event: Event) -> None:
        """Give the event its place in the log."""
        ledger.log.append(event._replace(seq=len(ledger.log) + 1, time=self.now))

    # -- 0. notice ---------------------------------------------------------------------------------------------------

    def notice(self, ledger: Ledger, memory: Memory, start: int, stop: int) -> None:
        """Open what the rows of the log mean to each reaction."""
        for event in ledger.log[start:stop]:
            for reaction in heard_by(event):
                if event.seq > ledger.position[reaction.name]:
                    memory.open[reaction.name].add(event.seq)
        self.moves += stop > memory.read
        memory.read = max(memory.read, stop)

    # -- 1. claim ----------------------------------------------------------------------------------------------------

    def candidates(self, ledger: Ledger, memory: Memory) -> list[tuple[int, str]]:
        """What is open or parked and due, oldest first."""
        found = [(seq, name) for name, seqs in memory.open.items() for seq in seqs]
        found += [(seq, name) for (name, seq), row in ledger.parked.items()
                  if row.why == "behind" or (row.why == "retry" and row.due <= self.now)]
        return sorted((seq, name) for seq, name in found if (name, seq) not in memory.running and not self.held(name, ledger.log[seq - 1].key))

    def behind(self, ledger: Ledger, memory: Memory, name: str, event: Event, *, parked_only: bool = False) -> bool:
        """Whether something older of the same line is not settled."""
        if not parked_only and any(seq < event.seq and ledger.log[seq - 1].key == event.key for seq in memory.open[name]):
            return True
        return self.rules.line_stops and any(
            one == name and seq < event.seq and ledger.log[seq - 1].key == event.key and row.why not in ("timer", "settled")
            for (one, seq), row in ledger.parked.items())

    def may_start(self, ledger: Ledger, memory: Memory, name: str, seq: int) -> bool:
        """Rules a to c. After a crash what was left open may lie above what was read again: it waits for the rows below it."""
        reaction, event = REACTIONS[name], ledger.log[seq - 1]
        if (seq > memory.read and self.rules.reads_up_to_it) or self.behind(ledger, memory, name, event):
            return False
        if reaction.shelf and self.rules.row_order and self.plan.locked:
            row = self.row(event)
            if any(run.row == row for run in memory.running.values()):
                return False
        for other in ONCE.get(reaction.once, ()):
            if other != name and (self.runs(ledger, memory, other, event.flow)
                                  or any(s < seq and ledger.log[s - 1].flow == event.flow for s in memory.open[other])):
                return False
        return self.pair_allows(ledger, memory, reaction, event)

    def pair_allows(self, ledger: Ledger, memory: Memory, reaction: Reaction, event: Event) -> bool:
        """A reaction and its compensations: log order, one at a time, and nobody waits for what is parked."""
        name, flow, seq = reaction.name, event.flow, event.seq
        if compensation := COMPENSATION.get(name):
            asks = [e.seq for e in ledger.of(flow) if compensation in heard_by(e)
                    and (e.seq > memory.read or e.seq in memory.open[compensation.name])]
            if self.rules.parked_waits and asks and (name, seq) in ledger.parked:
                return False
            if self.rules.reaction_waits and (any(ask < seq for ask in asks) or self.runs(ledger, memory, compensation.name, flow)):
                return False
        if reaction.compensates and self.rules.compensation_waits:
            if self.runs(ledger, memory, reaction.compensates, flow):
                return False
            for other in memory.open[reaction.compensates]:
                if other < seq and ledger.log[other - 1].flow == flow and not self.behind(
                        ledger, memory, reaction.compensates, ledger.log[other - 1], parked_only=True):
                    return False
        return True

    @staticmethod
    def runs(ledger: Ledger, memory: Memory, name: str, flow: str) -> bool:
        """Whether a run of this reaction in this flow is not settled."""
        return any(one == name and ledger.log[seq - 1].flow == flow for one, seq in memory.running)

    def row(self, event: Event) -> str:
        """The sku whose shelf the event is about."""
        return self.plan.orders[event.flow].sku if event.flow else event.key

    def claim(self, limit: int, *, shuffled: bool = False) -> None:
        """Start what may start. After an unclean stop, and for what was parked, the attempt is written down first (e)."""
        found = self.candidates(self.ledger, self.memory)
        if shuffled:  # oldest first is fair; what is right must not hang on it
            self.chance.shuffle(found)
        for seq, name in found:
            if limit == 0 or len(self.memory.running) >= (1 if self.suspects else IN_FLIGHT):
                return
            if self.may_start(self.ledger, self.memory, name, seq):
                limit -= 1
                if self.suspects or (name, seq) in self.ledger.parked:
                    self.write_attempt(name, seq)
                self.suspects = max(self.suspects - 1, 0)
                self.unclean = self.unclean if self.suspects else 0
                self.start(self.ledger, self.memory, name, seq)
                self.moves += 1

    def write_attempt(self, name: str, seq: int) -> None:
        """Count the attempt before it starts: what kills the process is counted too."""
        ledger, memory = self.ledger, self.memory
        row = ledger.parked.get((name, seq), Parked("running"))
        ledger.parked[name, seq] = replace(row, why="running", attempts=row.attempts + 1, tried=True)
        memory.open[name].discard(seq)
        self.write_position(ledger, memory, name)

    def write_position(self, ledger: Ledger, memory: Memory, name: str) -> None:
        """Write how far the reaction has come, and what it left open below."""
        ledger.position[name] = max(ledger.position[name], memory.read)  # after a crash it is read again from further back
        ledger.open[name] = frozenset(memory.open[name]) if self.rules.writes_open else frozenset()

    # -- 2. check ----------------------------------------------------------------------------------------------------

    @staticmethod
    def decide(ledger: Ledger, reaction: Reaction, event: Event) -> str:
        """Why this delivery takes no effect, if so. Asked before the run to save work, and in the commit to decide."""
        flow, name = event.flow, reaction.name
        if (flow, "closed", name) in ledger.memory:
            return "closed"
        if reaction.once and ledger.once.get((flow, reaction.once), (name, event.seq)) != (name, event.seq):
            return "lost once"
        if (flow, "answered", name) in ledger.memory:
            return "answered before"
        if event.type == reaction.timer and not event.number and any(
                e.type in reaction.unless and e.seq < event.seq for e in ledger.of(flow)):
            return "unless"
        return "no longer needed" if reaction.waits and ledger.flows[flow].verdict else ""

    @staticmethod
    def effect(ledger: Ledger, reaction: Reaction, flow: str) -> Event | None:
        """The effect that a compensation has to answer for."""
        return next((e for e in ledger.of(flow) if e.by == reaction.compensates and e.type == reaction.effect
                     and (flow, "compensated", str(e.seq)) not in ledger.memory), None) if reaction.compensates else None

    def attempted(self, ledger: Ledger, name: str, flow: str) -> bool:
        """Whether the reaction may have reached the outside without committing anything."""
        return (flow, "unknown", name) in ledger.memory or (self.suspends(REACTIONS[name]) and any(
            one == name and row.tried and ledger.log[seq - 1].flow == flow for (one, seq), row in ledger.parked.items()))

    # -- 3. run ------------------------------------------------------------------------------------------------------

    def suspends(self, reaction: Reaction) -> bool:
        """Whether it can reach outside."""
        return reaction.outside or self.plan.suspends

    def start(self, ledger: Ledger, memory: Memory, name: str, seq: int) -> Run:
        """Run on private copies up to the first call, unless it is decided without a run."""
        reaction, event = REACTIONS[name], ledger.log[seq - 1]
        row = self.row(event) if reaction.shelf else ""
        run = Run((name, seq), ledger.shelves[row].copy() if row else None, self.effect(ledger, reaction, event.flow), row)
        run.free = run.shelf.free if run.shelf else 0
        memory.running[run.delivery] = run
        if reaction.once and not self.rules.once_at_commit:
            for one in (ledger, self.ledger):
                one.once.setdefault((event.flow, reaction.once), run.delivery)
        if (self.decide(ledger, reaction, event) or (reaction.waits and event.type != reaction.timer)
                or (reaction.strict and run.effect is None)):
            run.emitted = ()
        else:
            self.begin(ledger, reaction, event, run)
        return run

    def begin(self, ledger: Ledger, reaction: Reaction, event: Event, run: Run) -> None:
        """Call the user's code."""
        row = ledger.parked.get(run.delivery, Parked("running", attempts=1))
        attempt = row.attempts + 10 * row.replays
        if self.plan.kills(reaction.name, event.key):
            raise Killed
        if self.plan.poisons(reaction.name, event.key, row.replays) or (
                draw(self.plan.seed, "early", event.id, attempt) < 0.5 and self.plan.fails(reaction.name, event.id, attempt)):
            run.error = "raised"
            return
        order = self.plan.orders.get(event.flow)
        given = Given(event, order.quantity if order else 1, event.key if self.rules.stable_keys else f"{event.key}#{attempt}",
                      run.effect, run.shelf or Shelf(0), vouched=run.effect is None and not self.rules.unknown_is_settled)
        run.steps = self.steps(reaction, given, attempt)
        self.advance(run, None)

    def steps(self, reaction: Reaction, given: Given, attempt: int) -> Steps:
        """The body, with a pause where plain reactions suspend too; it may raise when all its calls are done."""
        if self.plan.suspends and not reaction.outside:
            yield Call("nobody", "pause", given.event.id)
        got = reaction.body(given)
        emitted = got if isinstance(got, tuple) else (yield from got)
        if self.plan.fails(reaction.name, given.event.id, attempt):
            return ("(raised)",)
        return emitted

    def advance(self, run: Run, answer: str | None) -> None:
        """Step the run to its next call, or to its end."""
        assert run.steps
        try:
            run.call = next(run.steps) if run.call is None else run.steps.send(answer)
        except StopIteration as stop:
            run.emitted = stop.value
            run.error = "raised" if run.emitted == ("(raised)",) else ""
        else:
            self.outside.pending.append(run.call)

    def resume(self) -> None:
        """Hand the outside's answers to the runs that await them."""
        for run in list(self.memory.running.values()):
            if run.call and run.call.handled and not run.finished:
                self.moves += 1
                if run.call.lost:
                    run.error = "no answer"
                else:
                    self.advance(run, run.call.answer)

    def abandon(self, call: Call | None) -> None:
        """Nobody awaits this call any more. It may take place late if a void closes its key, else now or never."""
        if call in self.outside.pending and not self.plan.zombies:
            self.outside.pending.remove(call)
            if self.chance.random() < 0.5:
                self.outside.handle(call)

    # -- 4. settle ---------------------------------------------------------------------------------------------------

    def settle(self, ledger: Ledger, memory: Memory, run: Run) -> None:
        """Decide again, then commit the run, park it, or let it run again."""
        reaction, event = REACTIONS[run.delivery[0]], ledger.log[run.delivery[1] - 1]
        memory.running.pop(run.delivery, None)
        memory.touched.add(reaction.name)
        if reason := self.decide(ledger, reaction, event):
            self.finish(ledger, memory, run.delivery, reason)
        elif reaction.waits and event.type != reaction.timer:
            self.finish(ledger, memory, run.delivery)
            ledger.parked[run.delivery] = Parked("timer", event.time + self.plan.expiry)
        elif run.error:
            self.park(ledger, memory, run.delivery, run.error)
        elif run.shelf and self.rules.versions and ledger.shelves[run.row].version != run.shelf.version:
            if row := ledger.parked.get(run.delivery):  # it runs again, and no attempt is counted
                ledger.parked[run.delivery] = replace(row, why="retry", due=self.now, attempts=row.attempts - 1)
        elif reaction.strict and run.effect is None:
            if self.rules.unknown_is_settled and self.attempted(ledger, reaction.compensates, event.flow):
                self.close(ledger, memory, reaction, event.flow)
                self.die(ledger, memory, run.delivery, f"outcome of {reaction.compensates} unknown")
            else:
                self.close(ledger, memory, reaction, event.flow)
                self.finish(ledger, memory, run.delivery, "nothing to compensate")
        else:
            self.succeed(ledger, memory, reaction, event, run)

    def succeed(self, ledger: Ledger, memory: Memory, reaction: Reaction, event: Event, run: Run) -> None:
        """State, events, memories and the delivery, together."""
        emitted = run.emitted or ()
        moved = run.shelf.free - run.free if run.shelf and not FAILURES.issuperset(emitted) else 0
        if run.shelf and moved:
            ledger.shelves[run.row] = Shelf(run.shelf.free, run.shelf.filled, ledger.shelves[run.row].version + 1)
        for each in emitted:
            self.append(ledger, Event(0, f"{event.id}/{reaction.name}", each, event.key, event.flow, reaction.name, event.seq,
                                      number=moved))
        if reaction.once and emitted:
            ledger.once[event.flow, reaction.once] = run.delivery
            ledger.status[event.flow] = emitted[0]
        if reaction.compensates:
            if not reaction.strict:
                ledger.memory.add((event.flow, "answered", reaction.name))
            if run.effect:
                ledger.memory.add((event.flow, "compensated", str(run.effect.seq)))
            self.close(ledger, memory, reaction, event.flow)
        self.finish(ledger, memory, run.delivery)

    @staticmethod
    def finish(ledger: Ledger, memory: Memory, delivery: Delivery, skipped: str = "") -> None:
        """Nothing more is needed for this delivery."""
        memory.open[delivery[0]].discard(delivery[1])
        ledger.parked.pop(delivery, None)
        if skipped:
            ledger.skipped.append((delivery, skipped))

    def close(self, ledger: Ledger, memory: Memory, compensation: Reaction, flow: str) -> None:
        """The compensated reaction takes no more effect in this flow; what is parked of it is superseded."""
        name = compensation.compensates
        if self.rules.unknown_is_kept and self.attempted(ledger, name, flow):
            ledger.memory.add((flow, "unknown", name))
        if not self.rules.closes:
            return
        ledger.memory.add((flow, "closed", name))
        for delivery, row in list(ledger.parked.items()):
            if delivery[0] == name and ledger.log[delivery[1] - 1].flow == flow and row.why != "timer":
                self.finish(ledger, memory, delivery, "superseded")
                memory.touched.add(name)

    def park(self, ledger: Ledger, memory: Memory, delivery: Delivery, reason: str) -> None:
        """Again later, or a dead letter."""
        row = ledger.parked.get(delivery, Parked("retry", attempts=1))
        if row.attempts >= MAX_ATTEMPTS:
            self.die(ledger, memory, delivery, reason)
            return
        memory.open[delivery[0]].discard(delivery[1])
        ledger.parked[delivery] = replace(row, why="retry", due=self.now + 3 * row.attempts, tried=True, reason=reason)
        self.close_by(ledger, memory, delivery)

    def die(self, ledger: Ledger, memory: Memory, delivery: Delivery, reason: str) -> None:
        """A dead letter and ReactionFailed, together. A reaction to ReactionFailed publishes none."""
        name, event = delivery[0], ledger.log[delivery[1] - 1]
        row = ledger.parked.get(delivery, Parked("dead", attempts=1))
        memory.open[name].discard(event.seq)
        ended = event.flow and ledger.flows[event.flow].verdict
        ledger.parked[delivery] = replace(row, why="settled" if ended else "dead", tried=True, reason=reason)
        if not event.about:
            self.append(ledger, Event(0, f"{event.id}/{name}!{row.replays}", f"ReactionFailed[{event.type}]", event.key, event.flow,
                                      name, event.seq, about=name))
        self.close_by(ledger, memory, delivery)

    def close_by(self, ledger: Ledger, memory: Memory, delivery: Delivery) -> None:
        """An ask that was attempted has closed its reaction, whatever becomes of it."""
        if REACTIONS[delivery[0]].compensates and self.rules.attempted_ask_closes:
            self.close(ledger, memory, REACTIONS[delivery[0]], ledger.log[delivery[1] - 1].flow)

    # -- 4. and 5. the group -----------------------------------------------------------------------------------------

    def group(self, *, fuse: bool, foreign: bool = False, crash: Literal["", "before", "after"] = "") -> None:
        """Commit all that is finished, once, and hand on what it emitted."""
        finished = sorted((run for run in self.memory.running.values() if run.finished), key=lambda run: run.delivery[1])
        head, caught_up = len(self.ledger.log), self.memory.read == len(self.ledger.log)
        fuse = fuse and caught_up and not self.suspects
        if not finished and not (fuse and self.memory.read > self.memory.fused):
            return
        self.memory.fused = self.memory.read
        ledger, memory = self.draft(finished)
        try:
            if fuse:
                self.fuse(ledger, memory)
        except Killed:
            self.crash(memory)
            return
        if foreign:
            self.publish()
        if crash and len(memory.running.keys() - self.memory.running.keys()) > 0:
            crash = "before"
        if crash == "before" and memory.touched:
            self.crash(memory)
            return
        if len(self.ledger.log) != head:  # what was fused ran before rows that now stand before it
            self.drop(memory)
            head, caught_up = len(self.ledger.log), False
            ledger, memory = self.draft(finished)
        if caught_up:
            self.notice(ledger, memory, memory.read, len(ledger.log))
        elif not self.rules.reads_foreign_rows:
            self.notice(ledger, memory, head, len(ledger.log))
        for name in memory.touched:
            self.write_position(ledger, memory, name)
        self.moves += bool(memory.touched)
        self.ledger, self.memory = ledger, memory
        if crash == "after" and memory.touched:
            self.crash()

    def draft(self, finished: list[Run]) -> tuple[Ledger, Memory]:
        """What the commit would leave behind."""
        ledger, memory = self.ledger.copy(), self.memory.copy()
        for run in finished:
            self.settle(ledger, memory, run)
        for name, seqs in memory.open.items() if ledger.parked else ():  # what waits behind a parked one need not stay in memory
            for seq in sorted(seqs):
                if (name, seq) not in memory.running and self.behind(ledger, memory, name, ledger.log[seq - 1], parked_only=True) \
                        and draw(self.plan.seed, "behind", name, seq) < 0.5:
                    seqs.discard(seq)
                    ledger.parked[name, seq] = Parked("behind")
                    memory.touched.add(name)
        return ledger, memory

    def fuse(self, ledger: Ledger, memory: Memory) -> None:
        """Run plain reactions on the uncommitted results of their own group, until nothing is left for them."""
        started = True
        while started:
            started = False
            self.notice(ledger, memory, memory.read, len(ledger.log))
            for seq, name in self.candidates(ledger, memory):
                if (name, seq) in ledger.parked or (self.suspends(REACTIONS[name]) and self.rules.outside_sees_committed):
                    continue
                if seq in memory.open[name] and self.may_start(ledger, memory, name, seq):
                    run = self.start(ledger, memory, name, seq)
                    started = True
                    if run.finished:
                        self.settle(ledger, memory, run)

    def drop(self, memory: Memory) -> None:
        """Forget a draft. What it has called outside is not awaited any more."""
        for delivery, run in memory.running.items():
            if self.memory.running.get(delivery) is not run:
                self.abandon(run.call)

    # -- crash -------------------------------------------------------------------------------------------------------

    def crash(self, memory: Memory | None = None) -> None:
        """Lose the memory, and open again from the tables."""
        self.drop(memory or self.memory)
        for run in self.memory.running.values():
            self.abandon(run.call)
        ledger = self.ledger
        if not self.rules.keeps_finished:
            for name, seqs in ledger.open.items():
                ledger.position[name] = min(seqs, default=ledger.position[name] + 1) - 1
        self.memory = Memory(min(ledger.position.values()), {name: set(seqs) for name, seqs in ledger.open.items()})
        self.unclean += 1
        self.suspects = SUSPECTS * 2 ** min(self.unclean - 1, 6) if self.rules.counts_kills else 0
        for delivery, row in list(ledger.parked.items()):
            if row.why == "running":
                self.park(ledger, self.memory, delivery, "the process ended")
        self.moves += 1

    # -- timers, the tracker, the operator ---------------------------------------------------------------------------

    def timers(self) -> None:
        """Write what is due to the log: its place there decides what came first."""
        for (name, seq), row in sorted(self.ledger.parked.items()):
            if row.why == "timer" and row.due <= self.now:
                event = self.ledger.log[seq - 1]
                early = not self.rules.reads_before_firing
                del self.ledger.parked[name, seq]
                if early and any(e.type in REACTIONS[name].unless and e.seq <= self.memory.read for e in self.ledger.of(event.flow)):
                    continue
                self.append(self.ledger, Event(0, f"{event.id}/{name}@", f"Timer[{name}]", event.key, event.flow, "", seq,
                                               number=early))
                self.moves += 1

    def track(self, upto: int) -> None:
        """Read on, and give the verdicts that the log allows, in one transaction."""
        ledger = self.ledger
        for event in ledger.log[ledger.tracked:upto]:
            if event.type in ENDS and not ledger.flows[event.flow].seen:
                ledger.flows[event.flow] = ledger.flows[event.flow]._replace(seen=event.type)
        self.moves += upto > ledger.tracked
        ledger.tracked = max(upto, ledger.tracked)
        for flow, row in ledger.flows.items():
            if row.seen and not row.verdict:
                asked = row.seen == "OrderCancelled" and self.asked(flow)
                if not asked or not self.rules.verdict_waits:
                    self.end(flow, row, asked=asked)

    def asked(self, flow: str) -> bool:
        """Whether a compensation was asked and is neither done nor dead: read from the tables alone."""
        ledger = self.ledger
        for event in ledger.of(flow):
            for reaction in heard_by(event):
                row = ledger.parked.get((reaction.name, event.seq))
                unread = event.seq > ledger.position[reaction.name] or event.seq in ledger.open[reaction.name]
                if reaction.compensates and (row.why not in ("dead", "settled") if row else unread):
                    return True
        return False

    def end(self, flow: str, row: FlowRow, *, asked: bool) -> None:
        """Give the verdict; what still waits in the flow is closed with it."""
        ledger = self.ledger
        leaked = [c.compensates for c in COMPENSATION.values() if self.effect(ledger, c, flow) or (
            (flow, "unknown", c.compensates) in ledger.memory and (flow, "answered", c.name) not in ledger.memory)]
        failed = row.seen == "OrderCancelled"
        ledger.flows[flow] = row._replace(verdict="failed" if failed else "succeeded", at=len(ledger.log), asked=asked,
                                          leaked=tuple(leaked) if failed else ())
        for delivery, parked in list(ledger.parked.items()):
            if ledger.log[delivery[1] - 1].flow == flow and parked.why == "timer":
                self.finish(ledger, self.memory, delivery, "no longer needed")
            elif ledger.log[delivery[1] - 1].flow == flow and parked.why == "dead":
                ledger.parked[delivery] = replace(parked, why="settled")
        self.moves += 1

    def deadlines(self) -> None:
        """FlowTimedOut for what is due and has no end, once, after everything in the log was read."""
        if self.rules.reads_before_firing:
            self.track(len(self.ledger.log))
        for flow, row in self.ledger.flows.items():
            if not row.seen and not row.timed_out and row.deadline <= self.now:
                self.ledger.flows[flow] = row._replace(timed_out=True)
                self.append(self.ledger, Event(0, f"{flow}.FlowTimedOut", "FlowTimedOut", flow, flow))
                self.moves += 1

    def replay(self) -> None:
        """Replay each dead letter once; discard what died again and belongs to no flow."""
        for delivery, row in list(self.ledger.parked.items()):
            if row.why == "dead" and not row.replays:
                self.ledger.parked[delivery] = replace(row, why="retry", due=self.now + self.chance.choice((0, 0, 20)), attempts=0, replays=1, tried=self.rules.tried_is_kept)
                self.moves += 1
                return
            if row.why == "dead" and not self.ledger.log[delivery[1] - 1].flow:
                self.finish(self.ledger, self.memory, delivery, "discarded")
                self.moves += 1
                return

    # -- the schedule ------------------------------------------------------------------------------------------------

    def trouble(self) -> None:
        """A random schedule with faults. Each seed has its own pace of each step."""
        chance, rough = self.chance, float(draw(self.plan.seed, "rough") < 0.6)
        steps: dict[Callable[[], object], float] = {
            self.publish: 2,
            self.interrupt: 1,
            lambda: self.notice(self.ledger, self.memory, self.memory.read, chance.randint(self.memory.read, len(self.ledger.log))): 3,
            lambda: self.claim(chance.randint(1, IN_FLIGHT), shuffled=chance.random() < 0.5): 4,
            self.provide: 3,
            self.resume: 4,
            lambda: self.turn(rough): 6,
            lambda: self.track(chance.randint(self.ledger.tracked, len(self.ledger.log))): 1,
            self.timers: 1,
            self.deadlines: 1,
            self.replay: 1,
            self.tick: 0 if self.plan.calm else 0.6,
            self.overrun: 0.3 if draw(self.plan.seed, "overruns") < 0.5 else 0,
            self.crash: rough * 0.1,
        }
        actions = tuple(steps)
        weights = list(accumulate(weight * 4 ** (2 * draw(self.plan.seed, "pace", i) - 1) for i, weight in enumerate(steps.values())))
        enough = self.moves + 40 + chance.randrange(200)
        for action in chance.choices(actions, cum_weights=weights, k=600):
            before = self.moves
            self.guarded(action)
            self.beat += 1 if self.moves > before else 4  # idle time goes by faster
            if self.moves > enough:
                break

    def guarded(self, action: Callable[[], object]) -> None:
        """Let what kills the process kill it."""
        try:
            action()
        except Killed:
            self.crash()

    def interrupt(self) -> None:
        """Cancel a flow from outside, mostly in the middle of something."""
        for flow in self.plan.cancels:
            busy = any(self.ledger.log[seq - 1].flow == flow for name, seq in self.memory.running if name in COMPENSATION)
            if busy or self.chance.random() < 0.05:
                self.cancel(flow)

    def turn(self, rough: float) -> None:
        """One group in the usual order, often disturbed, sometimes killed around its commit."""
        chance = self.chance
        if chance.random() < 0.5:
            self.notice(self.ledger, self.memory, self.memory.read, len(self.ledger.log))
        if chance.random() < 0.6:
            self.claim(IN_FLIGHT, shuffled=chance.random() < 0.5)
        crash = chance.random() / rough if rough else 1.0
        fuses = draw(self.plan.seed, "fuses")
        self.group(fuse=chance.random() < fuses, foreign=chance.random() < 0.15,
                   crash="before" if crash < 0.15 else "after" if crash < 0.2 else "")

    def held(self, *what: str) -> bool:
        """Whether this starves for now. Who starves changes now and then, and in the end nobody does."""
        return self.beat > 0 and draw(self.plan.seed, "held", *what, self.beat // 80) < (0.6 if what[0] == "take" else 0.15)

    def provide(self) -> None:
        """Let a pending call take place."""
        if self.outside.pending:
            call = self.chance.choice(self.outside.pending)
            if not self.held(call.op, call.key):
                self.moves += 1
                self.outside.handle(call)

    def tick(self) -> None:
        """Let time pass."""
        self.now += self.chance.randint(1, 12)

    def overrun(self) -> None:
        """A run takes too long: its attempt is cut, or it moves to a parked row and goes on."""
        runs = [run for run in self.memory.running.values() if not run.finished]
        if runs:
            run = self.chance.choice(runs)
            if self.chance.random() < 0.5:
                run.error = "time limit"
                self.abandon(run.call)
            elif run.delivery not in self.ledger.parked:
                self.write_attempt(*run.delivery)

    def quiesce(self) -> bool:
        """No more trouble: go on until nothing is left to do. False if that does not come."""
        self.beat = 0
        for _ in range(600):
            before = self.moves
            self.publish()
            self.notice(self.ledger, self.memory, self.memory.read, len(self.ledger.log))
            self.guarded(lambda: self.claim(IN_FLIGHT))
            for call in self.chance.sample(self.outside.pending, len(self.outside.pending)):
                self.moves += 1
                if self.chance.random() < 0.5:
                    self.outside.handle(call)
            self.resume()
            self.group(fuse=False)
            self.timers()
            self.deadlines()
            self.track(len(self.ledger.log))
            for flow in self.plan.cancels if self.moves == before else ():
                self.cancel(flow)
            if self.moves == before and not self.wait():
                self.replay()
                if self.moves == before:
                    return True
        return False

    def wait(self) -> bool:
        """Let time pass until the next thing is due."""
        due = [row.due for row in self.ledger.parked.values() if row.why in ("retry", "timer")]
        due += [row.deadline for row in self.ledger.flows.values() if not row.seen and not row.timed_out]
        later = [one for one in due if one > self.now]
        self.now = min(later, default=self.now)
        return bool(later)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world ended, as plain data: what the judge reads, and what the real thing is compared by."""

    quiet: bool
    log: tuple[Event, ...]
    verdicts: dict[str, FlowRow]
    stuck: dict[str, tuple[str, ...]]  # flow -> why it has no verdict
    dead: frozenset[tuple[str, str]]  # (flow, reaction) of each dead letter, listed or settled
    shelves: dict[str, Shelf]
    status: dict[str, str]
    outside: Outside
    skipped: tuple[tuple[Delivery, str], ...]

    def picture(self, flow: str) -> tuple[str, frozenset[str]]:
        """The verdict of a flow and the paths of its events, in no order."""
        row = self.verdicts.get(flow, FlowRow(0))
        return row.verdict, frozenset(f"{event.id} {event.type}" for event in self.log if event.flow == flow)


def run(seed: int, rules: Rules = PROPOSED, *, plan: Plan | None = None, schedule: int = 0) -> Outcome:
    """Run the plan of a seed under one random schedule until nothing is left to do."""
    world = World(plan or Plan.of(seed), rules, schedule)
    world.trouble()
    quiet = world.quiesce()
    ledger = world.ledger
    stuck = {flow: tuple(f"{name} is {row.why}: {row.reason}" for (name, seq), row in ledger.parked.items()
                         if ledger.log[seq - 1].flow == flow and row.why != "settled")
             for flow, row in ledger.flows.items() if not row.verdict}
    dead = frozenset((ledger.log[seq - 1].flow, name) for (name, seq), row in ledger.parked.items() if row.why in ("dead", "settled"))
    return Outcome(quiet, tuple(ledger.log), dict(ledger.flows), stuck, dead, ledger.shelves, ledger.status, world.outside,
                   tuple(ledger.skipped))
