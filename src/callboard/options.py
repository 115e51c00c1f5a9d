"""What stands beside a signature: the options of a reaction, read and refused one by one."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Literal, cast

from msgspec import Struct

from callboard.errors import ContractError
from callboard.event import EventType
from callboard.retry import Retry
from callboard.shape import AllOf, EventShape, Many, Nothing, OneOf, Shape, shape_of

Wait = timedelta | Callable[[Any], timedelta]


class Options(Struct, frozen=True, kw_only=True):
    """What the reaction says beside its signature, all of it visible to the checker."""

    needs: Shape | None = None
    wait: Wait | None = None
    unless: Shape | None = None
    per: str | None = None
    once: str | None = None
    compensates: str | None = None  # the name of a reaction of the same service
    pivot: bool = False
    keeps: str | None = None
    within: timedelta | None = None
    retry: Retry = Retry()
    timeout: timedelta = timedelta(seconds=60)
    order: Literal["strict", "loose"] = "strict"
    concurrency: int | None = None
    blocking: bool = False
    was: str | None = None
    since: Literal["now", "beginning"] = "now"
    gathers: EventType | None = None


NEVER_NONE = {"pivot", "blocking", "retry", "timeout", "order", "since"}
NAMES = tuple(Options.__struct_fields__)


def refuse_unknown(raw: Mapping[str, Any], where: str) -> None:
    """ContractError for the first option that does not exist, with the one that was meant."""
    for name in raw:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            meant = f"did you mean `{near[0]}=`?" if near else f"there are {', '.join(NAMES)}"
            raise ContractError(where, f"there is no option `{name}=`: {meant}")


def read_options(raw: Mapping[str, Any], where: str) -> Options:
    """The options as the contract keeps them; ContractError for a value that makes no sense by itself."""
    refuse_unknown(raw, where)
    given = {name: value for name, value in raw.items() if value is not None or name in NEVER_NONE}
    known = {name: READERS[name](value, name, where) for name, value in given.items()}
    return Options(**known)


def _events(value: Any, name: str, where: str) -> Shape:
    shape = shape_of(value, f"{where} {name}=")
    refuse_open_ended(shape, f"{where} {name}=")
    return shape


def refuse_open_ended(shape: Shape, where: str) -> None:
    """ContractError for what is always true: a set of events that is waited for has no `list` and no `None` in it."""
    match shape:
        case EventShape():
            return
        case OneOf(of=parts) | AllOf(of=parts):
            for part in parts:
                refuse_open_ended(part, where)
        case Many() | Nothing():
            raise ContractError(where, f"`{shape}` is always there: name events, `A | B` or `tuple[A, B]`")


def _event(value: Any, name: str, where: str) -> EventType:
    shape = shape_of(value, f"{where} {name}=")
    if not isinstance(shape, EventShape):
        raise ContractError(where, f"{name}= takes one event, the one that was scattered: not `{shape}`")
    return shape.type


def read_duration(value: Any, name: str, where: str) -> timedelta:
    """A timedelta longer than zero, or ContractError."""
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise ContractError(where, f"{name}= takes a timedelta longer than zero, not {value!r}")
    return value


def _wait(value: Any, name: str, where: str) -> Wait:
    if callable(value):
        return cast("Callable[[Any], timedelta]", value)
    return read_duration(value, name, where)


def read_text(value: Any, name: str, where: str) -> str:
    """A text that is not blank, or ContractError."""
    if not isinstance(value, str) or not value.strip():
        raise ContractError(where, f"{name}= takes a text, not {value!r}")
    return value


def _claim(value: Any, name: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise ContractError(where, f"{name}= takes True or False, not {value!r}")
    return value


def _count(value: Any, name: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ContractError(where, f"{name}= takes a number, 1 or more, not {value!r}")
    return value


def _retry(value: Any, name: str, where: str) -> Retry:
    if not isinstance(value, Retry):
        raise ContractError(where, f"{name}= takes a Retry(max_attempts=...), not {value!r}")
    return value


def _one_word_of(*words: str) -> Callable[[Any, str, str], Any]:
    def read(value: Any, name: str, where: str) -> Any:
        if value not in words:
            raise ContractError(where, f"{name}= takes {' or '.join(map(repr, words))}, not {value!r}")
        return value

    return read


READERS: dict[str, Callable[[Any, str, str], Any]] = {
    "needs": _events, "wait": _wait, "unless": _events, "per": read_text, "once": read_text, "compensates": read_text,
    "pivot": _claim, "keeps": read_text, "within": read_duration, "retry": _retry, "timeout": read_duration,
    "order": _one_word_of("strict", "loose"), "concurrency": _count, "blocking": _claim, "was": read_text,
    "since": _one_word_of("now", "beginning"), "gathers": _event,
}  # fmt: skip
