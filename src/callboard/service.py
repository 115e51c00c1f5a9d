"""A service: the owner of its reactions and of its state."""

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from types import GenericAlias, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, overload

from callboard.errors import ContractError, place
from callboard.options import refuse_unknown
from callboard.reaction import Reaction
from callboard.retry import Retry
from callboard.signature import source_of

F = TypeVar("F", bound=Callable[..., Any])
Events: TypeAlias = type[Any] | UnionType | GenericAlias  # `A`, `A | B`, `tuple[A, B]`


class Service:
    """Reacts to events, by functions that are registered with `@service.reaction`."""

    name: str
    where: str

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise ContractError(
                f"{place()} Service", f"{name!r} is no name: begin with a letter, then letters, digits, _ or -"
            )
        self.name = name
        self.where = place()
        self._reactions: dict[str, Reaction] = {}

    @property
    def reactions(self) -> list[Reaction]:
        """All of them, in the order they were written."""
        return list(self._reactions.values())

    def find(self, function: Any) -> Reaction | None:
        """The reaction that this function is here; None if it is none of this service."""
        known = self._reactions.get(getattr(function, "__name__", ""))
        while known is not None and function is not known.function:
            if not hasattr(function, "__wrapped__"):
                return None
            function = function.__wrapped__  # decorated once more above @service.reaction
        return known

    @overload
    def reaction(self, function: F, /) -> F: ...
    @overload
    def reaction(
        self,
        *,
        needs: Events | None = None,
        wait: timedelta | Callable[[Any], timedelta] | None = None,
        unless: Events | None = None,
        per: str | None = None,
        once: str | None = None,
        compensates: Callable[..., Any] | None = None,
        pivot: bool = False,
        keeps: str | None = None,
        within: timedelta | None = None,
        retry: Retry = ...,
        timeout: timedelta = timedelta(seconds=60),
        order: Literal["strict", "loose"] = "strict",
        concurrency: int | None = None,
        blocking: bool = False,
        was: str | None = None,
        since: Literal["now", "beginning"] = "now",
        gathers: type[Any] | None = None,
    ) -> Callable[[F], F]: ...
    def reaction(self, function: Any = None, **options: Any) -> Any:
        """The function is a reaction of this service from now on. It is returned as it is: call it in tests."""

        def register(function: Any) -> Any:
            self._register(function, options)
            return function

        return register if function is None else register(function)

    def _register(self, function: Any, options: dict[str, Any]) -> None:
        if not (inspect.isfunction(function) or hasattr(function, "__wrapped__")):
            raise ContractError(f"{place()} {self.name}", f"a reaction is a function with a name, not {function!r}")
        file, line = source_of(function)
        where = f"{file}:{line} {self.name}.{function.__name__}"
        refuse_unknown(options, where)
        if function.__name__ == "<lambda>" or not function.__name__.isidentifier():
            raise ContractError(where, "a reaction has a name, which the ledger keeps: write a `def`")
        if (other := self._reactions.get(function.__name__)) is not None:
            raise ContractError(where, f"{other.where} has this name already: call one of them otherwise")
        self._reactions[function.__name__] = Reaction(function, self.name, options, where)

    def __repr__(self) -> str:
        return f"Service({self.name!r})"
