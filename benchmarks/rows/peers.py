"""Against those that a user might take instead. Each with its version, its configuration and its promises."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache

from benchmarks import servers
from benchmarks.measure import PEERS, Side, Unavailable
from benchmarks.rows import Answer, Options, Row, compare


@cache
def version(name: str) -> str:
    """The version of a library in the venv of the peers."""
    if not PEERS.exists():
        raise Unavailable("the peers are not installed: python benchmarks/setup.py")
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([PEERS, "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{name} is not installed in {PEERS.parent.parent}: python benchmarks/setup.py")
    return done.stdout.strip()


def _beside(options: Options, side: Side, in_flight: int, config: str, promise: str) -> Answer:
    """Where 32 are in flight, each caller waits for the verdict of its order, as the peers' callers do; else for its
    durable publish.
    """
    until = "completed" if in_flight == 32 else "published"
    given = {"orders": options.size(3_000 if in_flight > 32 else 2_000, 300), "in_flight": in_flight, "until": until}
    ours = Side(f"callboard, {in_flight} in flight until {until}", "benchmarks.workload:run", given)
    answer = compare(options, ours, side)
    answer.lines += [f"configured: {config}", f"promises: {promise}"]
    return answer


def eventsourcing(options: Options) -> Answer:
    """Its runners are tried once, the fastest is taken."""
    known = version("eventsourcing")
    orders = options.size(150, 30)
    names = ("SingleThreadedRunner", "NewSingleThreadedRunner", "MultiThreadedRunner", "NewMultiThreadedRunner")
    sides = [
        Side(f"eventsourcing {known}, {name}", "benchmarks.peers.with_eventsourcing:run",
             {"orders": orders, "runner": name}, PEERS) for name in names
    ]  # fmt: skip
    tried: list[tuple[float, Side]] = []
    for side in sides:
        options.tell(side.name)
        try:
            tried.append((side.run()["rate"], side))
        except Unavailable as error:
            options.tell(str(error))
    if not tried:
        raise Unavailable(f"no runner of eventsourcing {known} has finished")
    best = max(tried, key=lambda each: each[0])[1]
    answer = _beside(
        options, best, 500, "four applications, a SQLite file each, WAL and FULL as by default, one submitter",
        "log, state (folded from the log) and tracking in one transaction, each event a commit: nearest to ours",
    )  # fmt: skip
    answer.lines.append("runners tried once: " + ", ".join(f"{s.arguments['runner']} {r:,.0f}/s" for r, s in tried))
    return answer


def sagaz(options: Options) -> Answer:
    """32 sagas at once."""
    given = {"orders": options.size(300, 60), "in_flight": 32}
    side = Side(f"sagaz {version('sagaz')}, 32 in flight", "benchmarks.peers.with_sagaz:run", given, PEERS)
    return _beside(
        options, side, 32, "SQLiteSagaStorage (journal_mode=delete), listeners off; states in a SQLite file, NORMAL",
        "the saga's row when it begins and when it ends, no step is written down: a crash between them loses the place",
    )  # fmt: skip


def dbos(options: Options) -> Answer:
    """32 workflows at once."""
    given = {"orders": options.size(48, 32), "in_flight": 32}
    side = Side(f"DBOS {version('dbos')}, 32 in flight", "benchmarks.peers.with_dbos:run", given, PEERS)
    return _beside(
        options, side, 32, "SQLite system database as it comes (journal_mode=delete), 32 threads; states NORMAL",
        "each step is written down when it is done, a workflow goes on after a crash; states are apart from steps",
    )  # fmt: skip


def _faststream(options: Options, server: str, function: str, config: str, promise: str) -> Answer:
    known = version("faststream")
    with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder, servers.started(server, folder) as place:
        port, pid = place
        given = {"orders": options.size(500, 100), "in_flight": 500, "port": port, "pid": pid}
        name = f"FastStream {known} on {server} {servers.version(server)}, 500 in flight"
        side = Side(name, f"benchmarks.peers.with_faststream:{function}", given, PEERS)
        return _beside(options, side, 500, config, promise)


def nats(options: Options) -> Answer:
    """A server on loopback, started here."""
    return _faststream(
        options, "nats-server", "on_nats", "JetStream in a file, default sync, pull consumers of 100, msgspec",
        "at least once; no outbox: state and events are apart; an acknowledged event may be lost with the power",
    )  # fmt: skip


def redis(options: Options) -> Answer:
    """A server on loopback, started here."""
    return _faststream(
        options, "redis-server", "on_redis", "append-only file synced every second, groups, reads of 100, msgspec",
        "at least once; no outbox: state and events are apart; the last second may be lost with the power",
    )  # fmt: skip


ROWS = (
    Row("eventsourcing", "eventsourcing on SQLite, its best runner", 40, 55, eventsourcing, form=".1f", peers=True),
    Row("sagaz", "sagaz on SQLite, 32 in flight each", 4, 6, sagaz, form=".1f", peers=True),
    Row("dbos", "DBOS on SQLite, 32 in flight each", 150, 250, dbos, form=".0f", peers=True),
    Row("nats", "FastStream on NATS JetStream (another shape, weaker promises)", 15, 25, nats, form=".1f", peers=True),
    Row("redis", "FastStream on Redis Streams (another shape, weaker promises)", 20, 40, redis, form=".1f", peers=True),
)
