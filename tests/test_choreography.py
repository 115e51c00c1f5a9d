"""A choreography is one graph, read from signatures; what contradicts itself across services is refused."""

import types
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from callboard import (
    Breaker,
    Choreography,
    ContractError,
    Flow,
    FlowCancelled,
    FlowTimedOut,
    Guarded,
    ReactionFailed,
    Service,
    States,
    event,
    failure,
    ids,
    port,
    state,
)
from callboard.choreography import pick_keepers
from callboard.contract import AllOf, EventShape
from callboard.event import event_type, state_type
from media import media
from shop import shop
from shop.events import OrderCreated
from shop.payments import Bank
from shop.shipping import Carrier
from trip import OfferAccepted, RideRequested, Zone, rides

HOUR = timedelta(hours=1)


@event
class Ordered:
    order_id: str
    sku: str = ""


@event
class Reserved:
    order_id: str


@failure
class SoldOut:
    order_id: str


@event
class Completed:
    order_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3


@state(key="order_id")
class Order:
    order_id: str


def edges(choreography: Choreography) -> list[str]:
    return [f"{each.source} --{each.event}--> {each.target} [{each.kind}]" for each in choreography.edges()]


# the three targets


def test_the_order_choreography_is_drawn_from_its_signatures() -> None:
    assert edges(shop) == [
        "shipping.ship --OrderShipped--> orders.complete [event]",
        "shipping.call_off --OrderShipped--> orders.complete [event]",
        "inventory.reserve --InventoryReservationFailed--> orders.cancel [failure]",
        "inventory.release --ItemsReleased--> orders.cancel [event]",
        "(outside) --OrderCreated--> inventory.reserve [event]",
        "payments.charge --PaymentFailed--> inventory.release [compensation]",
        "payments.refund --PaymentRefunded--> inventory.release [compensation]",
        "inventory.reserve --ItemsReserved--> payments.charge [event]",
        "(outside) --OrderCreated--> payments.charge [prerequisite]",
        "shipping.ship --ShippingFailed--> payments.refund [compensation]",
        "shipping.call_off --ShippingFailed--> payments.refund [compensation]",
        "payments.charge --ReactionFailed[ItemsReserved]--> payments.refund [compensation]",
        "payments.charge --PaymentProcessed--> shipping.ship [event]",
        "(checkout) --FlowTimedOut[OrderCreated]--> shipping.call_off [timer]",
        "orders.complete --OrderCompleted--> (checkout) [event]",
        "orders.cancel --OrderCancelled--> (checkout) [event]",
    ]


def test_the_parts_of_the_order_choreography_are_known() -> None:
    assert [node.path for node in shop.nodes()] == list(shop.contracts) == list(shop.reactions)
    assert shop.compensations == {
        "inventory.reserve": ("inventory.release",),
        "payments.charge": ("payments.refund",),
        "shipping.ship": ("shipping.call_off",),
    }
    assert shop.ports == (Bank, Carrier)
    assert list(shop.states) == ["Order", "Shelf"]
    assert shop.is_private(shop.states["Order"])
    assert not shop.is_private(shop.states["Shelf"])
    assert shop.owner_of(shop.states["Shelf"]).name == "inventory"
    assert shop.home_of(shop.flows["checkout"]).name == "orders"
    assert shop.events["OrderCreated"] is event_type(OrderCreated)
    assert "callboard.FlowTimedOut[OrderCreated]" in shop.events


def test_a_trip_hears_what_comes_from_outside() -> None:
    found = edges(rides)
    assert "(outside) --OfferAccepted--> dispatch.assign [event]" in found
    assert "(outside) --RideRequested--> pricing.quote [event]" in found
    assert "dispatch.search --RideOffered--> dispatch.lapse [timer]" in found
    assert event_type(OfferAccepted) in rides.incoming
    assert rides.flows["trip"].start is event_type(RideRequested)
    assert rides.owner_of(state_type(Zone)).name == "dispatch"


def test_a_gathered_part_may_be_told_by_who_gave_up() -> None:
    found = edges(media)
    assert "encoder.encode --ReactionFailed[ChunkCut]--> encoder.give_up [failure]" in found
    assert "encoder.give_up --ChunkLost--> publisher.publish [failure]" in found
    assert isinstance(media.flows["video"].succeeds, AllOf)


