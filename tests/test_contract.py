"""A contract says what the signature says; what a signature cannot say is refused, with its place and the fix."""

# Some signatures here are wrong on purpose.
# mypy: disable-error-code="no-untyped-def, type-arg"
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUndefinedVariable=false

import functools
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from callboard import (
    Choreography,
    Context,
    ContractError,
    FlowTimedOut,
    ReactionFailed,
    Read,
    Retry,
    Service,
    States,
    event,
    failure,
    port,
    state,
)
from callboard.contract import (
    AllOf,
    Contract,
    EventShape,
    Many,
    Nothing,
    OneOf,
)
from callboard.event import event_type

HOUR = timedelta(hours=1)


@event
class Ordered:
    order_id: str
    sku: str


@event
class Reserved:
    order_id: str


@event
class Paid:
    order_id: str
    sku: str


@failure
class SoldOut:
    order_id: str


@event(key="courier_id")
class Moved:
    courier_id: str


@event(key="truck_id")
class Driven:
    truck_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3


@state(key="sku")
class Label:
    sku: str
    text: str


@port
class Bank(Protocol):
    def charge(self) -> None: ...


class Note:
    pass


Answer = Ordered | Reserved


def build(function: Callable[..., Any], **options: Any) -> Contract:
    inventory = Service("inventory")
    inventory.reaction(**options)(function)
    Choreography("shop", inventory)
    return inventory.reactions[-1].contract


def parameters(function: Callable[..., Any], **options: Any) -> list[str]:
    return [type(each).__name__ for each in build(function, **options).parameters]


A, B, C = (event_type(each) for each in (Ordered, Reserved, Paid))
b, c = EventShape(B), EventShape(C)

# what a parameter is


def test_an_event_is_a_trigger() -> None:
    def react(order: Ordered | Reserved) -> None: ...

    contract = build(react)
    assert contract.hears == (A, B)
    assert (contract.path, contract.is_join, contract.reaches_outside) == ("inventory.react", False, False)


def test_a_union_with_a_generic_is_a_trigger_for_both() -> None:
    def react(why: Ordered | FlowTimedOut[Reserved]) -> None: ...

    assert build(react).hears == (A, event_type(FlowTimedOut[Reserved]))


def test_two_events_are_a_join() -> None:
    def react(order: Ordered | SoldOut, reserved: Reserved) -> None: ...

    contract = build(react)
    assert contract.is_join
    assert contract.hears == (A, event_type(SoldOut), B)


def test_what_is_needed_is_given_and_no_trigger() -> None:
    def react(reserved: Reserved, order: Ordered) -> None: ...

    contract = build(react, needs=Ordered)
    assert contract.hears == (B,)
    assert [(each.name, each.optional) for each in contract.givens] == [("order", False)]


def test_several_needs_are_all_given() -> None:
    def react(reserved: Reserved, order: Ordered, paid: Paid) -> None: ...

    assert parameters(react, needs=tuple[Ordered, Paid]) == ["Trigger", "Given", "Given"]
    assert parameters(react, needs=Ordered | Paid) == ["Trigger", "Given", "Given"]


def test_what_is_needed_may_come_in_a_way_that_is_not_cut_off() -> None:
    assert parameters(plain, needs=Paid | Reserved, unless=Paid) == ["Trigger"]


def test_a_need_may_have_no_parameter() -> None:
    def react(reserved: Reserved) -> None: ...

    assert parameters(react, needs=Ordered, unless=Paid | SoldOut) == ["Trigger"]


def test_an_event_or_none_is_given_if_there_is_one() -> None:
    def react(reserved: Reserved, order: Ordered | Paid | None) -> None: ...

    contract = build(react)
    assert [(each.types, each.optional) for each in contract.givens] == [((A, C), True)]


def test_a_list_is_gathered() -> None:
    def react(parts: list[Reserved | SoldOut], order: Paid | None) -> None: ...

    contract = build(react, gathers=Ordered)
    assert contract.gathered is not None
    assert contract.hears == contract.gathered.types == (B, event_type(SoldOut))
    assert contract.options.gathers is A


