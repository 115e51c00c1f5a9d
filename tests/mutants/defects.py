"""Every single defect that can be planted in a draft: each a name and a function that changes a copy of it."""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any, get_args, get_origin

from callboard import event, failure
from callboard.event import event_type, is_event, is_port
from tests.mutants.draft import Draft, Step, members, one_of
from tests.mutants.slips import may_return_nothing, never_returns, slip

# How a return was changed: in the body and the annotation alike, in the annotation only, in the body only.
ON_PURPOSE, UNDECLARED, FORGOTTEN = ", on purpose", ", and its annotation does not fit", ", and its body forgot it"
Plant = Callable[[Draft], None]
DROPPED = ("compensates", "pivot", "keeps", "per", "once", "unless", "gathers")


def stranger(mark: Any, key: str) -> Any:
    """An event that nobody knows."""
    return mark(type("Misspelt", (), {"__annotations__": {key: str}, "__module__": __name__}))


def defects(known: Draft) -> Iterator[tuple[str, Plant]]:
    """All of them, by name."""
    key = known.flows[0]["key"]
    for path, step in known.steps.items():
        yield f"drop {path}", partial(drop, path)
        yield from of_options(path, step)
        yield from of_triggers(path, step, key)
        yield from of_returns(path, step, key)
        yield from of_parameters(path, step)
    for number, flow in enumerate(known.flows):
        yield from of_flow(number, flow, key)
    for kind in known.incoming:
        yield f"not incoming {kind.__name__}", partial(unsay, kind)


def changed(known: Draft, plant: Plant) -> Draft:
    """A copy of the draft with the defect."""
    steps = {path: copy(step) for path, step in known.steps.items()}
    for step in steps.values():
        step.hints, step.options = dict(step.hints), dict(step.options)
    flows = [dict(each) for each in known.flows]
    made = Draft(known.name, list(known.services), steps, flows, list(known.incoming), list(known.outgoing))
    plant(made)
    return made


def drop(path: str, made: Draft) -> None:
    gone = made.steps.pop(path).function
    for step in made.steps.values():
        if step.options.get("compensates") is gone:
            del step.options["compensates"]


def unsay(kind: Any, made: Draft) -> None:
    made.incoming.remove(kind)


def option(path: str, name: str, value: Any) -> Plant:
    def plant(made: Draft) -> None:
        made.steps[path].options[name] = value

    return plant


def without(path: str, name: str) -> Plant:
    def plant(made: Draft) -> None:
        del made.steps[path].hints[name]

    return plant


def hint(path: str, name: str, value: Any) -> Plant:
    """The annotation of one parameter, or of the return, is this."""

    def plant(made: Draft) -> None:
        made.steps[path].hints[name] = value

    return plant


def without_option(path: str, name: str) -> Plant:
    def plant(made: Draft) -> None:
        del made.steps[path].options[name]

    return plant


def without_needs(path: str, made: Draft) -> None:
    """The prerequisite goes with its parameter: one that was left would be a trigger, and wait for it just so."""
    step = made.steps[path]
    needed = members(step.options.pop("needs"))
    step.hints = {name: value for name, value in step.hints.items() if name == "return" or value not in needed}


def of_options(path: str, step: Step) -> Iterator[tuple[str, Plant]]:
    if step.options.get("needs"):
        yield f"{path} without needs=", partial(without_needs, path)
    for name in DROPPED:
        if step.options.get(name):
            yield f"{path} without {name}=", without_option(path, name)
    for name in ("unless", "needs"):
        kinds = members(step.options.get(name)) if step.options.get(name) else []
        for kind in kinds if len(kinds) > 1 else ():
            rest = one_of([each for each in kinds if each is not kind])
            yield f"{path} {name}= without {shown(kind)}", option(path, name, rest)


def is_trigger(step: Step, name: str, value: Any) -> bool:
    kinds = members(value)
    return name != "return" and None not in kinds and all(is_event(each) for each in kinds)