# who hears a failure and a deadline


def failing(**options: Any) -> Choreography:
    orders, mail = Service("orders"), Service("mail")

    @orders.reaction
    def accept(order: Ordered) -> None: ...

    @orders.reaction
    def give_up(failed: ReactionFailed[Ordered]) -> None: ...

    @mail.reaction
    def tell(failed: ReactionFailed[Ordered]) -> None: ...

    return Choreography("shop", orders, mail, **options)


def test_a_failure_stays_in_its_service() -> None:
    assert edges(failing()) == ["orders.accept --ReactionFailed[Ordered]--> orders.give_up [failure]"]


def test_an_outgoing_failure_is_heard_everywhere() -> None:
    assert edges(failing(outgoing=ReactionFailed[Ordered])) == [
        "orders.accept --ReactionFailed[Ordered]--> orders.give_up [failure]",
        "orders.accept --ReactionFailed[Ordered]--> mail.tell [failure]",
    ]


def test_only_a_flow_with_a_deadline_times_out_but_any_may_be_cancelled() -> None:
    orders = Service("orders")

    @orders.reaction
    def late(why: FlowTimedOut[Ordered] | FlowCancelled[Ordered]) -> Completed: ...  # type: ignore[empty-body]

    def flow(name: str, timeout: timedelta | None) -> Flow:
        return Flow(name, key="order_id", starts=Ordered, succeeds=Completed, timeout=timeout)

    assert edges(Choreography("shop", orders, flows=[flow("patient", None), flow("hasty", HOUR)])) == [
        "(hasty) --FlowTimedOut[Ordered]--> orders.late [timer]",
        "(patient) --FlowCancelled[Ordered]--> orders.late [event]",
        "(hasty) --FlowCancelled[Ordered]--> orders.late [event]",
        "orders.late --Completed--> (patient) [event]",
        "orders.late --Completed--> (hasty) [event]",
    ]


def test_one_service_may_be_part_of_two_choreographies() -> None:
    orders = Service("orders")

    @orders.reaction
    def accept(order: Ordered) -> None: ...

    assert list(Choreography("one", orders).contracts) == list(Choreography("two", orders).contracts)


# flows


def test_a_flow_is_a_declaration() -> None:
    flow = Flow("checkout", key="order_id", starts=Ordered, succeeds=Completed | tuple[Reserved, SoldOut], timeout=HOUR)
    assert (flow.start, flow.key, flow.fails, flow.timeout, flow.home) == (
        event_type(Ordered),
        "order_id",
        None,
        HOUR,
        None,
    )
    assert isinstance(Flow("x", key="order_id", starts=Ordered, succeeds=Completed).succeeds, EventShape)
    with pytest.raises(AttributeError, match="it does not change"):
        flow.name = "other"


FLOWS: list[tuple[dict[str, Any], str]] = [
    ({"key": "trip_id"}, "key='trip_id' is read from Ordered, which has no `trip_id`"),
    ({"starts": Ordered | Reserved}, "starts= takes one event of your own"),
    ({"starts": FlowTimedOut[Ordered]}, "starts= takes one event of your own"),
    ({"starts": Shelf}, "Shelf is a state, and no event"),
    ({"succeeds": Shelf}, "Shelf is a state, and no event"),
    ({"succeeds": list[Completed]}, "is always there"),
    ({"succeeds": Completed | None}, "is always there"),
    ({"fails": {SoldOut}}, "says neither all nor any"),
    ({"timeout": -HOUR}, "timeout= takes a timedelta longer than zero"),
    ({"timeout": timedelta(0)}, "timeout= takes a timedelta longer than zero"),
    ({"timeout": 30}, "timeout= takes a timedelta longer than zero"),
    ({"name": " "}, "name= takes a text"),
    ({"key": None}, "key= takes a text"),
    ({"fails": tuple[Completed, SoldOut]}, "contain each other, {Completed} and {Completed, SoldOut}"),
    ({"succeeds": Completed | tuple[Completed, Reserved]}, "contain each other, {Completed} and {Completed, Reserved}"),
    ({"fails": Completed}, "contain each other, {Completed} and {Completed}"),
    ({"succeeds": tuple[Completed, Reserved | SoldOut], "fails": Reserved}, "contain each other"),
]


