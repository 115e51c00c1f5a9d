"""Types the fix of a finding into a draft, word for word: a reader who knows nothing of callboard but what it says."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, cast

from callboard import FlowTimedOut, ReactionFailed, States
from callboard.check import Finding
from callboard.event import is_event, is_port
from tests.mutants.defects import changed, is_trigger, shown
from tests.mutants.draft import Draft, Step, members, one_of

KIND = r"[A-Z]\w+(?:\[\w+\])?"
TAKES = r"(?: and takes `([^`]+)`)?"
KINDS = rf"{KIND}(?:(?:, | and | \| ){KIND})*"


class Desk(NamedTuple):
    """What the typist has before them: the draft, and the finding."""

    made: Draft
    finding: Finding

    def step(self, name: str) -> Step:
        """The reaction of this name: in the service that the finding is about, if there is one."""
        path, _, bare = name.rpartition(".")
        service = path or self.finding.place.name.partition(".")[0]
        named = [each for each in self.made.steps.values() if each.name == bare]
        return next((each for each in named if each.service == service), named[0])

    def kinds(self, text: str) -> list[Any]:
        """The events that are named so somewhere in the draft."""
        known: dict[str, Any] = {}
        for step in self.made.steps.values():
            for value in [*step.hints.values(), step.options.get("needs"), step.options.get("unless")]:
                known |= {shown(each): each for part in members(value) for each in flat(part)}
        for flow in self.made.flows:
            for value in (flow["starts"], flow["succeeds"], flow["fails"]):
                known |= {shown(each): each for part in members(value) for each in flat(part)}
        known |= {shown(each): each for each in (*self.made.incoming, *self.made.outgoing)}
        plain = {each: kind for each, kind in known.items() if "[" not in each}
        for mark in cast("tuple[Any, ...]", (FlowTimedOut, ReactionFailed)):
            known |= {f"{mark.__name__}[{each}]": mark[kind] for each, kind in plain.items()}
        return [known[each] for each in re.findall(KIND, text) if each != "None"]

    def flow(self, name: str) -> dict[str, Any]:
        return next(each for each in self.made.flows if each["name"] == name)


def flat(part: Any) -> list[Any]:
    """The events in `tuple[A, B | C]` or `list[A]`, or the event itself."""
    if part is None:
        return []
    if is_event(part):
        return [part, *part.__args__] if getattr(part, "__args__", ()) else [part]
    return [each for one in getattr(part, "__args__", ()) for some in members(one) for each in flat(some)]


def hears(desk: Desk, name: str, kinds: str) -> None:
    step = desk.step(name)
    triggers = [each for each, value in step.hints.items() if is_trigger(step, each, value)]
    wanted = members(step.options.get("needs"))
    asked = [each for each in triggers if not set(map(shown, members(step.hints[each]))) <= set(map(shown, wanted))]
    place = (asked or triggers)[0]
    step.hints[place] = one_of(list(dict.fromkeys([*members(step.hints[place]), *desk.kinds(kinds)])))


def asks_through(desk: Desk, decider: str, asks: str, undo: str, said: str) -> None:
    hears(desk, decider, asks)
    hears(desk, undo, said)
    does_not_take(desk, asks, undo)


def bridges(desk: Desk, service: str | None, once: str | None, kinds: str, emitted: str) -> None:
    """A new reaction: of the service that is named, or spoken of."""
    number = len(desk.made.steps)

    def typed(heard: Any) -> Any: ...

    typed.__name__ = f"typed_{number}"
    hints = {"heard": one_of(desk.kinds(kinds)), "return": desk.kinds(emitted)[0]}
    service = service or desk.finding.place.name.partition(".")[0]
    service = service if service in desk.made.services else desk.made.services[-1]
    desk.made.steps[f"{service}.typed_{number}"] = Step(service, typed, hints, {"once": once} if once else {})


def undoes(desk: Desk, service: str, undone: str, kinds: str, *more: str | None) -> None:
    """A new compensation, with the parameters that are written there: the names are those of what it undoes."""
    taken, emitted = more
    number = len(desk.made.steps)
    doer = desk.step(undone)

    def typed() -> Any: ...

    typed.__name__ = f"typed_{number}"
    hints = {"why": one_of(desk.kinds(kinds))}
    for name, written in (each.split(": ") for each in (taken or "").split(", ") if each):
        hints[name] = parameter(desk, doer, name, written)
    hints["return"] = desk.kinds(emitted)[0] if emitted else None
    desk.made.steps[f"{service}.typed_{number}"] = Step(service, typed, hints, {"compensates": doer.function})


def parameter(desk: Desk, doer: Step, name: str, written: str) -> Any:
    """What an annotation names: an effect, or a state or port of the reaction that is undone."""
    if name not in doer.hints:
        return one_of([*desk.kinds(written), *([None] if written.endswith("None") else [])])
    known = doer.hints[name]
    return (
        cast("Any", States)[members(known)[0]]
        if written.startswith("States[") and "States" not in str(known)
        else known
    )


def swaps(desk: Desk, name: str, old: str, new: str) -> None:
    step, known = desk.step(name), desk.kinds(old)[0]
    for each, value in step.hints.items():
        if known in members(value):
            step.hints[each] = one_of([desk.kinds(new)[0] if one == known else one for one in members(value)])


def emits_instead(desk: Desk, meant: str) -> None:
    found = re.match(rf"nobody hears (?P<kind>{KIND}), which (?P<name>\w+) emits", desk.finding.title) or re.match(
        rf"nobody hears that (?P<name>\w+) failed: (?P<kind>{KIND})", desk.finding.title
    )
    assert found
    swaps(desk, found["name"], found["kind"], meant)


def takes_instead(desk: Desk, meant: str) -> None:
    found = re.match(rf"(\w+) waits for ({KIND}), which", desk.finding.title)
    assert found
    swaps(desk, found[1], found[2], meant)


def ends(desk: Desk, kind: str, word: str, name: str) -> None:
    flow = desk.flow(name)
    flow[word] = one_of([*(members(flow[word]) if flow[word] is not None else []), *desk.kinds(kind)])


def names(desk: Desk, kind: str, word: str) -> None:
    kind = kind if kind != "it" else re.findall(KIND, desk.finding.title)[0]
    (desk.made.incoming if word == "incoming" else desk.made.outgoing).extend(desk.kinds(kind))


def emits_too(desk: Desk, name: str, kind: str) -> None:
    step = desk.step(name)
    said = members(step.hints["return"])
    step.hints["return"] = one_of([each for each in said if each is not None] + desk.kinds(kind)) if None in said else (
        one_of([*said, *desk.kinds(kind)])
    )  # fmt: skip


def emits_each_time(desk: Desk, name: str, kind: str) -> None:
    step, (more,) = desk.step(name), desk.kinds(kind)
    ways = [
        each if each in (None, more) else tuple.__class_getitem__((each, more))
        for each in members(step.hints["return"])
    ]
    step.hints["return"] = one_of(list(dict.fromkeys(more if each is None else each for each in ways)))


def does_not_take(desk: Desk, kind: str, name: str) -> None:
    step, gone = desk.step(name), desk.kinds(kind)[0]
    for each, value in list(step.hints.items()):
        left = [one for one in members(value) if one != gone]
        if len(left) < len(members(value)) and each != "return":
            step.hints[each] = one_of(left)
            if not [one for one in left if one is not None]:
                del step.hints[each]


def does_not_emit(desk: Desk, kind: str, name: str) -> None:
    gone = desk.kinds(kind)[0]
    step = desk.step(name)
    step.hints["return"] = one_of([each for each in members(step.hints["return"]) if each != gone])


def says_something(desk: Desk, name: str) -> None:
    step = desk.step(name)
    step.hints["return"] = one_of([each for each in members(step.hints["return"]) if each is not None])


def has_unless(desk: Desk, kinds: str) -> None:
    desk.step(desk.finding.place.name).options["unless"] = one_of(desk.kinds(kinds))


def has_per(desk: Desk, name: str) -> None:
    """The first field of its event that is not the flow's key."""
    step = desk.step(name)
    heard = next(value for each, value in step.hints.items() if is_trigger(step, each, value))
    step.options["per"] = next(each for each in heard.__annotations__ if each != desk.made.flows[0]["key"])