def test_state_has_four_forms() -> None:
    def row(order: Ordered, shelf: Shelf) -> None: ...
    def maybe(order: Ordered, label: Label | None) -> None: ...
    def read(order: Ordered, shelf: Read[Shelf]) -> None: ...
    async def rows(order: Ordered, labels: States[Label]) -> None: ...

    contracts = [build(each) for each in (row, maybe, read, rows)]
    assert [contract.states[0].form for contract in contracts] == ["row", "maybe", "read", "any"]


def test_a_row_and_all_rows_of_one_state_go_together() -> None:
    async def react(order: Ordered, shelf: Shelf, shelves: States[Shelf]) -> None: ...

    assert [each.form for each in build(react).states] == ["row", "any"]


def test_a_key_may_come_from_a_given_event() -> None:
    def react(reserved: Reserved, order: Ordered, shelf: Shelf) -> None: ...

    assert parameters(react, needs=Ordered) == ["Trigger", "Given", "StateOf"]


def test_a_key_may_come_from_the_other_half_of_a_join() -> None:
    def react(reserved: Reserved, paid: Paid, shelf: Shelf) -> None: ...

    assert parameters(react) == ["Trigger", "Trigger", "StateOf"]


def test_a_key_is_read_from_the_event_that_is_spoken_of() -> None:
    def react(late: FlowTimedOut[Ordered] | ReactionFailed[Paid], shelf: Shelf) -> None: ...

    assert parameters(react, per="order_id") == ["Trigger", "StateOf"]


def test_ports_and_context_are_handed_over() -> None:
    def react(order: Ordered, bank: Bank, ctx: Context) -> None: ...

    contract = build(react)
    assert [type(each).__name__ for each in contract.parameters] == ["Trigger", "PortOf", "ContextOf"]
    assert contract.reaches_outside


def test_an_annotation_may_be_written_in_quotes() -> None:
    def react(order: "Answer", shelves: "States[Shelf]") -> "list[Paid] | None": ...

    contract = build(react)
    assert contract.hears == (A, B)
    assert contract.returns == OneOf((Many(c), Nothing()))


# async


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def awaits(order: Ordered) -> None: ...
def gives_an_awaitable(order: Ordered) -> Awaitable[Paid | None]: ...  # type: ignore[empty-body]
def gives_a_coroutine(order: Ordered) -> Coroutine[Any, Any, Paid | None]: ...  # type: ignore[empty-body]
def only_returns(order: Ordered) -> None: ...


@pytest.mark.parametrize("function", [awaits, traced(awaits), gives_an_awaitable, gives_a_coroutine])
def test_what_must_be_awaited_is_known(function: Callable[..., Any]) -> None:
    contract = build(function)
    assert contract.is_async
    assert contract.reaches_outside


@pytest.mark.parametrize("function", [only_returns, traced(only_returns)])
def test_what_only_returns_is_known(function: Callable[..., Any]) -> None:
    assert not build(function).is_async
    assert build(function, blocking=True).reaches_outside


def test_the_place_is_the_def_and_not_the_decorator_above_it() -> None:
    service = Service("orders")

    @service.reaction(
        once="end",
    )
    @traced
    def complete(order: Ordered) -> None: ...

    Choreography("shop", service)
    contract = service.reactions[0].contract
    with open(contract.file, encoding="utf-8") as source:  # noqa: PTH123
        assert "def complete" in source.readlines()[contract.line - 1]
    assert contract.where == f"{__file__}:{contract.line} orders.complete"


# options


def test_every_option_is_in_the_contract() -> None:
    def react(order: Ordered) -> None: ...

    read = build(
        react, needs=tuple[Reserved, Paid], wait=HOUR, unless=SoldOut, per="order_id", once="end", keeps="a letter",
        within=2 * HOUR, retry=Retry(max_attempts=2), timeout=HOUR, order="loose", concurrency=4, blocking=True,
        was="answer", since="beginning",
    ).options  # fmt: skip
    assert (read.needs, read.unless) == (AllOf((b, c)), EventShape(event_type(SoldOut)))
    assert (read.wait, read.within, read.timeout) == (HOUR, 2 * HOUR, HOUR)
    assert (read.per, read.once, read.keeps, read.was) == ("order_id", "end", "a letter", "answer")
    assert (read.order, read.since, read.concurrency, read.blocking) == ("loose", "beginning", 4, True)
    assert read.retry.max_attempts == 2


