"""Reads a function as it was written: its annotations, its return, where it stands, whether it must be awaited."""

import inspect
import linecache
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args, get_origin, get_type_hints

from callboard.errors import ContractError
from callboard.shape import Shape, shape_of, types_in


def source_of(function: Callable[..., Any]) -> tuple[str, int]:
    """File and line of the `def`, not of the first decorator above it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return "(unknown)", 0
    line: int = code.co_firstlineno
    for number in range(line, line + 40):
        if linecache.getline(code.co_filename, number).lstrip().startswith(("def ", "async def ")):
            return code.co_filename, number
    return code.co_filename, line


def place_of(cls: type[Any]) -> str:
    """File, line and name of a class."""
    try:
        return f"{inspect.getfile(cls)}:{inspect.getsourcelines(cls)[1]} {cls.__qualname__}"
    except (OSError, TypeError):
        return f"{cls.__module__}.{cls.__qualname__}"


def hints_of(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Its annotations, resolved; ContractError for a name that cannot be found."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ContractError(
            where,
            f"the annotation `{error.name}` cannot be found. A class made inside a function is not "
            "seen through `from __future__ import annotations` or quotes: move the class to the top of "
            "the module, or leave that import away. A name imported under `if TYPE_CHECKING` is not there "
            "when the program runs: import it for real",
        ) from error
    except (TypeError, AttributeError, SyntaxError) as error:
        raise ContractError(where, f"an annotation cannot be read: {error}") from error


def return_of(hints: dict[str, Any], where: str) -> tuple[Shape, bool]:
    """What may be emitted, and whether the annotation itself says that it must be awaited."""
    if "return" not in hints:
        raise ContractError(where, "annotate the return with the events it emits, or None")
    annotation = hints["return"]
    awaited = get_origin(annotation) in (Awaitable, Coroutine)
    shape = shape_of(get_args(annotation)[-1] if awaited else annotation, f"{where} ->")
    for each in types_in(shape):
        if each.inner is not None:
            raise ContractError(where, f"-> {each} is published by callboard alone: emit an event of your own")
    return shape, awaited


def is_async(function: Callable[..., Any]) -> bool:
    """Calling it gives something to await, also through a decorator that used functools.wraps."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function))


def refuse_generator(function: Callable[..., Any], where: str) -> None:
    """ContractError for a function that yields."""
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ContractError(where, "return a list of events instead of yielding them: they are emitted together")
