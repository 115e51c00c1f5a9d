"""What a body can return is read from its source: nothing is claimed of what cannot be told."""

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import msgspec
import pytest

from callboard import Choreography, Flow, Service, event, failure
from callboard.checks.bodies import Body
from callboard.checks.emergence import bounds
from callboard.checks.subject import Subject
from callboard.checks.undeclared_returns import find
from callboard.cli.discovery import load_app
from callboard.shape import allowed, one_of, shape_of

ROOT = Path(__file__).parent.parent


@event
class Asked:
    key: str


@event
class Yes:
    key: str


@failure
class No:
    key: str


def helped() -> list[Yes]:
    return []


def plain(asked: Asked) -> Yes | No:
    return Yes(key="") if asked.key else No(key="")


def early(asked: Asked) -> Yes | None:
    if not asked.key:
        return None
    return Yes(key="")


def named(asked: Asked) -> Yes | No:
    answer: Yes | No = Yes(key="")
    if asked.key:
        answer = No(key="")
    return answer


def several(asked: Asked) -> tuple[Yes, No]:
    return Yes(key=""), No(key="")


def listed(asked: Asked) -> list[Yes | No]:
    return [Yes(key=each) for each in asked.key]


def gathered(asked: Asked) -> list[Yes | No]:
    found: list[Yes | No] = []
    for each in asked.key:
        found.append(Yes(key=each))  # noqa: PERF401
    return found


def passed_on(asked: Asked) -> Asked:
    return asked


def walrus(asked: Asked) -> Yes | No:
    if (answer := Yes(key="")).key:
        return answer
    return No(key="")


async def awaited(asked: Asked) -> Yes | No:
    return No(key="")


def elsewhere(asked: Asked) -> Yes | No:
    return helped()[0]


def annotated() -> Yes | No:
    return No(key="")


async def later() -> Yes | None:
    return None


def through_another(asked: Asked) -> Yes | No:
    return annotated()


async def through_one_that_is_awaited(asked: Asked) -> Yes | None:
    return await later()


def looped(asked: Asked) -> Yes | No:
    for each in helped():
        return each
    return Yes(key="")


def extended(asked: Asked) -> list[Yes | No]:
    found: list[Yes | No] = [Yes(key="")]
    found.extend(helped())
    return found


def inner(asked: Asked) -> Yes:
    def other() -> No:
        return No(key="")

    other()
    return Yes(key="")


def circular(asked: Asked) -> Yes | No:
    one: Yes | No = Yes(key="")
    other = one
    one = other
    return one  # noqa: RET504


def unwritten(asked: Asked) -> Yes | No:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "returned", "is_known"),
    [
        (plain, {"Yes", "No"}, True),
        (early, {"Yes", "None"}, True),
        (named, {"Yes", "No"}, True),
        (several, {"Yes", "No"}, True),
        (listed, {"Yes"}, True),
        (gathered, {"Yes"}, True),
        (passed_on, {"Asked"}, True),
        (walrus, {"Yes", "No"}, True),
        (awaited, {"No"}, True),
        (inner, {"Yes"}, True),
        (through_another, {"Yes", "No"}, True),
        (through_one_that_is_awaited, {"Yes", "None"}, True),
        (elsewhere, set[str](), False),
        (looped, {"Yes"}, False),
        (extended, {"Yes"}, False),
        (circular, {"Yes"}, False),
        (unwritten, set[str](), True),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
def test_what_is_returned_is_read_as_far_as_it_can_be_told(
    function: Callable[..., Any], returned: set[str], *, is_known: bool
) -> None:
    service = Service("desk")
    service.reaction(function)
    contract = Choreography("desk", service).contracts[f"desk.{function.__name__}"]
    body = Body(contract, function)
    assert ({str(each) for each in body.returned}, body.is_known) == (returned, is_known)
    assert body.is_written == (function is not unwritten)


def never_silent(asked: Asked) -> Yes | None:
    if asked.key:
        return Yes(key="")
    return Yes(key="?")


@pytest.mark.parametrize(("function", "told"), [(never_silent, True), (early, False)])
def test_nothing_is_declared_that_is_never_returned(function: Callable[..., Any], *, told: bool) -> None:
    service = Service("desk")
    service.reaction(function)
    found = list(find(Subject(Choreography("desk", service))))
    assert [each.severity for each in found] == ["warning"] * told
    assert all("declares None" in each.title for each in found)


def test_a_source_that_is_not_there_says_nothing() -> None:
    gone = FunctionType(plain.__code__.replace(co_filename="<nowhere>"), globals(), "gone")
    gone.__annotations__ = plain.__annotations__
    service = Service("desk")
    service.reaction(gone)
    assert list(find(Subject(Choreography("desk", service)))) == []


SHOP = load_app(str(ROOT / "examples" / "order_fulfilment" / "shop.py"), ROOT)
EMITTING = [(path, each) for path, it in SHOP.contracts.items() for each in it.emits]


@pytest.mark.parametrize(("path", "event"), EMITTING, ids=str)
def test_each_event_that_an_annotation_forgets_is_found(path: str, event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = SHOP.contracts[path]
    left = [shape_of(each.annotation, "") for each in contract.emits if each is not event]
    left += [shape_of(None, "")] if allowed(contract.returns, []) or not left else []
    shorter = msgspec.structs.replace(contract, returns=one_of(left))
    monkeypatch.setitem(SHOP.contracts, path, shorter)
    found = [each for each in find(Subject(SHOP)) if each.severity == "error"]
    assert [each.about for each in found] == [f"{path} {event}"]
    assert (found[0].place.file, found[0].place.line) == (contract.file, contract.line)


def test_nothing_is_found_in_the_examples() -> None:
    files = [file for file in (ROOT / "examples").glob("*/*.py") if "= Choreography(" in file.read_text("utf-8")]
    assert len(files) > 10
    for file in files:
        assert list(find(Subject(load_app(str(file), ROOT)))) == []


def spread(*functions: Callable[..., Any]) -> list[str]:
    service = Service("desk")
    for each in functions:
        service.reaction(each)
    flow = Flow("question", key="key", starts=Asked, succeeds=Yes)
    return [str(each) for each in bounds(Choreography("desk", service, flows=[flow]))]


def echo(yes: Yes) -> Asked:
    raise NotImplementedError


def test_how_far_one_event_spreads_is_bounded() -> None:
    both = "Asked: at most 3 events follow, in 1 step; one event makes 2 reactions run at most"
    assert spread(plain, several) == [both]
    circle = "Asked: it goes in a circle, without a bound; one event makes 1 reaction run at most"
    assert spread(passed_on) == [circle]
    assert spread(named, echo) == [circle]
