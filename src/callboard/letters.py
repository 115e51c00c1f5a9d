"""Dead letters: which there are, what they have in common, and what operators want done with them.

What is wanted is left in the ledger for the worker that owns the reaction: it is done once, whatever becomes of whoever
asked, and asked again it is the same wish.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import cached_property
from getpass import getuser
from hashlib import blake2b
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from callboard.errors import CodecError, Conflict, FlowHasEnded, LedgerBusy
from callboard.event import attribute
from callboard.ledger import Entry, FlowRow, Note, Parked, Wish, on_record, shown_batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import timedelta

    from callboard.choreography import Choreography
    from callboard.codec import Codec
    from callboard.ledger import Ledger

T = TypeVar("T")
FINGERPRINT = 1  # the version of what follows: part of each fingerprint, so that two versions never share a group
PLACE = re.compile(r"\n    at (\S.*)\Z")  # where an error was raised, behind what it says
_LINE = re.compile(r":\d+(?= < |\Z)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WITH_DIGITS = re.compile(r"[^\s,;()\[\]{}=]*\d[^\s,;()\[\]{}=]*")
_LOOK = 0.05  # seconds between two looks at what came of a wish
_NAMED = 5  # letters that the record of the ledger names, of many
_LONGEST = 80  # letters of a value that was edited, as the record tells it


def plain_error(error: str) -> str:
    """What an error says, without where, and without what differs from one event to the next."""
    first = PLACE.sub("", error).partition("\n")[0]
    return _WITH_DIGITS.sub("#", _QUOTED.sub("'…'", first))


def fingerprint(reaction: str, error: str) -> str:
    """What dead letters of one cause share: the reaction, the type of the error, and where it was raised.

    Where that is not known: what the error says, without the ids, numbers and quoted texts in it.
    """
    kind, _, _ = error.partition(":")
    place = PLACE.search(error)
    told = _LINE.sub("", place[1]) if place else plain_error(error)
    digest = blake2b(f"{FINGERPRINT}\0{reaction}\0{kind if place else ''}\0{told}".encode(), digest_size=4)
    return f"{FINGERPRINT}-{digest.hexdigest()}"


def letter_id(row: Parked) -> str:
    """`payments.charge@12`: the reaction and the event's position; a compensation's effect behind it."""
    effect = "" if row.effect == 0 else f":{'unknown' if row.effect < 0 else row.effect}"
    return f"{row.reaction}@{row.pos}{effect}"


class DeadLetter(Struct, frozen=True, dict=True):
    """A delivery whose attempts are used up, or that cannot be answered, with what it is about."""

    row: Parked
    entry: Entry | None
    flows: tuple[FlowRow, ...]

    @property
    def id(self) -> str:
        """`payments.charge@12`."""
        return letter_id(self.row)

    @property
    def error(self) -> str:
        """What went wrong; behind it, where in the code."""
        return self.row.error or ""

    @cached_property
    def group(self) -> str:
        """The fingerprint that it shares with dead letters of the same cause."""
        return fingerprint(self.row.reaction, self.error)

    @property
    def flow(self) -> FlowRow | None:
        """The flow that it belongs to, under its first name."""
        return next((row for row in self.flows if row.name), None)

    @property
    def verdict(self) -> str | None:
        """What its flow has come to; None while one of its expectations is undecided."""
        verdicts = [row.verdict for row in self.flows]
        return ", ".join(dict.fromkeys(map(str, verdicts))) if verdicts and all(verdicts) else None

    @property
    def data(self) -> bytes:
        """What its reaction is given: the event as it came, or as an operator has edited it."""
        return self.row.data or (self.entry.data if self.entry is not None else b"")

    def why_not(self, what: str = "replay", *, late: bool = False) -> str | None:
        """Why this cannot be asked for now; None if it can."""
        if (wish := self.row.asked) is not None:
            return f"{wish.what} was asked already by {wish.by}{shown_batch(wish.batch)}, its worker has not come to it"
        if what == "replay" and self.verdict is not None and not late:
            flow = "its flow" if self.flow is None else f"{self.flow.name}/{self.flow.key}"
            return (
                f"{flow} has its verdict, {self.verdict}: what comes late would change what is over "
                "(--even-though-ended replays it all the same)"
            )
        return None


class Batch:
    """What was asked for together, or was asked for already, and what came of it."""

    def __init__(self, letters: DeadLetters, asked: Sequence[DeadLetter], refused: Mapping[str, str], id: str) -> None:
        self._letters = letters
        self.id = id
        self.asked = list(asked)
        self.refused = dict(refused)  # why not, by the letter's id
        self.came: dict[str, str] = {}  # what came of it, by the letter's id

    async def look(self) -> bool:
        """Read what came of it so far; True once nothing of it is open."""
        left = [each for each in self.asked if each.id not in self.came]
        came = await self._letters.came_of(left) if left else {}
        self.came.update(came)
        return len(self.came) == len(self.asked)

    async def done(self, timeout: timedelta | None = None) -> dict[str, str]:
        """What came of each, once all are decided. Raises TimeoutError; the wishes stay, and are done."""
        async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
            while True:
                if await self.look():
                    return self.came
                await asyncio.sleep(_LOOK)


class DeadLetters:
    """The dead letters of one ledger. `choreography` and `codec` are needed only to edit."""

    def __init__(
        self,
        ledger: Ledger,
        now: Callable[[], int],
        *,
        choreography: Choreography | None = None,
        codec: Codec | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._choreography = choreography
        self._codec = codec
        self._wake = wake

    # which there are

    async def find(
        self, *ids: str, reaction: str | None = None, flow: str | None = None, error: str | None = None,
        group: str | None = None, limit: int | None = None,
    ) -> list[DeadLetter]:  # fmt: skip
        """Those that are meant, the oldest first; of `ids` only those that are there.

        `reaction` may be a service, `flow` is NAME/KEY or a key, `error` a part of its text, `group` the beginning of a
        fingerprint.
        """
        rows = [
            row
            for row in await self._ledger.parked(why=["dead"])
            if (not ids or letter_id(row) in ids)
            and (reaction is None or row.reaction == reaction or row.reaction.startswith(f"{reaction}."))
            and (error is None or error.lower() in (row.error or "").lower())
            and (group is None or f"-{group}" in f"-{fingerprint(row.reaction, row.error or '')}")
        ]
        letters = await self._of(rows if flow is not None else rows[:limit])
        if flow is not None:
            named = (letter for letter in letters if any(flow in (f"{f.name}/{f.key}", f.key) for f in letter.flows))
            letters = list(named)[:limit]
        return letters

    async def _of(self, rows: Sequence[Parked]) -> list[DeadLetter]:
        entries = {entry.pos: entry for entry in await self._ledger.entries({row.pos for row in rows})}
        flows: dict[int, tuple[FlowRow, ...]] = {}
        for row in await self._ledger.flows_by_number({row.flow for row in rows}):
            flows[row.number] = (*flows.get(row.number, ()), row)
        return [DeadLetter(row, entries.get(row.pos), flows.get(row.flow, ())) for row in rows]

    async def groups(self, **wanted: Any) -> dict[str, list[DeadLetter]]:
        """Those that are meant (as in `find`), by their fingerprint; the largest group first."""
        found: dict[str, list[DeadLetter]] = {}
        for letter in await self.find(**wanted):
            found.setdefault(letter.group, []).append(letter)
        return dict(sorted(found.items(), key=lambda group: -len(group[1])))

    # what is wanted of them

    async def replay(
        self, letters: Iterable[DeadLetter], *, by: str | None = None, note: str = "", rate: float | None = None,
        stop_on_failure: bool = False, even_though_ended: bool = False,
    ) -> Batch:  # fmt: skip
        """One more attempt of each, by log order, at most `rate` a second; only the reaction that failed is run.

        One that fails again keeps back the others of its line, with `stop_on_failure` all that are not begun. Flows
        that have their verdict refuse, unless you say `even_though_ended`.
        """
        stops: Literal["line", "batch"] = "batch" if stop_on_failure else "line"
        wish = Wish("replay", by or operator(), f"rp-{token_hex(3)}", stops, even_though_ended)
        return await self._ask(letters, wish, note, rate)

    async def discard(self, letters: Iterable[DeadLetter], *, by: str | None = None, note: str = "") -> Batch:
        """They are given up: what waits behind them goes on, and the record says so."""
        return await self._ask(letters, Wish("discard", by or operator(), f"di-{token_hex(3)}"), note, None)

    async def _ask(self, letters: Iterable[DeadLetter], wish: Wish, note: str, rate: float | None) -> Batch:
        ordered = sorted(letters, key=lambda letter: (letter.row.pos, letter.row.reaction, letter.row.effect))
        same = [each for each in ordered if each.row.asked is not None and each.row.asked.what == wish.what]
        others = [each for each in ordered if each.row.asked is None or each.row.asked.what != wish.what]
        reasons = {each.id: why for each in others if (why := each.why_not(wish.what, late=wish.late)) is not None}
        chosen = [each for each in others if each.id not in reasons]
        now = self._now()
        rows = [
            replace(each.row, asked=wish, due=None if rate is None else now + round(n * 1_000_000 / rate))
            for n, each in enumerate(chosen)
        ]
        why = f"{wish.what} by {wish.by}{shown_batch(wish.batch)}{f': {note}' if note else ''}"
        done = await self._write(rows, "asked", why, wish, note)
        gone = "it is no dead letter any more, or something was asked for it meanwhile"
        reasons.update({each.id: gone for each, asked in zip(chosen, done, strict=True) if not asked})
        return Batch(self, [*same, *(each for each in chosen if each.id not in reasons)], reasons, wish.batch)

    async def _write(self, rows: Sequence[Parked], what: str, why: str, wish: Wish, remark: str) -> list[bool]:
        now = self._now()
        notes = [Note(row.pos, row.reaction, row.flow, what, why, now) for row in rows]
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        about = f"{', '.join(map(letter_id, rows[:_NAMED]))}{more}{shown_batch(wish.batch)}"
        record = on_record("edit" if what == "edited" else wish.what, about, by=wish.by, note=remark, now=now)
        done: list[bool] = await patiently(lambda: self._ledger.ask(rows, notes, record)) if rows else []
        self._wake()
        return done

    async def came_of(self, letters: Sequence[DeadLetter]) -> dict[str, str]:
        """What came of the wishes on these, as their owners have written it down; open ones are left out."""
        open_still = {letter_id(row) for row in await self._ledger.parked(asked=True)}
        decided = [each for each in letters if each.id not in open_still]
        notes = {flow: await self._ledger.notes(flow) for flow in {each.row.flow for each in decided}}
        return {
            each.id: next(
                (
                    f"{note.what}, {note.why}" if note.what == "not replayed" else note.why
                    for note in reversed(notes[each.row.flow])
                    if (note.pos, note.reaction) == (each.row.pos, each.row.reaction) and note.what not in _BEFORE
                ),
                "it is gone",
            )
            for each in decided
        }

    # editing

    async def differences(self, letter: DeadLetter, changes: Mapping[str, Any] | bytes) -> list[str]:
        """What `edit` would change, field by field. Raises CodecError where it would."""
        return _differences(letter.data, await self._checked(letter, changes))

    async def edit(
        self, letter: DeadLetter, changes: Mapping[str, Any] | bytes, *, by: str | None = None, note: str = "",
        even_though_ended: bool = False,
    ) -> list[str]:  # fmt: skip
        """The next replay gives these fields (or these bytes, for all of it) to the reaction that failed, and to
        nobody else; its idempotency key stays. Returns what is different now, field by field, as it is recorded.

        Raises CodecError, with nothing written, where that is no event of its type or would belong to another line.
        """
        if (why := letter.why_not(late=even_though_ended)) is not None:
            raise (Conflict if letter.row.asked is not None else FlowHasEnded)(f"{letter.id}: {why}")
        data = await self._checked(letter, changes)
        said = _differences(letter.data, data)
        wish, told = Wish("replay", by or operator()), "; ".join(said) or "nothing is different"
        why = f"by {wish.by}{f' ({note})' if note else ''}: {told}"
        remark = f"{note}: {told}" if note else told
        if not (await self._write([replace(letter.row, data=data)], "edited", why, wish, remark))[0]:
            raise Conflict(f"{letter.id} is no dead letter any more, or a replay of it is open: nothing was edited")
        return said

    async def _checked(self, letter: DeadLetter, changes: Mapping[str, Any] | bytes) -> bytes:
        """The edited event as it is stored. Raises CodecError for one that does not fit."""
        choreography, codec = self._choreography, self._codec
        contract = None if choreography is None else choreography.contracts.get(letter.row.reaction)
        if choreography is None or codec is None or contract is None or letter.entry is None:
            raise CodecError(f"{letter.id}: only what a reaction of this app was given can be edited")
        entry = letter.entry
        if entry.type.startswith("callboard.Timer["):
            entry = (await self._ledger.entries([entry.cause]))[0]
        kind = choreography.events.get(entry.type)
        if kind is None:
            raise CodecError(f"{letter.id}: this build does not know the type {entry.type}")
        event = codec.decode(changes if isinstance(changes, bytes) else _merged(letter, changes), kind)
        data = codec.encode(event)
        named = _fields(changes) if isinstance(changes, bytes) else changes
        if strangers := set(named or ()) - set(_fields(data) or named or ()):
            raise CodecError(f"{letter.id}: {kind} carries no {', '.join(sorted(strangers))}")
        names = [flow.key for flow in choreography.flows.values()]
        names += [name for name in (kind.key, contract.options.per) if name is not None]
        try:
            before = codec.decode(entry.data, kind)
        except CodecError:
            known = {choreography.flows[row.name].key: row.key for row in letter.flows if row.name}
        else:
            known = {name: attribute(before, name) for name in names}
        for name, value in known.items():
            if (now := attribute(event, name)) is not None and str(now) != str(value):
                raise CodecError(f"{letter.id}: {name} says which line it belongs to and stays {value!r}, not {now!r}")
        return data


_BEFORE = ("asked", "edited", "failed")  # what is told of a letter before a wish has come to its end


def operator() -> str:
    """The user of this process, as the operating system knows it."""
    try:
        return getuser()
    except (KeyError, OSError):  # a user without a name, in a container
        return "somebody"


async def patiently(step: Callable[[], Awaitable[T]], pause: Callable[[], float] = lambda: 0.005) -> T:
    """What the step returns, once nobody else is committing; between two tries are so many seconds."""
    while True:
        try:
            return await step()
        except LedgerBusy:
            await asyncio.sleep(pause())


def _fields(data: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _merged(letter: DeadLetter, changes: Mapping[str, Any]) -> bytes:
    if (found := _fields(letter.data)) is None:
        raise CodecError(f"{letter.id}: what it carries is no JSON object: give all of it")
    return msgspec.json.encode({**found, **changes})


def _differences(before: bytes, after: bytes) -> list[str]:
    old, new = _fields(before), _fields(after)
    if old is None or new is None:
        return ["all of it, which could not be read"]
    names = [name for name in {**old, **new} if old.get(name, ...) != new.get(name, ...)]
    return [f"{name} from {_shown(old, name)} to {_shown(new, name)}" for name in names]


def _shown(fields: dict[str, Any], name: str) -> str:
    text = msgspec.json.encode(fields[name]).decode() if name in fields else "nothing"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
