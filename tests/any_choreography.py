"""A choreography drawn at random, in which everything may stand that a signature, an option or a flow can say.

Most are refused when built, and few make sense: nothing that looks at one may raise, or say what is absurd.
"""

from random import Random

from tests.fragments import EVENTS, FAILURES, SERVICES

STATES = ("shelf: Shelf", "shelf: Read[Shelf]", "shelf: Shelf | None", "shelf: States[Shelf]", "note: Note")
PORTS = ("bank: Bank", "post: Post", "carrier: Carrier")


class Drawn:
    """The lines of one seed, for tests.fragments."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        good = [each for each in EVENTS if each != "Ordered"]
        self.kinds = self.random.sample(good, self.random.randint(4, 8)) + self.random.sample(FAILURES, 2)
        self.pool = ["Ordered", "Ordered", *self.kinds]
        self.known: list[tuple[str, str, list[str]]] = []  # what may be undone: its name, its service, its effects
        reactions = [self._reaction(f"r{number}") for number in range(self.random.randint(2, 9))]
        self.lines = "\n".join([*reactions, *self._ends()])

    def _may(self, chance: float) -> bool:
        return self.random.random() < chance

    def _reaction(self, name: str) -> str:
        service = self.random.choice(SERVICES)
        undone = self._undone(service) if self._may(0.3) else None
        heard, gathers = self._heard()
        options = [*gathers, *self._options(undone)]
        parameters = [f"heard: {heard}", *self._given(undone, is_list=bool(gathers))]
        is_async = ""
        if self._may(0.3):
            parameters.append(self.random.choice(PORTS))
            is_async = self.random.choice(("", "async "))
        emitted = self.random.sample(self.pool, self.random.randint(0, 3))
        if undone is None:
            self.known.append((name, service, [each for each in emitted if each not in FAILURES]))
        return (
            f"@{service}.reaction({', '.join(options)})\n"
            f"{is_async}def {name}({', '.join(parameters)}) -> {self._return(emitted)}: ...\n"
        )

    def _undone(self, service: str) -> tuple[str, list[str]] | None:
        mine = [(name, effects) for name, where, effects in self.known if where == service]
        return self.random.choice(mine) if mine else None

    def _heard(self) -> tuple[str, list[str]]:
        kind, other = self.random.choice(self.pool), self.random.choice(self.pool)
        news = self.random.choice(("FlowTimedOut[Ordered]", "FlowCancelled[Ordered]", f"ReactionFailed[{kind}]"))
        heard = self.random.choice([*[kind] * 5, *[f"{kind} | {other}"] * 2, *[news] * 2, f"list[{kind}]"])
        return heard, [f"gathers={other}"] if heard.startswith("list") else []

    def _given(self, undone: tuple[str, list[str]] | None, *, is_list: bool) -> list[str]:
        found = [f"other: {self.random.choice(self.pool)}"] if self._may(0.15) and not is_list else []
        if undone is not None and undone[1] and self._may(0.7):
            found.append(f"done: {self.random.choice(undone[1])}{self.random.choice((' | None', ''))}")
        elif self._may(0.1):
            found.append(f"given: {self.random.choice(self.pool)} | None")
        return found + ([self.random.choice(STATES)] if self._may(0.35) else [])

    def _options(self, undone: tuple[str, list[str]] | None) -> list[str]:
        kind, other = self.random.choice(self.pool), self.random.choice(self.pool)
        chances = {
            "once='end'": 0.15, f"needs={kind}": 0.12, f"unless={other}": 0.12, "wait=timedelta(hours=1)": 0.1,
            "per='sku'": 0.1, "retry=Retry(max_attempts=3)": 0.1,
        }  # fmt: skip
        if undone is None:
            chances |= self.random.choice(({"pivot=True": 0.2}, {"keeps='so'": 0.2}))
        found = [each for each, chance in chances.items() if self._may(chance)]
        return [*found, f"compensates={undone[0]}"] if undone is not None else found

    def _return(self, emitted: list[str]) -> str:
        if not emitted:
            return "None"
        ways = [" | ".join(emitted)] * 3 + [" | ".join([*emitted, "None"])] * 2
        ways += [" | ".join([f"list[{emitted[0]}]", *emitted[1:]]), f"tuple[{', '.join(emitted)}]"]
        return self.random.choice(ways)

    def _ends(self) -> list[str]:
        flows = [self._flow(number) for number in range(self.random.choice((0, 1, 1, 1, 2)))]
        said = self.random.sample(self.kinds, self.random.randint(0, 2)) + ([] if flows else ["Ordered"])
        told = self.random.sample(self.kinds, self.random.randint(0, 2))
        return [f"flows = [{', '.join(flows)}]", f"incoming = {' | '.join(said) or None}", (
            f"outgoing = {' | '.join(told) or None}")]  # fmt: skip

    def _flow(self, number: int) -> str:
        starts = self.random.choice(self.pool) if number else "Ordered"
        more = f", fails={self._end()}" if self._may(0.8) else ""
        more += ", timeout=timedelta(hours=1)" if self._may(0.6) else ""
        return f"Flow('f{number}', key='order', starts={starts}, succeeds={self._end()}{more})"

    def _end(self) -> str:
        kinds = self.random.sample(self.kinds, self.random.randint(1, 2))
        return self.random.choice((" | ".join(kinds), kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"))
