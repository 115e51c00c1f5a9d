"""What a run is handed can be made by hand: a context, the rows of a state, and the reaction stays a function."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from callboard import Choreography, Context, Service, States, event, state
from callboard.event import StateType, state_type
from callboard.reaction import Rows


@event
class Ordered:
    order_id: str


@state(key="sku")
class Shelf:
    sku: str
    free: int = 3


@state(key="order_id")
class Order:
    order_id: str


service = Service("payments")


@service.reaction
def charge(order: Ordered) -> None: ...


@service.reaction(compensates=charge)
def refund(order: Ordered) -> None: ...


# the decorator


def test_the_decorator_returns_the_function_itself() -> None:
    def react(order: Ordered) -> None: ...

    def later(order: Ordered) -> None: ...

    orders = Service("orders")
    assert orders.reaction(react) is react
    assert orders.reaction(once="end")(later) is later
    assert [each.function for each in orders.reactions] == [react, later]


def test_a_service_finds_the_reaction_of_a_function() -> None:
    found = service.find(charge)
    assert found is not None
    assert found.path == "payments.charge"
    assert Service("orders").find(charge) is None


def test_a_reaction_has_its_contract_once_a_choreography_was_built() -> None:
    orders = Service("orders")

    @orders.reaction
    def react(order: Ordered) -> None: ...

    with pytest.raises(LookupError, match="build the Choreography first"):
        orders.reactions[0].contract  # noqa: B018
    choreography = Choreography("shop", orders)
    assert orders.reactions[0].contract is choreography.contracts["orders.react"]


# Context


def test_a_context_is_made_by_hand() -> None:
    context = Context(attempt=3)
    assert context.attempt == 3
    assert context.now() == context.now()
    assert context.now().tzinfo is not None
    assert len(context.idempotency_key()) > 0


def test_the_time_is_the_one_it_was_given() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert Context(now=noon).now() is noon


def of(**known: Any) -> Context:
    usual: dict[str, Any] = {"flow_id": "f", "inputs": ("e1",), "reaction": "payments.charge"}
    return Context(**(usual | known))


def test_a_key_survives_attempts() -> None:
    assert of(attempt=1).idempotency_key() == of(attempt=7, event_id="x").idempotency_key()


@pytest.mark.parametrize("other", [{"flow_id": "g"}, {"inputs": ("e2",)}, {"reaction": "payments.refund"}], ids=str)
def test_another_run_has_another_key(other: dict[str, Any]) -> None:
    assert of().idempotency_key() != of(**other).idempotency_key()


def test_each_call_of_a_run_has_a_label_of_its_own() -> None:
    context = of()
    assert len({context.idempotency_key(), context.idempotency_key("fee"), context.idempotency_key("tip")}) == 3
    with pytest.raises(ValueError, match=r"idempotency_key\('fee'\) was used in this run"):
        context.idempotency_key("fee")


def test_a_compensation_knows_the_key_that_was_used() -> None:
    used = of(inputs=("e1",)).idempotency_key("fee")

    def inputs_of(reaction: Callable[..., Any]) -> tuple[str, ...]:
        assert reaction is charge
        return ("e1",)

    undoing = of(inputs=("e9",), reaction="payments.refund", inputs_of=inputs_of)
    assert undoing.key_of(charge, "fee") == used == undoing.key_of(charge, "fee")
    assert undoing.key_of(charge) != used


def test_the_transaction_of_a_context_made_by_hand_is_the_one_it_was_given() -> None:
    given = object()
    assert Context(transaction=given).transaction is given


def test_the_log_says_of_which_run_it_speaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="callboard"):
        of(attempt=2, flow_key="o-1").log.info("charged")
    known = vars(caplog.records[0])
    assert (known["reaction"], known["flow_id"], known["flow_key"], known["attempt"]) == (
        "payments.charge", "f", "o-1", 2,
    )  # fmt: skip


# States


async def test_rows_are_found_by_key() -> None:
    shelves = States(Shelf(sku="a", free=1), Shelf(sku="b"))
    assert await shelves.get("a") == Shelf(sku="a", free=1)
    assert await shelves.get("c") is None


async def test_a_row_is_one_object_however_often_it_is_got() -> None:
    shelves = States(Shelf(sku="a"))
    row = await shelves.get("a")
    assert row is not None
    row.free -= 1
    assert await shelves.get("a") is row


async def test_rows_are_put_and_deleted_by_row_or_key() -> None:
    shelves = States[Shelf]()
    assert await shelves.get("a") is None
    shelves.delete("a")
    for sku in "abc":
        shelves.put(Shelf(sku=sku))
    shelves.put(Shelf(sku="a", free=9))
    shelves.delete("b")
    shelves.delete(Shelf(sku="c", free=7))
    assert [await shelves.get(sku) for sku in "abc"] == [Shelf(sku="a", free=9), None, None]


def test_rows_of_another_state_are_refused() -> None:
    with pytest.raises(TypeError, match="is no Shelf"):
        States[Any](Shelf(sku="a"), Order(order_id="1"))
    with pytest.raises(TypeError, match="Ordered is no state"):
        States(Ordered(order_id="1"))


class Kept:
    """Rows as a ledger would keep them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    async def get(self, state: StateType, key: Any) -> Any:
        self.asked.append(("get", state.name, key))
        return state.cls(sku=key)

    def put(self, state: StateType, row: Any) -> None:
        self.asked.append(("put", state.name, row.free))

    def delete(self, state: StateType, key: Any) -> None:
        self.asked.append(("delete", state.name, key))


async def test_a_ledger_keeps_the_rows() -> None:
    kept = Kept()
    rows: Rows = kept
    shelves = States[Shelf].over(state_type(Shelf), rows)
    assert await shelves.get("a") == Shelf(sku="a")
    shelves.put(Shelf(sku="b", free=1))
    shelves.delete(Shelf(sku="c"))
    assert kept.asked == [("get", "Shelf", "a"), ("put", "Shelf", 1), ("delete", "Shelf", "c")]