@pytest.mark.parametrize(("options", "fix"), FLOWS, ids=[fix for _, fix in FLOWS])
def test_a_wrong_flow_is_refused_where_it_is_written(options: dict[str, Any], fix: str) -> None:
    usual: dict[str, Any] = {"name": "checkout", "key": "order_id", "starts": Ordered, "succeeds": Completed}
    with pytest.raises(ContractError) as refused:
        Flow(**(usual | options))
    assert refused.value.where.startswith(f"{__file__}:")
    assert fix in refused.value.fix


# refused


def service(name: str, *functions: Callable[..., Any], **options: Any) -> Service:
    made = Service(name)
    for function in functions:
        made.reaction(**options)(function)
    return made


def same_state() -> None:
    def one(order: Ordered, shelf: Shelf) -> None: ...
    def two(order: Ordered, shelves: States[Shelf]) -> None: ...

    Choreography("shop", service("a", one), service("b", two))


def same_state_name() -> None:
    @state(key="sku", name="Shelf")
    class Other:
        sku: str

    def one(order: Ordered, shelf: Shelf) -> None: ...
    def two(order: Ordered, other: Other) -> None: ...

    Choreography("shop", service("a", one, two))


def same_wire_name() -> None:
    @event(type="Ordered")
    class Other:
        order_id: str

    def one(order: Ordered) -> None: ...
    def two(order: Other) -> None: ...

    Choreography("shop", service("a", one, two))


def same_wire_name_inside() -> None:
    @event(type="Ordered")
    class Other:
        order_id: str

    def one(late: FlowTimedOut[Other]) -> None: ...

    Choreography("shop", service("a", one), incoming=Ordered)


def same_service_name() -> None:
    Choreography("shop", Service("a"), Service("a"))


def same_service_twice() -> None:
    one = Service("a")
    Choreography("shop", one, one)


def same_flow_name() -> None:
    flow = Flow("checkout", key="order_id", starts=Ordered, succeeds=Completed)
    Choreography("shop", Service("a"), flows=[flow, flow])


def same_reaction_name() -> None:
    def one(order: Ordered) -> None: ...

    service("a", one, one)


def a_module() -> None:
    orders: Any = types.ModuleType("orders")
    orders.service = Service("orders")
    Choreography("shop", orders)


def no_service() -> None:
    Choreography("shop")


def flow_of_a_stranger() -> None:
    flow = Flow("checkout", key="order_id", starts=Ordered, succeeds=Completed, home=Service("b"))
    Choreography("shop", Service("a"), flows=[flow])


def no_flow() -> None:
    wrong: Any = [Ordered]
    Choreography("shop", Service("a"), flows=wrong)


def was_another() -> None:
    def one(order: Ordered) -> None: ...
    def two(order: Ordered) -> None: ...

    a = service("a", one)
    a.reaction(was="one")(two)
    Choreography("shop", a)


def undo_of_another_service() -> None:
    def one(order: Ordered) -> None: ...
    def two(order: Reserved) -> None: ...

    Choreography("shop", service("a", one), service("b", two, compensates=one))


def undo_of_an_undo() -> None:
    def one(order: Ordered) -> None: ...
    def two(order: Reserved) -> None: ...
    def three(order: Completed) -> None: ...

    a = service("a", one)
    a.reaction(compensates=one)(two)
    a.reaction(compensates=two)(three)
    Choreography("shop", a)


def state_from_outside() -> None:
    Choreography("shop", Service("a"), incoming=Shelf)


def unreadable_event() -> None:
    @event
    class Timed:
        order_id: str
        due: "timedelta | str"

    def one(order: Timed) -> None: ...

    Choreography("shop", service("a", one))


def unreadable_state() -> None:
    class Money:
        pass

    @state(key="order_id")
    class Purse:
        order_id: str
        money: Money | None = None

    def one(order: Ordered, purse: Purse) -> None: ...

    Choreography("shop", service("a", one))


def unreadable_inside() -> None:
    @event
    class Timed:
        at: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    def one(late: FlowTimedOut[Timed]) -> None: ...

    Choreography("shop", service("a", one))