def is_no_end(desk: Desk, kind: str, name: str) -> None:
    kind = kind if kind != "it" else re.findall(KIND, desk.finding.fix)[0]
    gone, flow = desk.kinds(kind)[0], desk.flow(name)
    for word in ("succeeds", "fails"):
        left = [each for each in members(flow[word]) if each not in (gone, None)] if flow[word] else []
        flow[word] = one_of(left)


def takes_none(desk: Desk, name: str, kinds: str) -> None:
    step, taken = desk.step(name), desk.kinds(kinds)
    place = next(each for each, value in step.hints.items() if set(members(value)) - {None} == set(taken))
    step.hints[place] = one_of([*taken, None])


def takes_port(desk: Desk, name: str, port: str) -> None:
    ports = [value for each in desk.made.steps.values() for value in each.hints.values() if is_port(value)]
    step = desk.step(name)
    found = next(each for each in ports if each.__name__ == port)
    step.hints[port.lower()] = found


def takes_back(desk: Desk, name: str, written: str) -> None:
    step = desk.step(name)
    (doer,) = [each for each in desk.made.steps.values() if each.function is step.options["compensates"]]
    for each, kind in (each.split(": ") for each in written.split(", ")):
        step.hints[each] = parameter(desk, doer, each, kind)


def compensates(desk: Desk, undone: str, name: str) -> None:
    desk.step(name).options["compensates"] = desk.step(undone).function


def shares(desk: Desk, listed: str, group: str = "typed") -> None:
    for name in re.split(r", | and ", listed):
        desk.step(name).options["once"] = group


def is_no_return(desk: Desk, kind: str) -> None:
    step = desk.step(re.split(r" declares", desk.finding.title)[0])
    gone = None if kind == "None" else desk.kinds(kind)[0]
    step.hints["return"] = one_of([each for each in members(step.hints["return"]) if each != gone])