def test_what_is_not_said_has_its_default() -> None:
    def react(order: Ordered) -> None: ...

    read = build(react).options
    assert (read.timeout, read.retry, read.order, read.since) == (timedelta(seconds=60), Retry(), "strict", "now")
    assert [read.needs, read.wait, read.per, read.once, read.concurrency, read.pivot] == [None] * 5 + [False]


def test_a_timer_may_be_a_function_of_the_event() -> None:
    def remind(order: Ordered) -> None: ...

    def day_before(order: Ordered) -> timedelta:
        return HOUR * len(order.sku)

    assert build(remind, wait=day_before).options.wait is day_before


# compensation


def pair(compensation: Callable[..., Any], **options: Any) -> Contract:
    service = Service("inventory")

    @service.reaction
    def reserve(order: Ordered) -> Reserved | SoldOut: ...  # type: ignore[empty-body]

    service.reaction(compensates=reserve, **options)(compensation)
    Choreography("shop", service)
    return service.reactions[-1].contract


def test_what_the_compensated_reaction_emits_is_given() -> None:
    def release(why: Paid, reserved: Reserved) -> None: ...

    contract = pair(release)
    assert contract.options.compensates == "reserve"
    assert contract.hears == (C,)
    assert contract.effect_types == (B,)
    assert [(each.types, each.optional) for each in contract.givens] == [((B,), False)]


def test_a_compensation_may_answer_also_when_there_is_nothing() -> None:
    def release(why: Paid, reserved: Reserved | None) -> None: ...

    contract = pair(release)
    assert (contract.effect_types, contract.givens[0].optional) == ((B,), True)


def test_a_failure_of_the_compensated_reaction_is_a_trigger_for_it_took_no_effect() -> None:
    def release(why: Paid | SoldOut, reserved: Reserved | None) -> None: ...

    contract = pair(release)
    assert contract.hears == (C, event_type(SoldOut))
    assert contract.effect_types == (B,)


def test_a_compensation_hears_the_failure_of_its_own_reaction() -> None:
    def release(why: ReactionFailed[Ordered], reserved: Reserved | None) -> None: ...

    assert pair(release).hears == (event_type(ReactionFailed[Ordered]),)


# refused


def no_annotation(order) -> None: ...  # noqa: ANN001
def no_return(order: Ordered): ...
def unknown_class(order: Note) -> None: ...
def unknown_name(order: "X") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def nothing_at_all() -> None: ...
def no_trigger(shelf: States[Shelf]) -> None: ...
def only_given(order: Ordered | None) -> None: ...
def returns_a_class(order: Ordered) -> Note: ...  # type: ignore[empty-body]
def returns_a_state(order: Ordered) -> Shelf: ...  # type: ignore[empty-body]
def returns_ours(order: Ordered) -> FlowTimedOut[Ordered]: ...  # type: ignore[empty-body]
def returns_anything(order: Ordered) -> Any: ...
def yields(order: Ordered) -> Iterator[Paid]:
    yield Paid(order_id="", sku="")


async def yields_async(order: Ordered) -> AsyncIterator[Paid]:
    yield Paid(order_id="", sku="")


