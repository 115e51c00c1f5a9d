"""The rules of the react group: notice, claim, check, run, settle, hand on, and what a crash leaves.

Every rule reads the ledger and the memory that it is given: the draft of a group and the real tables are decided by
the same lines.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Literal

from .plan import Plan, draw
from .rules import Rules
from .shop import COMPENSATION, FAILURES, ONCE, REACTIONS, Call, Event, Given, Outside, Reaction, Shelf, Steps, heard_by
from .tables import Delivery, Ledger, Memory, Parked, Run

IN_FLIGHT = 8
SUSPECTS = 2  # so many deliveries go one at a time after an unclean stop, twice as many after the next


class Killed(Exception):
    """The user's code ended the process."""


class React:
    """One process over one ledger, with the outside world beside it."""

    def __init__(self, plan: Plan, rules: Rules, schedule: int = 0) -> None:
        self.plan, self.rules = plan, rules
        self.chance = Random(f"{plan.seed}/{schedule}")
        self.outside, self.ledger = Outside(plan), Ledger.new(plan)
        self.memory = Memory.of(self.ledger)
        self.now: int = 0
        self.beat: int = 0  # how far the random schedule has come; 0: it is over, nothing starves
        self.slow_until: int = 0  # after a crash, reading may lag behind
        self.moves: int = 0  # whatever changed something
        self.suspects: int = 0  # so many deliveries go one at a time
        self.unclean: int = 0  # stops in a row

    def append(self, ledger: Ledger, event: Event) -> None:
        """Give the event its place in the log."""
        ledger.log.append(event._replace(seq=len(ledger.log) + 1, time=self.now))

    def starves(self, *what: str) -> bool:
        """Whether a reaction or a call makes no progress for now. Who starves changes now and then."""
        return self.beat > 0 and draw(self.plan.seed, "starves", *what, self.beat // 80) < (
            0.6 if what[0] == "take" else 0.15
        )

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

    def claim(self, limit: int, *, shuffled: bool = False) -> None:
        """Start what may start. After an unclean stop, and for what was parked, the attempt is written down first."""
        found = self.candidates(self.ledger, self.memory)
        if shuffled:  # oldest first is fair; what is right must not hang on it
            self.chance.shuffle(found)
        for seq, name in found:
            if limit == 0 or len(self.memory.running) >= (1 if self.suspects else IN_FLIGHT):
                return
            if self.may_start(self.ledger, self.memory, name, seq):
                if self.suspects or (name, seq) in self.ledger.parked:
                    self.write_attempt(name, seq)
                self.start(self.ledger, self.memory, name, seq)
                self.moves += 1
                limit -= 1

    def candidates(self, ledger: Ledger, memory: Memory) -> list[tuple[int, str]]:
        """What is open, or parked and due, oldest first."""
        found = [(seq, name) for name, seqs in memory.open.items() for seq in seqs]
        found += [
            (seq, name)
            for (name, seq), row in ledger.parked.items()
            if row.why == "behind" or (row.why == "retry" and row.due <= self.now)
        ]
        return sorted(
            (seq, name)
            for seq, name in found
            if (name, seq) not in memory.running and not self.starves(name, ledger.event(seq).key)
        )

    def may_start(self, ledger: Ledger, memory: Memory, name: str, seq: int) -> bool:
        """First of its line, row and `once` free, its pair quiet; and all below it was read, after a crash too."""
        reaction, event = REACTIONS[name], ledger.event(seq)
        if (seq > memory.read and self.rules.reads_up_to_it) or self.stands_behind(ledger, memory, name, event):
            return False
        if reaction.shelf and self.rules.row_order and self.plan.locked:
            row = self.row(event)
            if any(run.row == row for run in memory.running.values()):
                return False
        for other in ONCE.get(reaction.once, ()):
            if other != name and (
                memory.runs(ledger, other, event.flow)
                or any(one < seq and ledger.event(one).flow == event.flow for one in memory.open[other])
            ):
                return False
        return self.reaction_may(ledger, memory, name, event) and self.compensation_may(ledger, memory, reaction, event)

    def stands_behind(self, ledger: Ledger, memory: Memory, name: str, event: Event) -> bool:
        """Whether something older of the same line is not settled."""
        return self.behind_parked(ledger, name, event) or any(
            seq < event.seq and ledger.event(seq).key == event.key for seq in memory.open[name]
        )

    def behind_parked(self, ledger: Ledger, name: str, event: Event) -> bool:
        """Whether something older of the same line is parked. A timer and what the verdict settled stop nobody."""
        return self.rules.line_stops and any(
            one == name
            and seq < event.seq
            and ledger.event(seq).key == event.key
            and row.why not in ("timer", "settled")
            for (one, seq), row in ledger.parked.items()
        )

    def reaction_may(self, ledger: Ledger, memory: Memory, name: str, event: Event) -> bool:
        """Pair rule for r. What is parked of it yields to every ask in the log, read or not: it is to be closed."""
        compensation = COMPENSATION.get(name)
        if not compensation:
            return True
        asks = [
            e.seq
            for e in ledger.of(event.flow)
            if compensation in heard_by(e) and (e.seq > memory.read or e.seq in memory.open[compensation.name])
        ]
        if asks and self.rules.parked_waits and (name, event.seq) in ledger.parked:
            return False
        return not self.rules.reaction_waits or not (
            any(seq < event.seq for seq in asks) or memory.runs(ledger, compensation.name, event.flow)
        )

    def compensation_may(self, ledger: Ledger, memory: Memory, reaction: Reaction, event: Event) -> bool:
        """Pair rule for a compensation: wait for an r that runs, or is older and can run now; not for a parked one."""
        name = reaction.compensates
        if not name or not self.rules.compensation_waits:
            return True
        if any(
            one == name
            and ledger.event(seq).flow == event.flow
            and (self.rules.parked_may_run or (one, seq) not in ledger.parked)
            for one, seq in memory.running
        ):
            return False
        return not any(
            seq < event.seq
            and ledger.event(seq).flow == event.flow
            and not self.behind_parked(ledger, name, ledger.event(seq))
            for seq in memory.open[name]
        )

    def row(self, event: Event) -> str:
        """The sku whose shelf the event is about."""
        return self.plan.orders[event.flow].sku if event.flow else event.key

    def write_attempt(self, name: str, seq: int) -> None:
        """Count the attempt before it starts: what kills the process is counted too."""
        row = self.ledger.parked.get((name, seq), Parked("running"))
        self.ledger.parked[name, seq] = replace(row, why="running", attempts=row.attempts + 1, tried=True)
        self.memory.open[name].discard(seq)
        self.write_position(self.ledger, self.memory, name)

    def write_position(self, ledger: Ledger, memory: Memory, name: str) -> None:
        """Write how far the reaction has come, and what it left open below. Reading again lowers nothing."""
        read = memory.read
        ledger.position[name] = max(ledger.position[name], read) if self.rules.position_never_back else read
        ledger.open[name] = frozenset(memory.open[name]) if self.rules.writes_open else frozenset()

    # -- 2. check ----------------------------------------------------------------------------------------------------

    @staticmethod
    def decide(ledger: Ledger, reaction: Reaction, event: Event) -> str:
        """Why this delivery takes no effect, if so. Asked before the run to save work, in the commit to decide."""
        flow, name = event.flow, reaction.name
        if (flow, "closed", name) in ledger.memory:
            return "closed"
        if reaction.once and ledger.once.get((flow, reaction.once), (name, event.seq)) != (name, event.seq):
            return "lost once"
        if (flow, "answered", name) in ledger.memory:
            return "answered before"
        if (
            event.type == reaction.timer
            and not event.number
            and any(one.type in reaction.unless and one.seq < event.seq for one in ledger.of(flow))
        ):
            return "unless"
        return "no longer needed" if reaction.waits and ledger.flows[flow].verdict else ""

    @staticmethod
    def effect(ledger: Ledger, compensation: Reaction, flow: str) -> Event | None:
        """Find the effect that a compensation has to answer for."""
        return (
            next(
                (
                    event
                    for event in ledger.of(flow)
                    if event.by == compensation.compensates
                    and event.type == compensation.effect
                    and (flow, "compensated", str(event.seq)) not in ledger.memory
                ),
                None,
            )
            if compensation.compensates
            else None
        )

    def outcome_unknown(self, ledger: Ledger, name: str, flow: str) -> bool:
        """Whether the reaction may have reached the outside without committing anything."""
        return (flow, "unknown", name) in ledger.memory or (
            self.reaches_outside(REACTIONS[name]) and any(row.tried for row in ledger.parked_of(name, flow).values())
        )

    # -- 3. run ------------------------------------------------------------------------------------------------------

    def reaches_outside(self, reaction: Reaction) -> bool:
        """Whether it can suspend, hence call out."""
        return reaction.outside or self.plan.suspends

    def start(self, ledger: Ledger, memory: Memory, name: str, seq: int) -> Run:
        """Run on a private copy up to the first call, unless it is decided without a run."""
        reaction, event = REACTIONS[name], ledger.event(seq)
        run = memory.running[name, seq] = Run((name, seq), self.effect(ledger, reaction, event.flow))
        if reaction.shelf:
            run.row = self.row(event)
            run.shelf = replace(ledger.shelves[run.row])
            run.free = run.shelf.free
        if reaction.once and not self.rules.once_at_commit:
            for one in (ledger, self.ledger):
                one.once.setdefault((event.flow, reaction.once), run.delivery)
        decided = self.decide(ledger, reaction, event) or (reaction.waits and event.type != reaction.timer)
        if decided or (reaction.strict and run.effect is None):
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
        if (
            self.plan.poisons(reaction.name, event.key, row.replays)
            or self.plan.fails(reaction.name, event.id, attempt) == "early"
        ):
            run.error = "raised"
            return
        order, key = self.plan.orders.get(event.flow), event.key if self.rules.stable_keys else f"{event.key}#{attempt}"
        given = Given(
            event,
            order.quantity if order else 1,
            key,
            run.effect,
            run.shelf or Shelf(0),
            vouched=run.effect is None and not self.rules.unknown_is_settled,
        )
        run.steps = self.steps(reaction, given, run, attempt)
        self.advance(run)

    def steps(self, reaction: Reaction, given: Given, run: Run, attempt: int) -> Steps:
        """Run the body, with a pause where plain reactions suspend too; it may raise when all its calls are done."""
        if self.plan.suspends and not reaction.outside:
            yield Call("nobody", "pause", given.event.id)
        got = reaction.body(given)
        emitted = got if isinstance(got, tuple) else (yield from got)
        if self.plan.fails(reaction.name, given.event.id, attempt) == "late":
            run.error = "raised"
        return emitted

    def advance(self, run: Run) -> None:
        """Step the run to its next call, or to its end."""
        assert run.steps
        try:
            run.call = run.steps.send(run.call.answer if run.call else None)
        except StopIteration as stop:
            run.emitted = stop.value
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
                    self.advance(run)

    def abandon(self, call: Call | None) -> None:
        """Await this call no more. It takes place late; with a provider that could not refuse it then, now or never."""
        if call in self.outside.pending and not self.plan.zombies:
            self.outside.pending.remove(call)
            if self.chance.random() < 0.5:
                self.outside.handle(call)

    # -- 4. settle ---------------------------------------------------------------------------------------------------

    def settle(self, ledger: Ledger, memory: Memory, run: Run) -> None:
        """Decide again, then commit the run, park it, or let it run again."""
        reaction, event = REACTIONS[run.delivery[0]], ledger.event(run.delivery[1])
        memory.running.pop(run.delivery, None)
        memory.touched.add(reaction.name)
        if reason := self.decide(ledger, reaction, event):
            self.finish(ledger, memory, run.delivery, reason)
        elif reaction.waits and event.type != reaction.timer:
            self.finish(ledger, memory, run.delivery)
            ledger.parked[run.delivery] = Parked("timer", event.time + self.plan.expiry)
        elif run.error:
            self.park(ledger, memory, run.delivery, run.error)
        elif self.conflicts(ledger, run):
            if row := ledger.parked.get(run.delivery):  # it runs again, and no attempt is counted
                ledger.parked[run.delivery] = replace(row, why="retry", due=self.now, attempts=row.attempts - 1)
        elif reaction.strict and run.effect is None:
            unknown = self.rules.unknown_is_settled and self.outcome_unknown(ledger, reaction.compensates, event.flow)
            self.close(ledger, memory, reaction, event.flow)
            if unknown:
                self.die(ledger, memory, run.delivery, f"outcome of {reaction.compensates} unknown")
            else:
                self.finish(ledger, memory, run.delivery, "nothing to compensate")
        else:
            self.succeed(ledger, memory, reaction, event, run)

    def conflicts(self, ledger: Ledger, run: Run) -> bool:
        """Whether the row that the run loaded has moved under it."""
        checked = self.rules.versions and (
            self.rules.refusals_are_checked or not FAILURES.issuperset(run.emitted or ())
        )
        return checked and run.shelf is not None and ledger.shelves[run.row].version != run.shelf.version

    def succeed(self, ledger: Ledger, memory: Memory, reaction: Reaction, event: Event, run: Run) -> None:
        """Commit state, events, memories and the delivery together."""
        emitted = run.emitted or ()
        moved = run.shelf.free - run.free if run.shelf and not FAILURES.issuperset(emitted) else 0
        if run.shelf and moved:
            ledger.shelves[run.row] = Shelf(run.shelf.free, run.shelf.filled, ledger.shelves[run.row].version + 1)
        for each in emitted:
            self.append(
                ledger,
                Event(
                    0,
                    f"{event.id}/{reaction.name}",
                    each,
                    event.key,
                    event.flow,
                    reaction.name,
                    event.seq,
                    number=moved,
                ),
            )
        if reaction.once and emitted:
            ledger.once[event.flow, reaction.once] = run.delivery
            ledger.status[event.flow] = emitted[0]
        if reaction.compensates:
            if run.effect:
                ledger.memory.add((event.flow, "compensated", str(run.effect.seq)))
            if not reaction.strict:
                ledger.memory.add((event.flow, "answered", reaction.name))
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
        """Let r take no more effect in this flow: what is parked of it is superseded, what is unknown stays so."""
        name = compensation.compensates
        if self.rules.unknown_is_kept and self.outcome_unknown(ledger, name, flow):
            ledger.memory.add((flow, "unknown", name))
        if not self.rules.closes:
            return
        ledger.memory.add((flow, "closed", name))
        for delivery in ledger.parked_of(name, flow):
            self.finish(ledger, memory, delivery, "superseded")
            memory.touched.add(name)

    def park(self, ledger: Ledger, memory: Memory, delivery: Delivery, reason: str) -> None:
        """Let it run again later, or make it a dead letter."""
        row = ledger.parked.get(delivery, Parked("retry", attempts=1))
        if row.attempts >= self.plan.max_attempts:
            self.die(ledger, memory, delivery, reason)
            return
        memory.open[delivery[0]].discard(delivery[1])
        ledger.parked[delivery] = replace(row, why="retry", due=self.now + 3 * row.attempts, tried=True, reason=reason)
        self.close_by_attempt(ledger, memory, delivery)

    def die(self, ledger: Ledger, memory: Memory, delivery: Delivery, reason: str) -> None:
        """Write a dead letter and ReactionFailed together. A reaction to ReactionFailed publishes none."""
        name, event = delivery[0], ledger.event(delivery[1])
        row = ledger.parked.get(delivery, Parked("dead", attempts=1))
        memory.open[name].discard(event.seq)
        ended = event.flow and ledger.flows[event.flow].verdict
        ledger.parked[delivery] = replace(row, why="settled" if ended else "dead", tried=True, reason=reason)
        if not event.about:
            self.append(
                ledger,
                Event(
                    0,
                    f"{event.id}/{name}!{row.replays}",
                    f"ReactionFailed[{event.type}]",
                    event.key,
                    event.flow,
                    name,
                    event.seq,
                    about=name,
                ),
            )
        self.close_by_attempt(ledger, memory, delivery)

    def close_by_attempt(self, ledger: Ledger, memory: Memory, delivery: Delivery) -> None:
        """An ask that was attempted has closed its reaction, whatever becomes of it."""
        if REACTIONS[delivery[0]].compensates and self.rules.attempted_ask_closes:
            self.close(ledger, memory, REACTIONS[delivery[0]], ledger.event(delivery[1]).flow)

    # -- the group: 4. settle what is finished, 5. hand it on ----------------------------------------------------------

    def group(
        self, *, fuse: bool, foreign: Callable[[], None] | None = None, crash: Literal["", "before", "after"] = ""
    ) -> None:
        """Commit all that is finished, once, and hand on what it emitted. Rows of others may come first, or a crash."""
        finished = sorted(
            (run for run in self.memory.running.values() if run.finished), key=lambda run: run.delivery[1]
        )
        head, caught_up = len(self.ledger.log), self.memory.read == len(self.ledger.log)
        ledger, memory = self.draft(finished)
        try:
            if fuse and caught_up and not self.suspects:
                self.fuse(ledger, memory)
        except Killed:
            self.crash(memory)
            return
        if foreign:
            foreign()
        if crash == "before" and memory.touched:
            self.crash(memory)
            return
        if len(self.ledger.log) != head:  # what was fused ran before rows that now stand before it
            self.drop(memory)
            head, caught_up = len(self.ledger.log), False
            ledger, memory = self.draft(finished)
        self.commit(ledger, memory, head, caught_up=caught_up)
        if self.suspects:
            self.suspects = max(self.suspects - len(finished), 0)
            self.unclean = self.unclean if self.suspects else 0
        if crash == "after" and memory.touched:
            self.crash()

    def draft(self, finished: list[Run]) -> tuple[Ledger, Memory]:
        """Settle in log order, on copies."""
        ledger, memory = self.ledger.copy(), self.memory.copy()
        for run in finished:
            self.settle(ledger, memory, run)
        for name, seqs in (
            memory.open.items() if ledger.parked else ()
        ):  # what stands behind a parked one need not stay in memory
            for seq in sorted(seqs):
                if (
                    (name, seq) not in memory.running
                    and draw(self.plan.seed, "behind", name, seq) < 0.5
                    and self.behind_parked(ledger, name, ledger.event(seq))
                ):
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
                if (name, seq) in ledger.parked or (
                    self.reaches_outside(REACTIONS[name]) and self.rules.outside_sees_committed
                ):
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

    def commit(self, ledger: Ledger, memory: Memory, head: int, *, caught_up: bool) -> None:
        """Make the draft real. Its events are handed on in memory only if everything before them was read."""
        if caught_up:
            self.notice(ledger, memory, memory.read, len(ledger.log))
        elif not self.rules.reads_foreign_rows:
            self.notice(ledger, memory, head, len(ledger.log))
        for name in memory.touched:
            self.write_position(ledger, memory, name)
        self.moves += bool(memory.touched)
        self.ledger, self.memory = ledger, memory

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
        self.memory = Memory.of(ledger)
        self.unclean += 1
        self.slow_until = self.beat + self.chance.choice((0, 40))
        self.suspects = SUSPECTS * 2 ** min(self.unclean - 1, 6) if self.rules.counts_kills else 0
        for delivery, row in list(ledger.parked.items()):
            if row.why == "running":
                self.park(ledger, self.memory, delivery, "the process ended")
        self.moves += 1