def returns(desk: Desk, written: str) -> None:
    step = desk.step(desk.finding.place.name)
    kinds = members(step.hints["return"])
    if written.endswith("| None"):
        step.hints["return"] = one_of([*kinds, None])
        return
    known = {shown(value): value for value in step.function.__globals__.values() if isinstance(value, type)}
    more = known[re.findall(KIND, written)[-1]]
    step.hints["return"] = one_of([*kinds, list.__class_getitem__(more) if written.endswith("]") else more])


def waits_for(desk: Desk, name: str, kinds: str, word: str) -> None:
    flow = desk.flow(name)
    parts = getattr(flow[word], "__args__", ()) if str(flow[word]).startswith("tuple") else ()
    flow[word] = tuple.__class_getitem__((*(parts or (flow[word],)), one_of(desk.kinds(kinds))))


def has_timeout(desk: Desk, name: str) -> None:
    for flow in desk.made.flows:
        if name in (flow["name"], f"the flow that starts with {shown(flow['starts'])}"):
            flow["timeout"] = timedelta(hours=1)


def has_no_option(desk: Desk, option: str, name: str) -> None:
    desk.step(name).options.pop(option, None)


def is_pivot(desk: Desk, name: str) -> None:
    desk.step(name).options["pivot"] = True


def keeps(desk: Desk, name: str) -> None:
    desk.step(name).options["keeps"] = "why"


def mends_body(desk: Desk) -> None:
    step = desk.step(desk.finding.place.name)
    if step.body is None:
        raise LookupError("the body is right: another way is meant")
    step.body = None


def may_say_nothing(desk: Desk, name: str) -> None:
    step = desk.step(name)
    step.hints["return"] = one_of(list(dict.fromkeys([*members(step.hints["return"]), None])))


RULES: list[tuple[str, Callable[..., None]]] = [
    (rf"let (\w+) hear ({KINDS}) too", hears),
    (rf"let (\w+) hear ({KIND}) instead of (\w+), and let \w+ hear ({KIND})", asks_through),
    (
        rf'let a reaction(?: of (\w+), once="(\w+)",)? hear ({KINDS})(?:, which nobody does,)? and emit ({KIND})',
        bridges,
    ),
    (rf"take ({KIND}) if that is meant", takes_instead),
    (rf"name ({KIND}) in (fails|succeeds)= of (\w+)", ends),
    (rf"name ({KIND}|it) in (outgoing|incoming)=", names),
    (rf"let (\w+) emit ({KIND}) there too", emits_too),
    (rf"let (\w+) emit ({KIND}) each time, beside", emits_each_time),
    (rf"let (\w+) take `({KINDS}) \| None`", takes_none),
    (r"let (\w+) take the port (\w+)", takes_port),
    (r"let (\w+) take `([^`]+)`, and take back", takes_back),
    (r"write compensates=(\w+) on (\w+)", compensates),
    (r"\(compensates=(\w+)[^`]*? above (\w+)", compensates),
    (
        rf"a reaction of (\w+) with compensates=(\w+) that hears ({KINDS}){TAKES}(?:, and emits ({KIND}))?",
        undoes,
    ),
    (r'let ([\w., ]+?) share a group, once="(\w+)"', shares),
    (r"let ([\w., ]+?) share a once= group", shares),
    (r'give (\w+) once="(\w+)"', shares),
    (r"let (\w+) say once=", shares),
    (rf"take ({KIND}) out of the annotation", is_no_return),
    (r"write `-> ([^`]+)` if", returns),
    (r"return (?:an event there|[\w\[\]]+ where its body should)", mends_body),
    (rf"emit ({KIND}) instead", emits_instead),
    (r'take (once)="\w+" out of (\w+)', has_no_option),
    (r"take (unless)= out of (\w+)", has_no_option),
    (rf"take ({KIND}) out of (\w+),", does_not_take),
    (rf"take ({KIND}) out of the return of (\w+)", does_not_emit),
    (r"let (\w+) emit nothing where", may_say_nothing),
    (r"let (\w+) emit something each time", says_something),
    (rf"name ({KINDS}) in unless=", has_unless),
    (r"say per= on (\w+), with the field that tells one", has_per),
    (rf"take (it|{KIND}) out of (\w+)$", is_no_end),
    (rf"let (\w+) wait for ({KINDS}) too: (succeeds)=", waits_for),
    (r"give ([\w ]+?) a timeout=", has_timeout),
    (r'say keeps="<reason>" on (\w+)', keeps),
    (r"say pivot=True on (\w+)", is_pivot),
]


def typed(known: Draft, finding: Finding) -> Draft | None:
    """The draft after the first of the fix's ways that can be typed; None if there is none."""
    found = [(place, rule) for text, rule in RULES if (place := re.search(text, finding.fix))]
    for place, rule in sorted(found, key=lambda it: it[0].start()):
        with suppress(LookupError):
            return changed(known, partial(_apply, rule, finding, place.groups()))
    return None


def _apply(rule: Callable[..., None], finding: Finding, words: tuple[str, ...], made: Draft) -> None:
    rule(Desk(made, finding), *words)
