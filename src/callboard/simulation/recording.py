"""A flow that happened, as a file, and what today's code makes of it: the same inputs, the recorded clock and ids.

What a reaction with a port said is taken from the record, and so is what depends on rows that are not in it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from callboard.codecs.json import JsonCodec
from callboard.contract import ContextOf, Contract, Gathered, Given, StateOf, Trigger
from callboard.errors import CallboardError
from callboard.event import ReactionFailed, attribute, type_of
from callboard.hops.attempt import emissions
from callboard.hops.work import TIMER
from callboard.ids import flow_of
from callboard.reaction import Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callboard.choreography import Choreography
    from callboard.event import StateType

SCHEMA = "callboard.flow/v1"
Fate = Literal["same", "differs", "given", "unknown"]


class NotThisFlow(CallboardError):
    """A file of a recorded flow that cannot be replayed here."""


class Happened(msgspec.Struct):
    """An event as it was recorded."""

    id: str
    type: str
    time: int  # microseconds since 1970
    data: msgspec.Raw
    by: str | None = None
    cause: str | None = None
    causes: list[str] = []  # all inputs, where there was more than one


class Recorded(msgspec.Struct):
    """A flow as its file has it, in the order of the log."""

    choreography: str
    flow: str
    key: str | None
    verdict: str | None
    events: list[Happened]
    silent: list[tuple[str, str]]  # which reactions were done with which events, and said nothing
    states: dict[str, msgspec.Raw]  # the rows of the flow's own
    schema: str = SCHEMA


class Told(msgspec.Struct):
    """What became of one run, or of one row."""

    fate: Fate
    what: str
    why: str = ""


def is_recorded(document: Any) -> bool:
    """Whether this is the JSON of a recorded flow, of whatever version."""
    known = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    return str(known.get("schema", "")).startswith("callboard.flow/")


def read_recorded(data: bytes, choreography: Choreography) -> Recorded:
    """The flow in this file. Raises NotThisFlow."""
    schema = json.loads(data)["schema"]
    if schema != SCHEMA:
        raise NotThisFlow(f"the flow was exported as {schema}, this callboard reads {SCHEMA}: replay it with that one")
    try:
        flow = msgspec.json.decode(data, type=Recorded)
    except msgspec.MsgspecError as error:
        raise NotThisFlow(f"the file is no whole flow: {error}") from error
    if flow.choreography != choreography.name:
        raise NotThisFlow(f"the file is a flow of {flow.choreography!r}, not of {choreography.name!r}")
    return flow


class Unknown(Exception):
    """What a run was given then is not in the record."""


class Watched(Context):
    """Tells whether somebody asked what time it was."""

    __slots__ = ("asked",)

    def now(self) -> datetime:
        self.asked = True
        return super().now()


@dataclass
class Run:
    """One run of a reaction, as the record has it: what caused it, what it was given, what it said."""

    reaction: str
    trigger: Happened
    inputs: list[Happened]
    said: list[Happened]
    place: float  # in the log


class Replay:
    """Feeds a recorded flow through the code of today."""

    def __init__(self, choreography: Choreography, flow: Recorded) -> None:
        self.choreography = choreography
        self.flow = flow
        self._codec = JsonCodec()
        self._places = {each.id: place for place, each in enumerate(flow.events)}
        self._rows: dict[str, bytes] = {}
        self._lost: dict[str, str] = {}  # states of which it is not known any more what they hold, and why

    def run(self) -> list[Told]:
        """What became of each run, in order, and then of each row."""
        return [*map(self._tell, self._runs()), *self._compare_rows()]

    def _runs(self) -> list[Run]:
        events, found = self.flow.events, dict[tuple[str, str, tuple[str, ...]], Run]()
        for place, each in enumerate(events):
            if each.by is None or each.cause not in self._places or each.type.startswith((TIMER, _FAILED)):
                continue
            key = (each.by, each.cause, tuple(each.causes))
            if key not in found:
                inputs = [events[self._places[one]] for one in each.causes or [each.cause] if one in self._places]
                found[key] = Run(each.by, self._armed(each.cause), inputs, [], place)
            found[key].said.append(each)
        silent = [
            Run(path, self._armed(one), [events[self._places[one]]], [], self._places[one] + 0.5)
            for path, one in self.flow.silent
            if one in self._places
        ]
        return sorted([*found.values(), *silent], key=lambda run: run.place)

    def _armed(self, event_id: str) -> Happened:
        """The event itself; a timer stands for the event that armed it."""
        event = self.flow.events[self._places[event_id]]
        is_timer = event.type.startswith(TIMER) and event.cause in self._places
        return self.flow.events[self._places[event.cause or ""]] if is_timer else event

    # one run

    def _tell(self, run: Run) -> Told:
        said = " + ".join(each.type for each in run.said) or "nothing"
        what = f"{run.reaction} on {run.trigger.type.removeprefix('callboard.')} -> {said}"
        contract = self.choreography.contracts.get(run.reaction)
        if contract is None:
            return Told("differs", what, "there is no such reaction any more")
        if contract.ports:
            names = ", ".join(each.port.__name__ for each in contract.ports)
            self._lose(contract, f"{run.reaction} was not run")
            return Told("given", what, f"it takes {names}: what it said is taken from the record")
        context = self._context(run)
        try:
            given = self._arguments(contract, run, context)
        except Unknown as error:
            self._lose(contract, f"{run.reaction} was not run")
            return Told("unknown", what, str(error))
        except CallboardError as error:
            return Told("differs", what, f"what it heard cannot be read any more: {error}")
        return self._compare(contract, run, given, context, what)

    def _compare(self, contract: Contract, run: Run, given: dict[str, Any], context: Watched, what: str) -> Told:
        try:
            result = self.choreography.reactions[run.reaction].function(**given)
            result = asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result
            now = [each.event for each in emissions(contract, result)]
        except Exception as error:  # noqa: BLE001 - whatever theirs raises is told
            return Told("differs", what, f"now it raises {type(error).__name__}: {error}")
        for parameter in contract.states:
            if parameter.form != "read" and (row := given[parameter.name]) is not None:
                self._rows[parameter.state.name] = self._codec.encode(row)
        then = [(each.type, json.loads(bytes(each.data))) for each in run.said]
        here = [(type_of(each).name, json.loads(self._codec.encode(each))) for each in now]
        if not run.said and context.asked:
            return Told(
                "unknown", what, f"it read the clock, and when it ran is not recorded; now it says {_shown(here)}"
            )
        return Told("same", what) if then == here else Told("differs", what, f"then {_shown(then)}, now {_shown(here)}")

    def _context(self, run: Run) -> Watched:
        time = (run.said[0] if run.said else run.trigger).time
        context = Watched(
            event_id=run.trigger.id, flow_id=flow_of(run.trigger.id), flow_key=self.flow.key, reaction=run.reaction,
            causation_id=run.trigger.cause, now=datetime.fromtimestamp(time / 1_000_000, UTC),
            inputs=[each.id for each in run.inputs],
        )  # fmt: skip
        context.asked = False
        return context

    def _arguments(self, contract: Contract, run: Run, context: Watched) -> dict[str, Any]:
        found: dict[str, Any] = {}
        heard = [run.trigger, *(each for each in run.inputs if each is not run.trigger)]
        for parameter in contract.parameters:
            match parameter:
                case Trigger() | Gathered():
                    values = [self._value(each) for each in heard if self._is(each, parameter)]
                    found[parameter.name] = values if isinstance(parameter, Gathered) else next(iter(values), None)
                    if not values:
                        raise Unknown(f"`{parameter.name}` is not in the record")
                case Given():
                    found[parameter.name] = self._given(parameter, contract, run)
                case StateOf():
                    found[parameter.name] = self._row(parameter, self._value(run.trigger))
                case ContextOf():
                    found[parameter.name] = context
                case _:
                    continue
        return found

    def _is(self, event: Happened, parameter: Trigger | Given | Gathered) -> bool:
        return event.type in {kind.name for kind in parameter.types}

    def _value(self, event: Happened) -> Any:
        kind = self.choreography.events.get(event.type)
        if kind is None:
            raise NotThisFlow(f"{event.type} is not known to this build")
        return self._codec.decode(bytes(event.data), kind)

    def _given(self, parameter: Given, contract: Contract, run: Run) -> Any:
        known = run.inputs if contract.options.compensates else self.flow.events[: int(run.place) + 1]
        fitting = [each for each in known if self._is(each, parameter)]
        if not fitting and contract.options.compensates:
            fitting = [each for each in self.flow.events[: int(run.place)] if self._is(each, parameter)]
        if not fitting and not parameter.optional:
            raise Unknown(f"`{parameter.name}` is not in the record")
        return self._value(fitting[-1]) if fitting else None

    # rows

    def _row(self, parameter: StateOf, event: Any) -> Any:
        state = parameter.state
        if parameter.form == "any" or not self.choreography.is_private(state):
            raise Unknown(f"it looks at {state}, which other flows share: what it held then is not recorded")
        if state.name in self._lost:
            raise Unknown(f"it looks at {state}, and {self._lost[state.name]}")
        if state.name in self._rows:
            return self._codec.decode(self._rows[state.name], state)
        key = attribute(event, state.key)
        return None if parameter.form == "maybe" else state.cls(**{state.key: self.flow.key if key is None else key})

    def _lose(self, contract: Contract, why: str) -> None:
        for parameter in contract.states:
            if parameter.form != "read":
                self._lost.setdefault(parameter.state.name, why)

    def _compare_rows(self) -> Iterator[Told]:
        states: dict[str, StateType] = {each.name: each for each in self.choreography.states.values()}
        for name in dict.fromkeys([*self.flow.states, *self._rows]):
            if name in self._lost:
                yield Told("unknown", f"state {name}", self._lost[name])
            elif name not in states:
                yield Told("differs", f"state {name}", "there is no such state any more")
            else:
                then = json.loads(bytes(self.flow.states[name])) if name in self.flow.states else None
                now = json.loads(self._rows[name]) if name in self._rows else None
                why = "" if then == now else f"then {json.dumps(then)}, now {json.dumps(now)}"
                yield Told("differs" if why else "same", f"state {name}", why)


_FAILED = f"callboard.{ReactionFailed.__name__}["


async def _awaited(result: Any) -> Any:
    return await result


def _shown(said: Sequence[tuple[str, Any]]) -> str:
    return " + ".join(f"{kind} {json.dumps(data)}" for kind, data in said) or "nothing"