def of_triggers(path: str, step: Step, key: str) -> Iterator[tuple[str, Plant]]:
    for name, value in step.hints.items():
        if not is_trigger(step, name, value):
            continue
        kinds = members(value)
        for kind in kinds if len(kinds) > 1 else ():
            rest = one_of([each for each in kinds if each is not kind])
            yield f"{path} does not hear {shown(kind)}", hint(path, name, rest)
        for kind in kinds:
            other = one_of([stranger(event, key) if each is kind else each for each in kinds])
            yield f"{path} hears Misspelt for {shown(kind)}", hint(path, name, other)


def of_returns(path: str, step: Step, key: str) -> Iterator[tuple[str, Plant]]:
    value = step.hints.get("return")
    kinds = members(value)
    for kind in kinds if len(kinds) > 1 else ():
        rest = one_of([k for k in kinds if k is not kind])
        yield f"{path} never emits {shown(kind)}{ON_PURPOSE}", hint(path, "return", rest)
        yield f"{path} emits {shown(kind)}{UNDECLARED}", hint(path, "return", rest)
        yield f"{path} does not emit {shown(kind)}{FORGOTTEN}", slip(path, never_returns(kind))
    for kind in kinds:
        if kind is not None and is_event(kind):
            other = one_of([stranger(event, key) if each is kind else each for each in kinds])
            yield f"{path} emits Misspelt for {shown(kind)}", hint(path, "return", other)
    if kinds != [None]:
        yield f"{path} may fail, unheard", hint(path, "return", one_of([*kinds, stranger(failure, key)]))
        yield f"{path} emits something", hint(path, "return", one_of([*kinds, stranger(event, key)]))
    if None not in kinds and not any(get_origin(kind) is list for kind in kinds):
        yield f"{path} may say nothing{ON_PURPOSE}", hint(path, "return", one_of([*kinds, None]))
        yield f"{path} says that it may say nothing{UNDECLARED}", hint(path, "return", one_of([*kinds, None]))
        yield f"{path} may say nothing{FORGOTTEN}", slip(path, may_return_nothing)


def of_parameters(path: str, step: Step) -> Iterator[tuple[str, Plant]]:
    is_compensation = step.options.get("compensates") is not None
    for name, value in step.hints.items():
        kinds = members(value)
        if is_compensation and name != "return" and None in kinds and all(is_event(k) for k in kinds if k):
            yield f"{path} does not take None", hint(path, name, one_of([each for each in kinds if each]))
        if is_compensation and is_port(value):
            yield f"{path} has no {value.__name__}", without(path, name)


def of_flow(number: int, flow: dict[str, Any], key: str) -> Iterator[tuple[str, Plant]]:
    def put(name: str, value: Any) -> Plant:
        return lambda made: made.flows[number].__setitem__(name, value)

    def swapped(made: Draft) -> None:
        one = made.flows[number]
        one["succeeds"], one["fails"] = one["fails"], one["succeeds"]

    yield "completions swapped", swapped
    yield "no fails=", put("fails", None)
    if flow["timeout"] is not None:
        yield "no timeout=", put("timeout", None)
    for name in ("succeeds", "fails"):
        kinds = members(flow[name])
        for kind in kinds if len(kinds) > 1 else ():
            yield f"{name}= without {shown(kind)}", put(name, one_of([each for each in kinds if each is not kind]))
        for kind in kinds:
            yield (
                f"{name}= Misspelt for {shown(kind)}",
                put(name, one_of([stranger(event, key) if each is kind else each for each in kinds])),
            )
            for part in get_args(kind):
                rest = tuple(each for each in get_args(kind) if each is not part)
                yield f"{name}= without {shown(part)}", put(name, tuple.__class_getitem__(rest))


def shown(kind: Any) -> str:
    if kind is None or not is_event(kind):
        return str(kind)
    return str(event_type(kind))