def untagged_union() -> None:
    class One(msgspec.Struct, frozen=True):
        a: int

    class Two(msgspec.Struct, frozen=True):
        b: int

    @event
    class Either:
        it: One | Two

    def one(either: Either) -> None: ...

    Choreography("shop", service("a", one))


def hidden_field() -> None:
    @attrs.frozen
    class Value:
        _amount: int

    @event
    class Priced:
        values: tuple[Value, ...]

    def one(priced: Priced) -> None: ...

    Choreography("shop", service("a", one))


def a_name_of_a_service() -> None:
    Choreography("shop", "inventory")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_reaction_for_a_service() -> None:
    Choreography("shop", a_name_of_a_service)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_list_of_services() -> None:
    Choreography("shop", [Service("a"), Service("b")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def not_a_service_name() -> None:
    Service("order service")


REFUSED: list[tuple[Callable[[], None], str]] = [
    (same_state, "the state Shelf belongs to a (taken at "),
    (same_state_name, "two state classes are named 'Shelf'"),
    (same_wire_name, "two event classes are 'Ordered' on the wire"),
    (same_wire_name_inside, "two event classes are 'Ordered' on the wire"),
    (same_service_name, "there are two services named 'a'"),
    (same_service_twice, "there are two services named 'a'"),
    (same_flow_name, "there are two flows named 'checkout'"),
    (same_reaction_name, "has this name already"),
    (a_module, "did you mean its `.service`?"),
    (no_service, "list its services: Choreography('shop', orders, payments)"),
    (a_name_of_a_service, "'inventory' is no Service: give what Service(...) returned"),
    (a_reaction_for_a_service, "is no Service: give what Service(...) returned"),
    (a_list_of_services, "is no Service: list them one by one, or write a star before it"),
    (flow_of_a_stranger, "home= is Service('b'), which is not part of 'shop'"),
    (no_flow, "is no Flow"),
    (was_another, "was='one' is the name of another reaction"),
    (undo_of_another_service, "compensates= names a.one: a service undoes only what it did itself"),
    (undo_of_an_undo, "compensates= names two, a compensation itself"),
    (state_from_outside, "Shelf is a state, and no event"),
    (unreadable_event, "more than one str-like type"),
    (unreadable_state, "a field of type `Money` cannot be read back"),
    (unreadable_inside, "the annotation `Nowhere` cannot be found"),
    (untagged_union, "all Struct types must be tagged"),
    (hidden_field, "the field `_amount` of Value would not be written: call it `amount`"),
    (not_a_service_name, "'order service' is no name"),
]


@pytest.mark.parametrize(("wrong", "fix"), REFUSED, ids=[wrong.__name__ for wrong, _ in REFUSED])
def test_a_contradiction_is_refused_with_its_place_and_the_fix(wrong: Callable[[], None], fix: str) -> None:
    with pytest.raises(ContractError) as refused:
        wrong()
    file, line, *_ = refused.value.where.split(":")
    assert file == __file__
    assert int(line.split()[0]) > 0
    assert fix in refused.value.fix


def test_only_reactions_that_hear_one_event_need_two_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(order: Ordered) -> None: ...
    def two(order: Ordered | Reserved) -> None: ...
    def three(held: Reserved) -> None: ...

    def tag(path: str) -> str:
        return "same"

    monkeypatch.setattr(ids, "tag", tag)
    Choreography("shop", service("a", one, three))
    with pytest.raises(ContractError, match=r"a\.two: it hears Ordered as .*a\.one does, and has the same short tag"):
        Choreography("shop", service("a", one, two))


def test_values_inside_events_may_be_of_every_kind() -> None:
    class Frozen(pydantic.BaseModel, frozen=True):
        a: int

    @event
    class Mixed:
        order_id: str
        one: Frozen
        more: tuple[Frozen, ...] = ()

    def react(mixed: Mixed | FlowTimedOut[Mixed]) -> None: ...

    assert "Mixed" in Choreography("shop", service("a", react)).events


def test_a_reaction_that_comes_too_late_is_told_at_open() -> None:
    def one(order: Ordered) -> None: ...
    def two(order: Ordered) -> None: ...

    orders = service("orders", one)
    choreography = Choreography("shop", orders)
    orders.reaction(two)
    with pytest.raises(ContractError, match=r"orders\.two: it was written after .* import its module first"):
        choreography.open("sqlite:///:memory:")


def test_a_reaction_is_found_through_a_decorator_above_it() -> None:
    import functools

    orders = Service("orders")

    @orders.reaction
    def accept(order: Ordered) -> Reserved: ...  # type: ignore[empty-body]

    @functools.wraps(accept)
    def counted(order: Ordered) -> Reserved:
        return accept(order)

    @orders.reaction(compensates=counted)
    def refuse(why: SoldOut, reserved: Reserved | None) -> None: ...

    assert Choreography("shop", orders).compensations == {"orders.accept": ("orders.refuse",)}


# keepers


class Stripe(Bank):
    async def charge(self, card: str, amount: Any, *, key: str) -> str | None: ...
    async def void(self, *, key: str) -> None: ...


class Post(Carrier):
    async def book(self, *, key: str) -> str | None: ...
    async def close(self, *, key: str) -> str | None: ...


class Looks:
    """As a bank does, without saying so."""

    async def charge(self, card: str, amount: Any, *, key: str) -> str | None: ...
    async def void(self, *, key: str) -> None: ...


def test_a_keeper_is_found_by_the_port_it_names() -> None:
    stripe, post = Stripe(), Post()
    assert pick_keepers(shop, [post, stripe]) == {Bank: stripe, Carrier: post}


def test_a_guarded_keeper_is_looked_through_and_stays_guarded() -> None:
    guarded = Guarded(Stripe(), concurrency=8, breaker=Breaker(failures=3))
    assert pick_keepers(shop, [guarded, Post()])[Bank] is guarded
    assert (guarded.concurrency, guarded.breaker) == (8, Breaker(failures=3, pause=timedelta(seconds=30)))


def test_only_the_services_that_are_opened_need_keepers() -> None:
    assert pick_keepers(shop, [], [shop.services["orders"]]) == {}
    assert pick_keepers(shop, [], []) == {}
    assert list(pick_keepers(shop, [Stripe()], [shop.services["payments"]])) == [Bank]


def test_one_keeper_may_keep_two_ports() -> None:
    class Outside(Stripe, Post):
        pass

    outside = Outside()
    assert pick_keepers(shop, [outside]) == {Bank: outside, Carrier: outside}


@port
class Limits:
    """Settings are a port too."""

    def __init__(self, highest: int) -> None:
        self.highest = highest


def test_settings_are_their_own_keeper() -> None:
    def react(order: Ordered, limits: Limits) -> None: ...

    limits = Limits(3)
    assert pick_keepers(Choreography("shop", service("a", react)), [limits]) == {Limits: limits}


@pytest.mark.parametrize(
    ("keepers", "fix"),
    [
        ([Post()], "the port Bank has no keeper: give one in open(ports=[...])"),
        ([Post(), Stripe(), Guarded(Stripe())], "the port Bank has two keepers, Stripe and Stripe"),
        (
            [Post(), Stripe(), Looks()],
            "Looks keeps no port of shop (there are: Bank, Carrier): name its port as a base",
        ),
        ([Post(), Stripe], "the port Bank has no keeper"),
        ([Post(), Stripe(), Stripe], "open(ports=) takes keepers, not classes: write Stripe(...)"),
    ],
    ids=["missing", "doubled", "nameless", "a class for a keeper", "a class too many"],
)
def test_a_wrong_keeper_is_refused(keepers: list[object], fix: str) -> None:
    with pytest.raises(ContractError) as refused:
        pick_keepers(shop, keepers)
    assert fix in refused.value.fix


def test_a_missing_keeper_is_told_with_the_reaction_that_wants_it() -> None:
    with pytest.raises(ContractError, match=r"payments\.py:\d+ payments\.charge: the port Bank"):
        pick_keepers(shop, [Post()])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Breaker(failures=0),
        lambda: Breaker(pause=timedelta(0)),
        lambda: Guarded(Stripe),
        lambda: Guarded(Guarded(Stripe())),
        lambda: Guarded(Stripe(), concurrency=0),
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ContractError, match=r"test_choreography\.py:\d+ (Breaker|Guarded)"):
        wrong()
