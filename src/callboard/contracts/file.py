"""What stands in a contract file: plain values, sorted, so that two versions of one are compared line by line."""

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from callboard.errors import ContractError

SCHEMA = "callboard.contract/v1"
Role = Literal["trigger", "given", "maybe", "gathered", "state", "port", "context"]
Form = Literal["", "row", "maybe", "read", "any"]


class Said(Struct, frozen=True, omit_defaults=True, rename={"cls": "class"}):
    """A part of a contract file."""


class FieldSaid(Said, frozen=True):
    type: str
    required: bool = False


class RowSaid(Said, frozen=True):
    """An event, a state, or a value that they are made of."""

    cls: str
    fields: dict[str, FieldSaid]
    failure: bool = False
    key: str | None = None
    version: int = 1  # of a state: its shape
    computed: tuple[str, ...] = ()  # keys that are no fields
    made_of: tuple[str, ...] = ()  # names of values


class ParameterSaid(Said, frozen=True):
    role: Role
    names: tuple[str, ...] = ()
    form: Form = ""


class ReactionSaid(Said, frozen=True):
    file: str
    line: int
    parameters: dict[str, ParameterSaid]
    returns: Any = None  # a type, {"one_of": [...]}, {"all_of": [...]}, {"many": ...}, or null
    options: dict[str, Any] = {}
    is_async: bool = False


class FlowSaid(Said, frozen=True):
    file: str
    line: int
    key: str
    starts: str
    succeeds: Any
    home: str
    fails: Any = None
    timeout: float | None = None  # seconds


class ContractFile(Said, frozen=True):
    """What the services of a choreography promise, or what one of them does."""

    schema: str
    name: str
    services: tuple[str, ...]
    events: dict[str, RowSaid]
    states: dict[str, RowSaid]
    values: dict[str, RowSaid]
    reactions: dict[str, ReactionSaid]
    flows: dict[str, FlowSaid]
    incoming: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()

    def text(self) -> str:
        """Its JSON, the same for the same contracts."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2).decode() + "\n"


class _Heading(Struct, frozen=True):
    schema: str = ""


def parse(text: bytes, where: str) -> ContractFile:
    """The contract file in this JSON; ContractError, with the place in it, if it is none that this build reads."""
    try:
        schema = msgspec.json.decode(text, type=_Heading).schema
        if schema != SCHEMA:
            raise ContractError(where, _wrong_schema(schema))
        return msgspec.json.decode(text, type=ContractFile)
    except msgspec.MsgspecError as error:
        fix = "write it anew with `callboard contract export`"
        raise ContractError(where, f"it cannot be read as a contract ({error}): {fix}") from error


def _wrong_schema(schema: str) -> str:
    if schema.startswith("callboard.contract/"):
        return (
            f"it is of another version, {schema}, and this build reads {SCHEMA}: export it again, or update callboard"
        )
    return f"its schema is {schema!r}, not {SCHEMA!r}: write it with `callboard contract export`"


def load(path: Path) -> ContractFile:
    """The contract file at `path`."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise ContractError(str(path), f"it cannot be read: {error.strerror}") from error


def names_in(shape: Any) -> tuple[str, ...]:
    """The types in a shape as it stands in a file."""
    match shape:
        case None:
            return ()
        case {"many": part}:
            return names_in(part)
        case {"one_of": [*parts]} | {"all_of": [*parts]}:
            return tuple(name for part in parts for name in names_in(part))
        case _:
            return (str(shape),)
