"""State rows in memory, as bytes: what is committed, what the group so far has changed, and the copies one run works
on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.hops.limits import encoded
from callboard.ledger import NEWER_BUILD, Row, StateKey, StateWrite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from callboard.codec import Codec
    from callboard.event import StateType
    from callboard.ledger import Ledger

_KEPT = 50_000  # rows in each of two generations


class Rows:
    """The rows of the owned services. `overlay` is what the group has changed and nobody has committed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.young: dict[StateKey, Row] = {}  # what was fetched or committed lately
        self._old: dict[StateKey, Row] = {}
        self.overlay: dict[StateKey, Row] = {}

    async def fetch(self, keys: Iterable[StateKey]) -> None:
        """Afterwards these rows are in memory."""
        missing = set(keys).difference(self.young)
        if missing and self._old:
            known = {key: self._old[key] for key in missing if key in self._old}
            self.young.update(known)
            missing.difference_update(known)
        if missing:
            self.young.update(await self._ledger.states(missing))

    def committed(self, key: StateKey) -> Row:
        """The row as it was last committed. It was fetched before."""
        return self.young.get(key) or self._old[key]

    def current(self, key: StateKey) -> Row:
        """The row as the group has left it so far."""
        return self.overlay.get(key) or self.young.get(key) or self._old[key]

    def knows(self, key: StateKey) -> bool:
        """Whether the row is in memory."""
        return key in self.young or key in self._old

    def put(self, write: StateWrite) -> None:
        """The group changes this row."""
        self.overlay[write.state, write.key] = Row(
            write.version if write.data is not None else 0, write.shape, write.data
        )

    def drop(self) -> None:
        """What the group changed is not committed."""
        self.overlay.clear()

    def changed(self) -> list[StateWrite]:
        """The rows that the group has changed, as they are to be stored."""
        return [StateWrite(state, key, row.version, row.shape, row.data) for (state, key), row in self.overlay.items()]

    def discard(self, keys: Iterable[StateKey]) -> None:
        """Rows of a service that somebody else owns are not kept."""
        for key in keys:
            self.young.pop(key, None)
            self._old.pop(key, None)

    def commit(self) -> None:
        """What the group changed is committed now."""
        self.young.update(self.overlay)
        self.overlay.clear()
        if len(self.young) > _KEPT:
            self.young, self._old = {}, self.young

    def forget(self) -> None:
        """Somebody else may have changed rows: read them again."""
        self.young.clear()
        self._old.clear()


class _Copy:
    """One row in one run: the object the reaction works on, and what it was made of."""

    __slots__ = ("data", "kept", "key", "shape", "state", "value", "version")

    def __init__(self, state: StateType, key: Any, row: Row, value: Any) -> None:
        self.state = state
        self.key = key
        self.version = row.version
        self.data = row.data
        self.shape = row.shape
        self.value = value
        self.kept = False  # only looked at: never saved


class Session:
    """The rows that one run works on: private copies, one object a row however it is reached."""

    def __init__(self, rows: Rows, codec: Codec, *, committed: bool) -> None:
        self._rows = rows
        self._codec = codec
        self._committed = committed
        self.stepped = False  # it runs inside a group and has not suspended
        self._copies: dict[StateKey, _Copy] = {}

    def load(self, state: StateType, key: Any, *, new: bool = False, read_only: bool = False) -> Any:
        """The row, which is in memory; None if it does not exist, or a new one if `new`."""
        row_key = (state.name, str(key))
        copy = self._copies.get(row_key)
        if copy is None:
            row = self._rows.committed(row_key) if self._committed else self._rows.current(row_key)
            copy = self._copies[row_key] = _Copy(state, key, row, self._decode(state, row))
            copy.kept = read_only
        elif not read_only:
            copy.kept = False
        if copy.value is None and new:
            copy.value = state.cls(**{state.key: key})
            if copy.data is None and read_only:
                copy.data = self._codec.encode(copy.value)
        return copy.value

    async def get(self, state: StateType, key: Any) -> Any:
        """The row, read from the ledger if it is not in memory; None if it does not exist."""
        if self.stepped and (state.name, str(key)) in self._rows.overlay:
            raise Uncommitted
        await self._rows.fetch([(state.name, str(key))])
        return self.load(state, key)

    def put(self, state: StateType, row: Any) -> None:
        """`row` is stored with the commit, whether there was one with its key or not."""
        self._replace(state, getattr(row, state.key), row)

    def delete(self, state: StateType, key: Any) -> None:
        """The row with this key is gone with the commit."""
        self._replace(state, key, None)

    def _replace(self, state: StateType, key: Any, value: Any) -> None:
        row_key = (state.name, str(key))
        copy = self._copies.get(row_key)
        if copy is None:
            copy = self._copies[row_key] = _Copy(state, key, Row(-1, 1, None), None)
        copy.value, copy.kept = value, False

    def _decode(self, state: StateType, row: Row) -> Any:
        if row.data is None:
            return None
        if row.shape > state.shape:
            raise NewerShape(state.name, row.shape)
        return self._codec.decode_state(row.data, state, row.shape)

    def _as_stored(self, copy: _Copy) -> bytes | None:
        value = None if copy.data is None else self._codec.decode_state(copy.data, copy.state, copy.shape)
        return None if value is None else self._codec.encode(value)

    @property
    def keys(self) -> list[StateKey]:
        """The rows of this run."""
        return list(self._copies)

    @property
    def loads(self) -> dict[StateKey, int]:
        """The versions that this run has seen, but not of rows that it replaces without having looked."""
        return {key: copy.version for key, copy in self._copies.items() if copy.version >= 0}

    def changes(self, private: Collection[str] | None, stamp: int) -> list[StateWrite]:
        """The rows that are not as they were loaded; only those of `private` states if that is given.

        A new version is at least `stamp`, so that a row that was deleted and made again never has a version twice.
        """
        changed: list[StateWrite] = []
        for (state, key), copy in self._copies.items():
            if private is not None and state not in private:
                continue
            data = None if copy.value is None else encoded(self._codec, copy.value)
            if data == copy.data and copy.version >= 0:
                continue
            version, shape = copy.version, copy.shape
            if version < 0:
                row = self._rows.current((state, key))
                version, shape = row.version, row.shape
            if shape > copy.state.shape:
                raise NewerShape(state, shape)  # it would lose what this build does not know of
            if copy.kept and self._as_stored(copy) == data:
                continue  # its stored form is not the one that encoding gives; the row is the same
            if copy.kept:
                raise ValueError(
                    f"{state} {key!r} is given as Read[{state}] and was changed: take it as `{state}` to save it"
                )
            if copy.value is not None and str(getattr(copy.value, copy.state.key)) != key:
                raise ValueError(
                    f"{state} {key!r}: its key {copy.state.key} was changed: put a new row and delete this one"
                )
            changed.append(StateWrite(state, key, max(version + 1, stamp), copy.state.shape, data))
        return changed


class Uncommitted(BaseException):
    """A run that may reach outside asked for a row that its group has changed: it runs again after the commit."""


class NeedsTask(Uncommitted):
    """A run that was stepped where it stood asked for a task of its own: it is begun again as one."""


class NeedsTransaction(Uncommitted):
    """A run asked for the ledger's transaction: it is begun again inside of a commit."""


class NewerShape(Exception):
    """The row was written by a newer build than this one."""

    def __init__(self, state: str, shape: int) -> None:
        super().__init__(f"{NEWER_BUILD} that reads {state} in shape {shape}")