def takes_args(*orders: Ordered) -> None: ...
def takes_kwargs(**orders: Ordered) -> None: ...
def by_position(order: Ordered, /) -> None: ...
def with_default(order: Ordered, shelf: Shelf = Shelf(sku="")) -> None: ...  # noqa: B008
def a_method(self, order: Ordered) -> None: ...  # noqa: ANN001
def all_of(both: tuple[Ordered, Reserved]) -> None: ...
def list_of_lists(parts: list[list[Ordered]]) -> None: ...
def event_or_state(it: Ordered | Shelf) -> None: ...
def port_or_none(order: Ordered, bank: Bank | None) -> None: ...
def states_or_none(order: Ordered, shelves: States[Shelf] | None) -> None: ...
def read_or_none(order: Ordered, shelf: Read[Shelf] | None) -> None: ...
def read_of_none(order: Ordered, shelf: Read[Shelf | None]) -> None: ...
def incomplete_row(order: Ordered, label: Label) -> None: ...
def incomplete_read(order: Ordered, label: Read[Label]) -> None: ...
def states_of_what(order: Ordered, shelves: States) -> None: ...
def states_of_an_event(order: Ordered, shelves: States[Ordered]) -> None: ...
def read_of_a_class(order: Ordered, note: Read[Note]) -> None: ...
def no_key(reserved: Reserved, shelf: Shelf) -> None: ...
def key_in_one_of_two(why: Ordered | Reserved, shelf: Shelf) -> None: ...
def key_maybe_given(reserved: Reserved, order: Ordered | None, shelf: Shelf) -> None: ...
def same_row_twice(order: Ordered, one: Shelf, other: Read[Shelf]) -> None: ...
def same_event_twice(one: Ordered, other: Ordered | Paid) -> None: ...
def given_and_trigger(order: Ordered, earlier: Ordered | None) -> None: ...
def two_keys(moved: Moved | Driven) -> None: ...
def of_no_event(late: FlowTimedOut) -> None: ...
def late_of_nothing(late: FlowTimedOut[Note]) -> None: ...
def plain(order: Ordered) -> None: ...
def joined(order: Ordered, reserved: Reserved) -> None: ...
async def awaiting(order: Ordered) -> None: ...
def half_given(reserved: Reserved, why: Ordered | Paid) -> None: ...
def gathered(parts: list[Reserved]) -> None: ...
def gathered_twice(parts: list[Reserved], more: list[Paid]) -> None: ...
def gathered_and_joined(parts: list[Reserved], order: Ordered) -> None: ...


REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (no_annotation, {}, "annotate `order` with an event, a state, a port or Context"),
    (no_return, {}, "annotate the return with the events it emits, or None"),
    (unknown_class, {}, "`order: Note` is no event, state, port or Context: decorate its class"),
    (unknown_name, {}, "the annotation `X` cannot be found"),
    (nothing_at_all, {}, "nothing makes it run: take the event"),
    (no_trigger, {}, "nothing makes it run: take the event"),
    (only_given, {}, "nothing makes it run: `order` is given"),
    (plain, {"needs": Ordered}, "nothing makes it run: `order` is given"),
    (returns_a_class, {}, "Note is no event"),
    (returns_a_state, {}, "Shelf is a state, and no event"),
    (returns_ours, {}, "published by callboard alone"),
    (returns_anything, {}, "is no event"),
    (yields, {}, "return a list of events instead of yielding them"),
    (yields_async, {}, "return a list of events instead of yielding them"),
    (takes_args, {}, "`*orders: "),
    (takes_kwargs, {}, "`**orders: "),
    (by_position, {}, "cannot be filled: write one named parameter"),
    (with_default, {}, "`shelf` has a default that would never be used"),
    (a_method, {}, "not a method"),
    (all_of, {}, "is a join: write one parameter for each"),
    (list_of_lists, {"gathers": Ordered}, "cannot be filled"),
    (event_or_state, {}, "mixes what cannot be mixed"),
    (port_or_none, {}, "mixes what cannot be mixed"),
    (states_or_none, {}, "mixes what cannot be mixed"),
    (read_or_none, {}, "mixes what cannot be mixed"),
    (read_of_none, {}, "Read[...] takes one state class"),
    (incomplete_row, {}, "every field but `sku` needs a default"),
    (incomplete_read, {}, "every field but `sku` needs a default"),
    (states_of_what, {}, "States[...] takes one state class"),
    (states_of_an_event, {}, "States[...] takes one state class"),
    (read_of_a_class, {}, "Read[...] takes one state class"),
    (no_key, {}, "`shelf` is found by `sku`, which neither Reserved nor a given event has"),
    (key_in_one_of_two, {}, "`shelf` is found by `sku`, which neither Reserved nor a given event has"),
    (key_maybe_given, {}, "`shelf` is found by `sku`, which neither Reserved nor a given event has"),
    (same_row_twice, {}, "`one` and `other` are the same row"),
    (same_event_twice, {}, "`one` and `other` are both Ordered"),
    (given_and_trigger, {}, "`order` and `earlier` are both Ordered"),
    (two_keys, {}, "ordered differently, Moved by `courier_id`, Driven by `truck_id`"),
    (of_no_event, {}, "say of which event: FlowTimedOut[OrderCreated]"),
    (late_of_nothing, {}, "Note is no event"),
    (plain, {"need": Ordered}, "there is no option `need=`: did you mean `needs=`?"),
    (plain, {"unles": Ordered}, "did you mean `unless=`?"),
    (plain, {"xyz": 1}, "there is no option `xyz=`: there are needs, wait"),
    (plain, {"needs": Shelf}, "Shelf is a state, and no event"),
    (plain, {"needs": "Paid"}, "'Paid' is no event"),
    (plain, {"needs": list[Paid]}, "`list[Paid]` is always there"),
    (plain, {"needs": Paid | None}, "`None` is always there"),
    (plain, {"unless": {Paid, Reserved}}, "says neither all nor any"),
    (plain, {"unless": Bank}, "Bank is a port, and no event"),
    (plain, {"unless": Paid | Ordered}, "unless= names Ordered, the trigger"),
    (plain, {"needs": tuple[Paid, Reserved], "unless": Paid | SoldOut}, "it never runs"),
    (plain, {"per": "sku_id"}, "per='sku_id' is read from the trigger, and Ordered has no `sku_id`"),
    (joined, {"per": "sku"}, "per='sku' is read from the trigger, and Reserved has no `sku`"),
    (plain, {"per": 3}, "per= takes a text"),
    (plain, {"once": ""}, "once= takes a text"),
    (plain, {"keeps": " "}, "keeps= takes a text"),
    (plain, {"wait": -HOUR}, "wait= takes a timedelta longer than zero"),
    (plain, {"wait": 20}, "wait= takes a timedelta longer than zero"),
    (plain, {"timeout": timedelta(0)}, "timeout= takes a timedelta longer than zero"),
    (plain, {"timeout": None}, "timeout= takes a timedelta longer than zero"),
    (plain, {"within": -HOUR, "needs": Paid}, "within= takes a timedelta longer than zero"),
    (plain, {"within": HOUR}, "within= bounds a wait for other events, and there are none"),
    (plain, {"retry": 3}, "retry= takes a Retry("),
    (plain, {"order": "lose"}, "order= takes 'strict' or 'loose'"),
    (plain, {"since": "yesterday"}, "since= takes 'now' or 'beginning'"),
    (plain, {"concurrency": 0}, "concurrency= takes a number, 1 or more"),
    (plain, {"concurrency": True}, "concurrency= takes a number, 1 or more"),
    (plain, {"pivot": "yes"}, "pivot= takes True or False"),
    (plain, {"pivot": True, "keeps": "x"}, "pivot= and keeps= both answer"),
    (plain, {"was": "plain"}, "is its name today"),
    (awaiting, {"blocking": True}, "blocking=True runs a plain `def` in a thread"),
    (joined, {"wait": lambda order: HOUR}, "wait= as a function asks one event, and this is a join"),
    (gathered, {"gathers": Ordered, "wait": HOUR}, "wait= and gathers= do not mix"),
    (half_given, {"needs": Ordered}, "`why` is half given: needs= names Ordered"),
    (gathered, {}, "`parts` is a list: say with gathers="),
    (plain, {"gathers": Ordered}, "gathers= wants a list"),
    (gathered, {"gathers": Note}, "Note is no event"),
    (gathered, {"gathers": Ordered | Paid}, "gathers= takes one event"),
    (gathered_twice, {"gathers": Ordered}, "one list is gathered"),
    (gathered_and_joined, {"gathers": Paid}, "joins and gathers do not mix"),
    (plain, {"compensates": plain}, "compensates= names plain, a compensation itself"),
    (plain, {"compensates": joined}, "compensates= names joined, which is no reaction of inventory"),
    (plain, {"compensates": "joined"}, "which is no reaction of inventory"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "options", "fix"), REFUSED, ids=[f"{each[0].__name__} {' '.join(each[1])}".strip() for each in REFUSED]
)
def test_nonsense_is_refused_with_its_place_and_the_fix(
    function: Callable[..., Any], options: dict[str, Any], fix: str
) -> None:
    with pytest.raises(ContractError) as refused:
        build(function, **options)
    line = function.__code__.co_firstlineno
    assert refused.value.where.startswith(f"{__file__}:{line} inventory.{function.__name__}")
    assert fix in refused.value.fix


