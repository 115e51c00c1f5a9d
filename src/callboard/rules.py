"""What a contract may not say, though each part of it can be read: every rule gives the fix."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import combinations
from typing import Any

from callboard.contract import Contract, Gathered, Given, Trigger, types_in, ways
from callboard.errors import ContractError
from callboard.event import ReactionFailed
from callboard.parameters import of_kind


def refuse_nonsense(contract: Contract, compensated: Contract | None = None) -> None:
    """ContractError for the first rule that the contract breaks. `compensated` is the one that it compensates."""
    for rule in RULES:
        for fix in rule(contract):
            raise ContractError(contract.where, fix)
    for each in contract.hears if compensated else ():
        if each.cls is ReactionFailed and compensated and each.inner not in compensated.hears:
            raise ContractError(
                contract.where,
                f"a compensation hears {each} only for the reaction it compensates, and "
                f"{compensated.path} never hears {each.inner}",
            )


Rule = Callable[[Contract], Iterator[str]]  # gives the fix for each thing that makes no sense


def it_has_a_trigger(contract: Contract) -> Iterator[str]:
    if contract.hears:
        return
    if contract.givens:
        names = ", ".join(f"`{each.name}`" for each in contract.givens)
        yield f"nothing makes it run: {names} is given, not waited for. Take the event that it reacts to as well"
    else:
        yield "nothing makes it run: take the event that it reacts to, `order: OrderPlaced`"


def lists_are_gathered(contract: Contract) -> Iterator[str]:
    lists = of_kind(contract.parameters, Gathered)
    if lists and contract.options.gathers is None:
        yield f"`{lists[0].name}` is a list: say with gathers= which scattered event each part answers"
    if contract.options.gathers is not None and not lists:
        yield "gathers= wants a list: take the parts, `parts: list[A | B]`"
    if len(lists) > 1:
        yield f"one list is gathered: put both types into it, `{lists[0].name}: list[A | B]`"
    if lists and contract.triggers:
        yield f"joins and gathers do not mix: name {contract.triggers[0].types[0]} in needs=, or take it as `| None`"


def _events_of(contract: Contract) -> list[Trigger | Given | Gathered]:
    return [each for each in contract.parameters if isinstance(each, Trigger | Given | Gathered)]


def each_event_has_one_role(contract: Contract) -> Iterator[str]:
    for one, other in combinations(_events_of(contract), 2):
        both = [each for each in one.types if each in other.types]
        if both and not (isinstance(one, Given) and isinstance(other, Given)):
            yield f"`{one.name}` and `{other.name}` are both {both[0]}: a reaction takes an event once"
    cut = types_in(contract.options.unless)
    for each in contract.hears:
        if each in cut:
            yield f"unless= names {each}, the trigger: it cannot come before itself"


def parts_are_told_apart(contract: Contract) -> Iterator[str]:
    per = contract.options.per
    for each in contract.hears if per else ():
        if not each.carries(str(per)):
            yield f"per={per!r} is read from the trigger, and {each} has no `{per}`: add it, or name another attribute"


def lines_have_one_key(contract: Contract) -> Iterator[str]:
    for trigger in contract.triggers:
        keys = {each.key: each for each in trigger.types if each.key is not None}
        if len(keys) > 1:
            said = ", ".join(f"{each} by `{key}`" for key, each in keys.items())
            yield f"`{trigger.name}` mixes events that are ordered differently, {said}: write one reaction for each"


def rows_are_found(contract: Contract) -> Iterator[str]:
    seen: dict[type[Any], str] = {}
    for row in contract.states:
        if row.form == "any":
            continue
        if (first := seen.setdefault(row.state.cls, row.name)) != row.name:
            yield f"`{first}` and `{row.name}` are the same row: take it once, and others through `States[{row.state}]`"
        if not _key_is_known(contract, row.state.key):
            lacking = next((each for each in contract.hears if not each.carries(row.state.key)), contract.hears[0])
            yield (
                f"`{row.name}` is found by `{row.state.key}`, which neither {lacking} nor a given event has: add it "
                f"to {lacking}, or take `States[{row.state}]`"
            )


def _key_is_known(contract: Contract, key: str) -> bool:
    """Whichever trigger comes, it has the key itself, or an event that is surely given has it."""
    if any(all(each.carries(key) for each in given.types) for given in contract.givens if not given.optional):
        return True
    heard = [each for each in _events_of(contract) if not isinstance(each, Given)]
    return any(all(each.carries(key) for each in parameter.types) for parameter in heard)


def waits_make_sense(contract: Contract) -> Iterator[str]:
    options = contract.options
    if options.wait is not None:
        if contract.gathered is not None:
            yield "wait= and gathers= do not mix: let another reaction wait, on what this one emits"
        if options.compensates is not None:
            yield "a compensation does not wait: let another reaction wait, and compensate on what it emits"
        if contract.is_join and not isinstance(options.wait, timedelta):
            yield "wait= as a function asks one event, and this is a join: give a timedelta"
    bounded = (
        options.needs or contract.is_join or contract.gathered or any(not each.optional for each in contract.givens)
    )
    if options.within is not None and not bounded:
        yield "within= bounds a wait for other events, and there are none: wait= is a timer, timeout= is for an attempt"


def options_agree(contract: Contract) -> Iterator[str]:
    options = contract.options
    if options.needs and options.unless:
        cut = ways(options.unless)
        if all(any(each <= way for each in cut) for way in ways(options.needs)):
            yield f"it needs `{options.needs}` and does not run once `{options.unless}` came: it never runs"
    if options.blocking and contract.is_async:
        yield "blocking=True runs a plain `def` in a thread: leave it away, or write `def`"
    if options.pivot and options.keeps is not None:
        yield "pivot= and keeps= both answer for its effect: pivot=True if nothing after it may fail, else keeps="
    if options.pivot and options.compensates is not None:
        yield "a compensation is no pivot: leave pivot= away"
    if options.was == contract.name:
        yield f"was={options.was!r} is its name today: say the old one, or leave it away"


def joins_wait_for_what_is_said(contract: Contract) -> Iterator[str]:
    """A deadline or an accident mostly never comes: whoever joins it with an event waits for it for nothing."""
    if not contract.is_join:
        return
    for trigger in contract.triggers:
        if any(kind.inner is not None for kind in trigger.types):
            others = [other.types[0] for other in contract.triggers if other is not trigger]
            yield (
                f"`{trigger.name}` would be waited for together with {others[0]}, as a join: "
                f"say needs={others[0]} if that one is only wanted for what it says"
            )


RULES: tuple[Rule, ...] = (
    it_has_a_trigger, lists_are_gathered, each_event_has_one_role, parts_are_told_apart, lines_have_one_key,
    rows_are_found, joins_wait_for_what_is_said, waits_make_sense, options_agree,
)  # fmt: skip
