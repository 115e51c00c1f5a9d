"""One crash test of one choreography: who is killed and when, until enough has landed; then rest, and judgement."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from . import outside
from .company import Heard, Player
from .judge import judge
from .look import is_locked, owners, reading, unfinished
from .scenes import SCENES, Scene

REST = 400.0  # seconds that everything has to come to its end
_SOON = 15.0  # seconds in which a standby owns what nobody owns any more
_KEEP = 8.0  # seconds that flows which are over are kept, where they are pruned under kills

# What happens, with its weight. Flows are pruned in a kind of their own: a duplicate may not come too late in it.
_KILLS = {"kill_owner": 10, "kill_publisher": 1, "kill_all": 1, "kill_at_birth": 1}
KINDS: dict[str, dict[str, int]] = {
    "kills": {**_KILLS, "stop_cleanly": 1, "rob": 2, "pause": 1},
    "mixed": {
        **_KILLS, "stop_cleanly": 1, "rob": 2, "pause": 1, "stop_twice": 1, "hand_over": 1, "fill_disk": 2,
        "turn_clock": 1, "deploy": 1,
    },
    "full-disk": {**_KILLS, "fill_disk": 14},
    "clock": {**_KILLS, "turn_clock": 10},
    "rename": {**_KILLS, "deploy": 8},
    "pruning": {**_KILLS, "stop_cleanly": 1, "pause": 1},
    "drain": {**_KILLS, "stop_cleanly": 6, "stop_twice": 6},
    "hand-over": {**_KILLS, "hand_over": 12},
}  # fmt: skip


@dataclass(frozen=True)
class Play:
    """What is wanted of one crash test."""

    scene: str
    folder: Path
    seed: str
    kills: int  # that land
    seconds: float
    kind: str = "mixed"
    rest: float = REST
    crew: tuple[str, ...] = ("a", "b", "standby", "p", "q")  # two owners, one that stands by, two publishers


@dataclass
class Report:
    """What came of it."""

    scene: str
    landed: int = 0
    figures: dict[str, int | str] = field(default_factory=dict[str, int | str])
    found: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


async def play(wanted: Play, tell: Callable[[str], None]) -> Report:
    """Play it to the end. No worker is left behind, whatever happens."""
    wanted.folder.mkdir(parents=True)
    stage = Stage(wanted, tell)
    began = time.monotonic()
    try:
        await stage.open()
        await stage.kill_until_enough()
        fighting = time.monotonic() - began
        resting = await stage.rest()
    finally:
        await stage.clear()
    found = await judge(wanted.folder, stage.scene, stage.heard, stage.players)
    report = Report(wanted.scene, stage.landed, stage.figures(), found)
    report.figures |= {"seconds under kills": round(fighting), "seconds to rest": round(resting)}
    return report


class Stage:
    """The workers of one play, and what is done to them."""

    def __init__(self, wanted: Play, tell: Callable[[str], None]) -> None:
        self.wanted = wanted
        self.tell = tell
        self.build = 0
        self.scene: Scene = SCENES[wanted.scene](self.build)
        self.clock = wanted.folder / "clock"
        self.latest = 0.0  # how far the clock was ever turned forwards
        self.chance = Random(wanted.seed)
        self.heard = Heard()
        self.ledger = wanted.folder / "ledger.db"
        first, second = ([service.name for service in part] for part in self.scene.split)
        everything = [service.name for service in self.scene.services]
        roles: dict[str, list[str]] = {"a": first, "b": second, "standby": everything, "p": [], "q": []}
        self.players = [
            Player(role, services, self.heard, scene=wanted.scene, folder=wanted.folder, seed=wanted.seed)
            for role, services in roles.items()
            if role in wanted.crew
        ]
        for player in self.players:
            player.keep = _KEEP if wanted.kind == "pruning" else None
        self.counts: Counter[str] = Counter()
        self.landed = 0
        self._coming: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """The files are there, the stock is filled, everybody has started."""
        outside.create(self.wanted.folder / "outside.db")
        self.clock.write_text("0")
        url = f"sqlite:///{self.ledger}"
        async with (
            self.scene.choreography.open(url, services=[]) as board,
            board.transaction(self.scene.stock_owner) as tx,
        ):
            for key in self.scene.stocks:
                await tx.put(self.scene.row(key, self.scene.first_stock))
        for player in self.players:
            await player.start()
        await asyncio.gather(*(player.ready.wait() for player in self.players))

    async def kill_until_enough(self) -> None:
        """Something happens to somebody, again and again."""
        acts = KINDS[self.wanted.kind]
        ends = time.monotonic() + self.wanted.seconds
        while self.landed < self.wanted.kills and time.monotonic() < ends and len(self.heard.broken) < 5:
            await asyncio.sleep(self.chance.uniform(0.15, 1.2))
            self._revive_the_broken()
            while not self._owning() and time.monotonic() < ends:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            act = self.chance.choices(list(acts), list(acts.values()))[0]
            await getattr(self, act)()
            self.tell(
                f"{self.wanted.scene}: {self.landed} of {self.wanted.kills} kills landed, "
                f"{self.counts['kills']} made; {len(self.heard.flows)} orders, {len(self.heard.verdicts)} told; "
                f"{act.replace('_', ' ')}"
            )

    async def rest(self) -> float:
        """No more trouble. Returns after how many seconds everything was decided and finished."""
        began = time.monotonic()
        self._turn_clock(self.latest)  # a ledger's time never goes back: it would stand still for as long
        await asyncio.gather(*self._coming.values())
        self._revive_the_broken()
        await asyncio.gather(*self._coming.values())
        for player in self._those(publishers=True):
            player.tell("enough")
        while time.monotonic() < began + self.wanted.rest and not self._is_at_rest():  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # the ledger is looked at: there is nobody to be woken by
        took = time.monotonic() - began
        for player in self.players:
            player.tell("stop")
        await asyncio.wait([asyncio.ensure_future(player.gone.wait()) for player in self.players], timeout=15)
        self.heard.broken += [f"{player.name} does not stop" for player in self.players if player.alive]
        return took

    def _is_at_rest(self) -> bool:
        if not all(player.finished.is_set() for player in self._those(publishers=True)):
            return False
        left = unfinished(self.ledger, self.scene.choreography, list(self.scene.choreography.services))
        return left.work == 0 and left.undecided == 0

    async def clear(self) -> None:
        """Nobody is left."""
        for task in self._coming.values():
            task.cancel()
        for player in self.players:
            player.send(signal.SIGCONT)
            if player.alive:
                await player.kill()

    # what happens

    async def kill_owner(self) -> None:
        """One that owns something, and is back at once or after a while."""
        if (player := self._pick(self._owning())) is not None:
            await self._kill(player)
            self._come_back(player, 0.0 if self.chance.random() < 0.5 else self.chance.uniform(0.2, 2.5))

    async def kill_publisher(self) -> None:
        """One that publishes: what it had not had acknowledged is said again by its next life."""
        if (player := self._pick(self._those(publishers=True))) is not None:
            await self._kill(player)
            self._come_back(player, self.chance.uniform(0.0, 0.5))

    async def kill_all(self) -> None:
        """A power cut but for the disk."""
        await asyncio.gather(*(self._kill(player) for player in self.players if player.alive))
        for player in self.players:
            self._come_back(player, self.chance.uniform(0.0, 1.0))

    async def kill_at_birth(self) -> None:
        """An owner, and again while it is starting or has just started."""
        if (player := self._pick(self._owning())) is not None:
            await self._kill(player)
            for _ in range(2):
                await player.start()
                await asyncio.sleep(self.chance.uniform(0.2, 0.9))
                await self._kill(player)
            self._come_back(player, 0.0)

    async def stop_cleanly(self) -> None:
        """SIGTERM: drained, then given up."""
        if (player := self._pick(self._owning())) is not None:
            player.leaving = True
            player.send(signal.SIGTERM)
            await player.gone.wait()
            self.counts["clean stops"] += 1
            self._come_back(player, 0.0)

    async def stop_twice(self) -> None:
        """SIGTERM, and again while it drains: it ends at once, and is killed where that comes too late."""
        if (player := self._pick(self._owning())) is not None:
            player.leaving = True
            player.send(signal.SIGTERM)
            await asyncio.sleep(self.chance.uniform(0.0, 0.1))
            player.send(signal.SIGTERM)
            self.counts["stopped twice"] += 1
            if self.chance.random() < 0.5:
                await self._kill(player)
            await player.gone.wait()
            self._come_back(player, 0.0)

    async def hand_over(self) -> None:
        """An owner is killed or stopped and stays away: whoever stands by owns all of it soon."""
        player = self._pick([each for each in self._owning() if self._others_stand_by(each)])
        if player is None:
            return
        before = owners(self.ledger)
        mine = [service for service, (_, pid) in before.items() if pid == player.pid]
        if self.chance.random() < 0.5:
            await self._kill(player)
        else:
            player.leaving = True
            player.send(signal.SIGTERM)
            await player.gone.wait()
        if not await self._are_taken(mine, before, within=_SOON):
            self.heard.orphans.append(f"{', '.join(mine)} of {player.name}, in {_SOON} seconds")
        self.counts["hand-overs"] += 1
        self._come_back(player, self.chance.uniform(0.0, 1.0))

    def _others_stand_by(self, player: Player) -> bool:
        wanted = set(self._owned_by(player) or [])
        others = [each for each in self._those(publishers=False) if each is not player and each.ready.is_set()]
        return bool(wanted) and any(wanted <= set(each.services) for each in others)

    async def fill_disk(self) -> None:
        """The ledger may not grow for a while: some of those who write it are killed meanwhile, the others go on."""
        full = [player for player in self.players if player.alive and self.chance.random() < 0.7]
        for player in full:
            player.tell("full")
        await asyncio.sleep(self.chance.uniform(0.1, 1.0))
        if (victim := self._pick([each for each in self._owning() if each in full])) is not None:
            await self._kill(victim)
            self._come_back(victim, self.chance.uniform(0.0, 0.5))
        for player in full:
            player.tell("room")

    async def turn_clock(self) -> None:
        """Everybody's clock, forwards or back; an owner is killed before or after it."""
        if self.chance.random() < 0.5:
            await self.kill_owner()
        now = float(self.clock.read_text())
        self._turn_clock(now + self.chance.choice([-60.0, -5.0, -1.0, 1.0, 5.0, 12.0, 60.0]))
        self.counts["clock turned"] += 1
        if self.chance.random() < 0.5:
            await self.kill_owner()

    def _turn_clock(self, seconds: float) -> None:
        self.latest = max(self.latest, seconds)
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    async def deploy(self) -> None:
        """A power cut, and everybody comes back with the next build: reactions with parked rows are renamed in it."""
        self.build += 1
        self.scene = SCENES[self.wanted.scene](self.build)
        for player in self.players:
            player.build = self.build
        self.counts["renamed in a next build"] += 1
        for task in list(self._coming.values()):
            await task  # whoever was on the way may have begun with the build before
        await self.kill_all()
        await asyncio.gather(*self._coming.values())

    async def pause(self) -> None:
        """SIGSTOP for a while, perhaps in the middle of a commit."""
        if (player := self._pick(self._owning())) is not None:
            player.send(signal.SIGSTOP)
            self.counts["pauses"] += 1
            await asyncio.sleep(self.chance.uniform(0.2, 2.0))
            player.send(signal.SIGCONT)

    async def rob(self) -> None:
        """SIGSTOP, and its locks are removed: another takes its services. It must commit nothing when it goes on."""
        player = self._pick(self._owning())
        if player is None or not await self._stop_between_commits(player):
            return
        before = owners(self.ledger)
        mine = [service for service, (_, pid) in before.items() if pid == player.pid]
        player.robbed.add(player.name)
        for service in mine:
            self.ledger.with_name(f"{self.ledger.name}.{service}.lock").unlink(missing_ok=True)
        taken = await self._are_taken(mine, before)
        await asyncio.sleep(self.chance.uniform(0.3, 1.5))
        if taken and self.chance.random() < 0.3:
            player.leaving = True
            player.send(signal.SIGTERM)  # it stops before it has noticed
        player.send(signal.SIGCONT)
        self.counts["pauses"] += 1
        if not taken:
            return
        self.counts["owners fenced"] += 1
        try:
            await asyncio.wait_for(player.gone.wait(), 10)
        except TimeoutError:
            await player.kill()
        self._come_back(player, self.chance.uniform(0.0, 1.0))

    async def _stop_between_commits(self, player: Player) -> bool:
        for _ in range(50):
            player.send(signal.SIGSTOP)
            await asyncio.sleep(0.01)
            if not is_locked(self.ledger) and not is_locked(self.wanted.folder / "outside.db"):
                return player.alive
            player.send(signal.SIGCONT)
            await asyncio.sleep(self.chance.uniform(0.001, 0.01))
        return False

    async def _are_taken(self, services: list[str], before: dict[str, tuple[int, int]], *, within: float = 5.0) -> bool:
        until = time.monotonic() + within
        while time.monotonic() < until:
            now = owners(self.ledger)
            if services and all(now[service][0] > before[service][0] for service in services):
                return True
            await asyncio.sleep(0.05)
        now = owners(self.ledger)
        return any(now[service][0] > before[service][0] for service in services)

    # kills

    async def _kill(self, player: Player) -> None:
        owned = self._owned_by(player) or []
        in_flight = not player.services and not player.finished.is_set()  # and has flows without verdict
        if not await player.kill():
            return
        left = unfinished(self.ledger, self.scene.choreography, owned, f"{player.role}-%")
        self.counts["kills"] += 1
        kinds = {
            "left events unhandled": left.unhandled, "left deliveries open": left.open, "left rows parked": left.parked,
        }  # fmt: skip
        self.counts.update({kind: 1 for kind, many in kinds.items() if many})
        if left.work or (in_flight and left.undecided):
            self.landed += 1
            self.counts["kills of publishers that landed" if in_flight else "kills of owners that landed"] += 1

    def _owned_by(self, player: Player) -> list[str]:
        return [service for service, (_, pid) in owners(self.ledger).items() if pid == player.pid]

    def _come_back(self, player: Player, wait: float) -> None:
        async def come() -> None:
            await asyncio.sleep(wait)
            await player.gone.wait()
            await player.start()
            await player.ready.wait()

        if player.role not in self._coming:
            self._coming[player.role] = asyncio.create_task(come())
            self._coming[player.role].add_done_callback(lambda _: self._coming.pop(player.role))

    def _revive_the_broken(self) -> None:
        for player in self.players:
            if not player.alive:
                self._come_back(player, 0.0)

    def _those(self, *, publishers: bool) -> list[Player]:
        return [player for player in self.players if player.alive and publishers == (not player.services)]

    def _owning(self) -> list[Player]:
        owning = {pid for _, pid in owners(self.ledger).values()}
        return [player for player in self._those(publishers=False) if player.pid in owning and player.ready.is_set()]

    def _pick(self, players: list[Player]) -> Player | None:
        return self.chance.choice(players) if players else None

    # figures

    def figures(self) -> dict[str, int | str]:
        """What happened, for the table."""
        heard, counts = self.heard.counts, self.counts
        with reading(self.ledger) as file:
            verdicts = dict(file.execute("SELECT coalesce(verdict, 'none'), count(*) FROM flow GROUP BY verdict"))
            notes = dict(file.execute("SELECT what, count(*) FROM note GROUP BY what"))
            kinds = "SELECT count(*) FROM log l JOIN name n ON n.number = l.type WHERE n.name LIKE ?"
            deadlines = file.execute(kinds, ("callboard.FlowTimedOut[%",)).fetchone()[0]
            failed = file.execute(kinds, ("callboard.ReactionFailed[%",)).fetchone()[0]
            head = file.execute("SELECT head FROM ledger").fetchone()[0]
            pruned = file.execute("SELECT count(*) FROM witness_flow WHERE name != ''").fetchone()[0]
            takeovers = file.execute("SELECT count(*) FROM witness_owner WHERE token > 1").fetchone()[0]
        return {
            "kills that landed on unfinished work": self.landed,
            "  of owners": counts["kills of owners that landed"],
            "  of publishers": counts["kills of publishers that landed"],
            "kills made": counts["kills"],
            "  that left events unhandled": counts["left events unhandled"],
            "  that left deliveries open": counts["left deliveries open"],
            "  that left rows parked": counts["left rows parked"],
            "pauses (SIGSTOP)": counts["pauses"],
            "  owners fenced meanwhile": counts["owners fenced"],
            "clean stops": counts["clean stops"],
            "stopped by a second signal": counts["stopped twice"],
            "hand-overs to a standby": counts["hand-overs"],
            "workers with a full disk": heard["full"],
            "clock turned": counts["clock turned"],
            "restarted with renamed reactions": counts["renamed in a next build"],
            "flows pruned": pruned,
            "services taken over": takeovers,
            "orders acknowledged": len(self.heard.flows),
            "  succeeded": verdicts.get("succeeded", 0),
            "  failed": verdicts.get("failed", 0),
            "events in the log": head,
            "deadlines that fired": deadlines,
            "cancelled from outside": heard["cancelled"],
            "edits from outside": sum(self.heard.edits.values()),
            "duplicates published": heard["duplicate"],
            "attempts that failed": notes.get("failed", 0),
            "dead letters told": failed,
            "replays asked": heard["replay"],
        }
