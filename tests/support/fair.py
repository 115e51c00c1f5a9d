"""A choreography with everything in it: scatters, joins and gathers, timers, `once`, effects of parts, a hot row."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Protocol, TypeVar, cast

from callboard import (
    Choreography,
    Context,
    Flow,
    FlowTimedOut,
    JsonCodec,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)
from callboard.event import event_type
from callboard.ids import idempotency_key
from callboard.ledger import Entry, FlowRow, Parked

from .outside import Outside
from .stage import Stage

T = TypeVar("T")


@event
class Booked:
    fair: str
    stalls: int


@event
class CalledOff:
    fair: str


@event
class StallWanted:
    fair: str
    stall: str


@event
class StallHeld:
    fair: str
    stall: str


@failure
class StallRefused:
    fair: str
    stall: str


@event
class StallFreed:
    fair: str
    stall: str


@event
class SignPainted:
    fair: str
    stall: str


@event
class StallOpened:
    fair: str
    stall: str


@event
class AllAnswered:
    fair: str
    held: int


@event
class Reminded:
    fair: str


@event
class Opened:
    fair: str


@event
class Cancelled:
    fair: str


@event(key="gate")
class VisitorCame:
    gate: str
    number: int


@event(key="gate")
class VisitorSeen:
    gate: str
    number: int


ground, signs, office, gates = Service("ground"), Service("signs"), Service("office"), Service("gates")
THREE = Retry(max_attempts=3, first_wait=timedelta(seconds=2))


class Weather:
    """Strikes plain reactions at random: they have no port that could fail."""

    def __init__(self) -> None:
        self.strikes: Callable[[str], bool] = lambda _: False

    def strike(self, reaction: str) -> None:
        if self.strikes(reaction):
            raise RuntimeError(f"lightning in {reaction}")


WEATHER = Weather()


@port
class Owner(Protocol):
    async def hold(self, *, key: str) -> bool: ...
    async def free(self, *, key: str) -> None: ...


@port
class Painter(Protocol):
    async def paint(self, *, key: str) -> bool: ...


@state(key="ground")
class Meter:
    ground: str
    held: int = 0


@state(key="stall")
class Sign:
    stall: str
    fair: str = ""
    opened: int = 0


@state(key="gate")
class Gate:
    gate: str
    numbers: tuple[int, ...] = ()
    opened: int = 0  # by somebody, from outside


@ground.reaction
def plan(booked: Booked) -> list[StallWanted]:
    return [StallWanted(fair=booked.fair, stall=f"{booked.fair}/{n}") for n in range(booked.stalls)]


@ground.reaction(retry=THREE, concurrency=5)
async def hold(wanted: StallWanted, owner: Owner, ctx: Context) -> StallHeld | StallRefused:
    if await owner.hold(key=ctx.idempotency_key()):
        return StallHeld(fair=wanted.fair, stall=wanted.stall)
    return StallRefused(fair=wanted.fair, stall=wanted.stall)


@ground.reaction(compensates=hold)
async def free(off: CalledOff, held: StallHeld, owner: Owner, ctx: Context) -> StallFreed:
    await owner.free(key=ctx.key_of(hold))
    return StallFreed(fair=held.fair, stall=held.stall)


@ground.reaction(keeps="a statistic", order="loose")
async def measure(held: StallHeld, meters: States[Meter]) -> None:
    meter = await meters.get("all") or Meter(ground="all")
    meter.held += 1
    meters.put(meter)


@signs.reaction(retry=THREE, keeps="wood")
async def paint(wanted: StallWanted, painter: Painter) -> SignPainted:
    await painter.paint(key=wanted.stall)
    return SignPainted(fair=wanted.fair, stall=wanted.stall)


@signs.reaction(per="stall", keeps="paint")
def open_stall(held: StallHeld, painted: SignPainted, sign: Sign) -> StallOpened:
    WEATHER.strike("open_stall")
    sign.fair, sign.opened = held.fair, sign.opened + 1
    return StallOpened(fair=held.fair, stall=held.stall)


@office.reaction(gathers=StallWanted)
def answer(parts: list[StallHeld | StallRefused]) -> AllAnswered:
    return AllAnswered(fair=parts[0].fair, held=sum(isinstance(part, StallHeld) for part in parts))


@office.reaction(wait=timedelta(minutes=10), unless=AllAnswered)
def remind(booked: Booked) -> Reminded:
    return Reminded(fair=booked.fair)


@office.reaction(once="end", needs=Booked)
def announce(answered: AllAnswered, booked: Booked) -> Opened | None:
    return Opened(fair=answered.fair) if answered.held == booked.stalls else None


@office.reaction(once="end")
def cancel(off: CalledOff) -> Cancelled:
    return Cancelled(fair=off.fair)


@office.reaction
def expire(late: FlowTimedOut[Booked]) -> CalledOff:
    return CalledOff(fair=late.started.fair)


@gates.reaction(keeps="a list")
def see(came: VisitorCame, gate: Gate) -> VisitorSeen:
    WEATHER.strike("see")
    gate.numbers = (*gate.numbers, came.number)
    return VisitorSeen(gate=came.gate, number=came.number)


fair = Choreography(
    "fair",
    office,
    ground,
    signs,
    gates,
    incoming=CalledOff | VisitorCame,
    flows=[
        Flow("fair", key="fair", starts=Booked, timeout=timedelta(minutes=30), succeeds=Opened, fails=Cancelled),
    ],
)


class Landlord(Owner):
    """Lets a place once; one that was freed is let no more."""

    def __init__(self, outside: Outside, caller: object) -> None:
        self._outside, self._caller = outside, caller

    async def hold(self, *, key: str) -> bool:
        return await self._outside.take("hold", key, self._caller)

    async def free(self, *, key: str) -> None:
        await self._outside.void("free", key, self._caller)


class Brush(Painter):
    """Paints."""

    def __init__(self, outside: Outside, caller: object) -> None:
        self._outside, self._caller = outside, caller

    async def paint(self, *, key: str) -> bool:
        return await self._outside.take("paint", f"sign {key}", self._caller)


class FairScene:
    """What happens at the fair, and what must be true of it at the end."""

    choreography: Choreography = fair
    calls: tuple[str, ...] = ("hold", "free", "paint")
    takings: frozenset[str] = frozenset({"hold", "paint"})
    per_part: frozenset[str] = frozenset({"signs.open_stall"})
    halves: tuple[list[Service], list[Service]] = ([office, gates], [ground, signs])

    def __init__(self) -> None:
        self.visitors = 0
        self.edits: Counter[str] = Counter()

    def keepers(self, outside: Outside, caller: object) -> list[object]:
        return [Landlord(outside, caller), Brush(outside, caller)]

    def strikes(self, strikes: Callable[[str], bool]) -> None:
        WEATHER.strikes = strikes

    def next(self, number: int, chance: Random) -> object:
        """Something that is published: mostly a new fair or a visitor, or the end of an older one."""
        kind = chance.random()
        if kind < 0.5 or number < 3:
            return Booked(fair=f"f{number}", stalls=chance.choice([0, 1, 2, 3, 6]))
        if kind < 0.65:
            return CalledOff(fair=f"f{chance.randint(1, number)}")
        self.visitors += 1
        return VisitorCame(gate=chance.choice("ns"), number=self.visitors)

    async def edit(self, stage: Stage, chance: Random) -> None:
        """Somebody opens a gate, while visitors come through it."""
        name = chance.choice("ns")

        async def change() -> None:
            async with stage.board.transaction(gates) as tx:
                gate = await tx.load(Gate, name) or Gate(gate=name)
                gate.opened += 1
                await tx.put(gate)

        await stage.drive(change())
        self.edits[name] += 1

    def may_stay(self, row: Parked) -> bool:
        """Whether a row may be there at the end: of a join whose other part was called off, or hopeless."""
        stays = row.why == "half" or (row.why == "behind" and row.reaction == "ground.free")  # behind a hopeless one
        return stays or "never came" in (row.error or "") or self.is_hopeless(row)

    def is_hopeless(self, row: Parked) -> bool:
        """Whether a replay can only end as the run before."""
        return row.why == "dead" and "is unknown" in (row.error or "")

    async def faults(self, entries: list[Entry], stage: Stage, outside: Outside) -> list[str]:
        flows: dict[int, list[Entry]] = {}
        for entry in entries:
            flows.setdefault(entry.flow, []).append(entry)
        rows = {row.number: row for row in await stage.ledger.flows_by_number(list(flows)) if row.name}
        unknown = {row.flow for row in await stage.parked() if "is unknown" in (row.error or "")}
        unknown |= {note[0] for note in stage.ledger.rows("SELECT flow FROM note WHERE why LIKE 'discarded%'")}
        found: list[str] = []
        for number, row in rows.items():
            told = _fair_faults(flows[number], row, outside, may_leak=number in unknown)
            found += [f"{row.key}: {fault}" for fault in told]
        held = [entry for entry in entries if entry.type == "StallHeld"]
        meter = await stage.load(Meter, "all")
        if (meter.held if meter else 0) != len(held):
            found.append(f"the meter says {meter}, {len(held)} were held")
        for entry in held:
            sign = await stage.load(Sign, _decoded(entry, StallHeld).stall)
            if sign is None or sign.opened != 1:
                found.append(f"sign of {entry.flow}: {sign}")
        return [*found, *[fault for gate in "ns" for fault in await self._gate(gate, entries, stage)]]

    async def _gate(self, name: str, entries: list[Entry], stage: Stage) -> list[str]:
        came = [_decoded(e, VisitorCame).number for e in entries if e.type == "VisitorCame" and e.key == name]
        seen = [_decoded(e, VisitorSeen).number for e in entries if e.type == "VisitorSeen" and e.key == name]
        gate = await stage.load(Gate, name) or Gate(gate=name)
        if not list(gate.numbers) == came == seen or gate.opened != self.edits[name]:
            return [f"gate {name}: came {came}, seen {seen}, {gate}, opened {self.edits[name]} times"]
        return []


def _decoded(entry: Entry, cls: type[T]) -> T:
    return cast("T", JsonCodec().decode(entry.data, event_type(cls)))


def _fair_faults(entries: list[Entry], row: FlowRow, outside: Outside, *, may_leak: bool) -> Iterator[str]:
    kinds = Counter(entry.type for entry in entries)
    for kind in ("AllAnswered", "Reminded", "Opened", "Cancelled", "callboard.FlowTimedOut[Booked]"):
        if kinds[kind] > 1:
            yield f"{kinds[kind]} x {kind}"
    ended = "succeeded" if kinds["Opened"] else "failed" if kinds["Cancelled"] else None
    if kinds["Opened"] + kinds["Cancelled"] != 1 or row.verdict != ended:
        yield f"verdict {row.verdict}, opened {kinds['Opened']}, cancelled {kinds['Cancelled']}"
    wanted = [entry for entry in entries if entry.type == "StallWanted"]
    if len(wanted) != _decoded(entries[0], Booked).stalls:
        yield f"{len(wanted)} wanted"
    answered = kinds["StallHeld"] + kinds["StallRefused"]
    if kinds["AllAnswered"] != int(bool(wanted) and answered == len(wanted)):
        yield f"{answered} of {len(wanted)} answered, gathered {kinds['AllAnswered']} times"
    gathered = next((entry.pos for entry in entries if entry.type == "AllAnswered"), 1 << 60)
    fired = next((entry.pos for entry in entries if entry.type.startswith("callboard.Timer[")), 1 << 60)
    if kinds["Reminded"] != int(fired < gathered and fired != 1 << 60):
        yield f"reminded {kinds['Reminded']} times, fired at {fired}, gathered at {gathered}"
    for entry in wanted:
        yield from _stall_faults(entry, entries, outside, off=bool(kinds["CalledOff"]), may_leak=may_leak)


def _stall_faults(wanted: Entry, entries: list[Entry], outside: Outside, *, off: bool, may_leak: bool) -> Iterator[str]:
    stall = _decoded(wanted, StallWanted).stall
    about = Counter(entry.type for entry in entries if f'"stall":"{stall}"'.encode() in entry.data)
    key = idempotency_key(wanted.id[:26], (wanted.id,), "ground.hold")
    held, refused, freed = about["StallHeld"], about["StallRefused"], about["StallFreed"]
    if about["SignPainted"] != 1 or about["StallOpened"] != held:
        yield f"{stall}: painted {about['SignPainted']}, held {held}, opened {about['StallOpened']}"
    if held + refused > 1 or (held + refused == 0 and not off):
        yield f"{stall}: held {held}, refused {refused}"
    if freed != (held if off else 0):
        yield f"{stall}: held {held}, freed {freed}, called off {off}"
    if (key in outside.held) != bool(held and not freed) and not (may_leak and not held):
        yield f"{stall}: let {key in outside.held}, held {held}, freed {freed}"