WRONG_PAIRS: list[tuple[Callable[..., Any], dict[str, Any], str]] = []


def wrong_pair(fix: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        WRONG_PAIRS.append((function, options, fix))
        return function

    return add


@wrong_pair("nothing makes it run: `reserved` is given")
def only_the_effect(reserved: Reserved) -> None: ...
@wrong_pair("`why` is half given: reserve emits Reserved")
def half_the_effect(why: Paid | Reserved) -> None: ...
@wrong_pair("a compensation does not wait", wait=HOUR)
def waiting(why: Paid) -> None: ...
@wrong_pair("a compensation is no pivot", pivot=True)
def pivoting(why: Paid) -> None: ...
@wrong_pair("hears ReactionFailed[Paid] only for the reaction it compensates, and inventory.reserve never hears Paid")
def for_another(why: ReactionFailed[Paid]) -> None: ...


@pytest.mark.parametrize(("function", "options", "fix"), WRONG_PAIRS, ids=[each[0].__name__ for each in WRONG_PAIRS])
def test_a_compensation_that_makes_no_sense_is_refused(
    function: Callable[..., Any], options: dict[str, Any], fix: str
) -> None:
    with pytest.raises(ContractError) as refused:
        pair(function, **options)
    assert fix in refused.value.fix


def test_a_class_inside_a_function_is_not_seen_through_quotes() -> None:
    @event
    class Local:
        order_id: str

    def react(order: "Local") -> None: ...

    with pytest.raises(ContractError, match=r"`Local` cannot be found\. A class made inside a function"):
        build(react)


def test_a_class_inside_a_function_is_seen_without_quotes() -> None:
    @event
    class Local:
        order_id: str

    def react(order: Local) -> None: ...

    assert build(react).hears == (event_type(Local),)


def test_a_misspelt_option_is_told_when_it_is_written() -> None:
    inventory = Service("inventory")
    with pytest.raises(ContractError, match=r"test_contract\.py:\d+ inventory\.plain: .*did you mean `retry=`"):
        inventory.reaction(retries=3)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("function", [functools.partial(plain), Note(), 3, lambda order: None])
def test_a_reaction_is_a_function_with_a_name(function: Any) -> None:
    with pytest.raises(ContractError, match=r"a reaction (is a function|has a name)"):
        Service("inventory").reaction(function)


POSTPONED = """
from __future__ import annotations

from typing import TYPE_CHECKING

from callboard import Choreography, Flow, FlowTimedOut, Read, Service, States, event, state

if TYPE_CHECKING:
    from decimal import Decimal

@event
class Ordered:
    order_id: str
    lines: tuple[Line, ...] = ()

@event
class Line:
    sku: str

@state(key="order_id")
class Order:
    order_id: str

orders = Service("orders")

@orders.reaction
async def react(order: Ordered | FlowTimedOut[Ordered], row: Read[Order], rows: States[Order]) -> list[Line] | None: ...

shop = Choreography("shop", orders, flows=[Flow("f", key="order_id", starts=Ordered, succeeds=Line)])
"""


def run(tmp_path: Path, text: str) -> dict[str, Any]:
    module = tmp_path / "postponed.py"
    module.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location("postponed", module)
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules["postponed"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(made)
    finally:
        del sys.modules["postponed"]
    return vars(made)


def test_postponed_annotations_are_resolved_when_the_choreography_is_built(tmp_path: Path) -> None:
    shop = run(tmp_path, POSTPONED)["shop"]
    contract = shop.contracts["orders.react"]
    assert [str(each) for each in contract.hears] == ["Ordered", "FlowTimedOut[Ordered]"]
    assert str(contract.returns) == "list[Line] | None"
    assert shop.events["Ordered"].immutable


def test_a_name_that_is_only_imported_for_type_checkers_is_told(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"`Decimal` cannot be found.*not there when the program runs"):
        run(tmp_path, POSTPONED.replace("row: Read[Order]", "row: Decimal"))
    with pytest.raises(ContractError, match=r"Ordered: the annotation `Decimal` cannot be found"):
        run(tmp_path, POSTPONED.replace("    sku: str", "    sku: Decimal"))
