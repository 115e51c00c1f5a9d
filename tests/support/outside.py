"""The world outside, in the hand of a test: what keepers did, what they answer next, and who waits."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from random import Random
from typing import Literal

Next = Literal["answer", "refuse", "fail", "lose", "wait"]


class NoAnswer(ConnectionError):
    """The call may have taken place, and nobody will ever say."""


class Outside:
    """Calls with one key take place once, however often they are made; `void` takes back what a key did, and closes it.

    What comes next of a kind of call is told with `next`: "fail" before it takes place, "lose" its answer after it did,
    "wait" until `let_go`, "refuse". Otherwise it takes place and is answered at once.
    """

    def __init__(self, drawn: Callable[[str], Next] = lambda _: "answer") -> None:
        self._drawn = drawn  # what comes of calls of which nothing was told
        self.calls: list[tuple[str, str]] = []  # (kind, key) of every call that was made
        self.held: set[str] = set()  # keys that took effect
        self.voided: set[str] = set()
        self._next: dict[str, deque[Next]] = defaultdict(deque)
        self._waiting: list[tuple[str, str, asyncio.Future[Next], object]] = []  # and who called

    def next(self, kind: str, *what: Next) -> None:
        """This is what comes of the next calls of this kind, in their order."""
        self._next[kind].extend(what)

    def waiting(self, kind: str | None = None) -> list[str]:
        """The keys of the calls that wait."""
        return [key for each, key, told, _ in self._waiting if not told.done() and kind in (None, each)]

    def let_go(self, kind: str | None = None, what: Next = "answer", key: str | None = None) -> None:
        """Calls that wait go on."""
        found = [w for w in self._waiting if kind in (None, w[0]) and key in (None, w[1]) and not w[2].done()]
        assert found, f"nobody waits in {kind or 'any call'}"
        for waiting in found:
            waiting[2].set_result(what)
            self._waiting.remove(waiting)

    def cut(self, caller: object, kinds: Collection[str], chance: Random) -> None:
        """The caller dies: some of its calls of these kinds take place all the same, and nobody hears of it."""
        for waiting in [each for each in self._waiting if each[3] is caller]:
            kind, key, told, _ = waiting
            self._waiting.remove(waiting)
            if kind in kinds and key not in self.voided and not told.done() and chance.random() < 0.5:
                self.held.add(key)

    def made(self, kind: str) -> list[str]:
        """The keys of the calls of this kind that were made, in order."""
        return [key for each, key in self.calls if each == kind]

    async def take(self, kind: str, key: str, caller: object = None) -> bool:
        """One call that takes an effect; False if it was refused."""
        what = await self._told(kind, key, caller)
        if key in self.voided or (what == "refuse" and key not in self.held):
            return False
        self.held.add(key)
        if what == "lose":
            raise NoAnswer(f"{kind} {key}")
        return True

    async def void(self, kind: str, key: str, caller: object = None) -> None:
        """One call that takes an effect back: a later one with this key is refused."""
        what = await self._told(kind, key, caller)
        self.held.discard(key)
        self.voided.add(key)
        if what == "lose":
            raise NoAnswer(f"{kind} {key}")

    async def _told(self, kind: str, key: str, caller: object) -> Next:
        self.calls.append((kind, key))
        what = self._next[kind].popleft() if self._next[kind] else self._drawn(kind)
        if what == "wait":
            told: asyncio.Future[Next] = asyncio.get_running_loop().create_future()
            self._waiting.append((kind, key, told, caller))
            what = await told
        if what == "fail":
            raise ConnectionError(f"{kind} {key}")
        return what
