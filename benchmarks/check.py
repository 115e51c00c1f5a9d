"""How many states `callboard check` looks at, and how long it takes, for growing families and for the examples."""

import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "targets")]

# ruff: noqa: E402 - what is measured lies on a path of its own
from callboard import Choreography
from callboard.checks.catalogue import check
from callboard.checks.exploration import explore
from callboard.checks.subject import Subject
from tests.fragments import Lines
from tests.mutants.run import CLEAN

KINDS = """
from callboard import Choreography, Flow, FlowTimedOut, Service, event, failure, state
from datetime import timedelta

@state(key="sku")
class Shelf:
    sku: str
    free: int = 0
"""


def declared(names: list[str], mark: str) -> str:
    return "".join(f"\n@{mark}\nclass {name}:\n    order: str\n    sku: str\n" for name in names)


def ladder(size: int) -> Choreography:
    """Each step does something, or fails; then all before it are undone, last first."""
    lines = [KINDS, declared(["Done0", *(f"Done{n}" for n in range(1, size + 1))], "event")]
    lines.append(declared([f"Undone{n}" for n in range(1, size + 1)], "event"))
    lines.append(declared([f"Failed{n}" for n in range(1, size + 1)], "failure"))
    for n in range(1, size + 1):
        why = f"Failed{n + 1} | Undone{n + 1}" if n < size else ""
        lines.append(f"\ns{n} = Service('s{n}')\n@s{n}.reaction\n")
        lines.append(f"def do{n}(before: Done{n - 1}, shelf: Shelf{n}) -> Done{n} | Failed{n}: ...\n")
        if why:
            lines.append(f"@s{n}.reaction(compensates=do{n})\n")
            lines.append(f"def undo{n}(why: {why}, done: Done{n}, shelf: Shelf{n}) -> Undone{n}: ...\n")
    shelves = "".join(
        f"\n@state(key='sku')\nclass Shelf{n}:\n    sku: str\n    free: int = 0\n" for n in range(1, size + 1)
    )
    services = ", ".join(f"s{n}" for n in range(1, size + 1))
    lines.insert(1, shelves)
    lines.append(
        f"\nmade = Choreography('ladder', {services}, flows=[Flow('f', key='order', starts=Done0, "
        f"succeeds=Done{size}, fails=Failed1 | Undone1, timeout=timedelta(hours=1))])"
    )
    return made(lines)


def branches(size: int, *, expiry: bool = False) -> Choreography:
    """So many branches of two steps side by side, and a join; with an expiry that undoes them all."""
    lines = [
        KINDS,
        declared(["Begun", "Joined", *(f"A{n}" for n in range(size)), *(f"B{n}" for n in range(size))], "event"),
    ]
    lines.append(declared([f"U{n}" for n in range(size)], "event"))
    for n in range(size):
        lines.append(f"\ns{n} = Service('s{n}')\n@state(key='sku')\nclass Shelf{n}:\n    sku: str\n    free: int = 0\n")
        lines.append(f"@s{n}.reaction\ndef first{n}(a: Begun{f', shelf: Shelf{n}' if expiry else ''}) -> A{n}: ...\n")
        lines.append(f"@s{n}.reaction\ndef second{n}(a: A{n}) -> B{n}: ...\n")
        if expiry:
            lines.append(f"@s{n}.reaction(compensates=first{n})\n")
            lines.append(f"def undo{n}(late: FlowTimedOut[Begun], a: A{n}, shelf: Shelf{n}) -> U{n}: ...\n")
    joined = ", ".join(f"b{n}: B{n}" for n in range(size))
    undone = ", ".join(f"U{n}" for n in range(size))
    lines.append(f"\nlast = Service('last')\n@last.reaction\ndef join({joined}) -> Joined: ...\n")
    services = ", ".join(f"s{n}" for n in range(size))
    end = f", fails=tuple[{undone}], timeout=timedelta(hours=1)" if expiry else ""
    lines.append(
        f"made = Choreography('branches', {services}, last, flows=[Flow('f', key='order', starts=Begun, "
        f"succeeds=Joined{end})])"
    )
    return made(lines)


def made(lines: list[str]) -> Choreography:
    from types import ModuleType

    module = ModuleType("family")
    Lines("".join(lines)).exec_module(module)
    found: Choreography = module.made
    return found


CASES: dict[str, Callable[[], Choreography]] = {
    "orders (4 services, 8 reactions)": lambda: CLEAN["orders"],
    "journeys (7 services, 14 reactions)": lambda: CLEAN["journeys"],
    "media (4 services, 5 reactions)": lambda: CLEAN["media"],
    "trip (4 services, 12 reactions, 5 words from outside)": lambda: CLEAN["trip"],
    "compensation ladder, 50 services, 99 reactions": lambda: ladder(50),
    "compensation ladder, 200 services, 399 reactions": lambda: ladder(200),
    "compensation ladder, 501 services, 1,001 reactions": lambda: ladder(501),
    "10 branches of 2 and a join": lambda: branches(10),
    "50 branches of 2 and a join": lambda: branches(50),
    "6 branches with an expiry": lambda: branches(6, expiry=True),
    "10 branches with an expiry": lambda: branches(10, expiry=True),
    "14 branches with an expiry": lambda: branches(14, expiry=True),
}


COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`callboard --version`": ["-m", "callboard", "--version"],
    "`callboard check` of orders, 8 reactions": ["-m", "callboard", "check", "examples/order_fulfilment/shop.py:shop"],
    "`callboard check` of journeys, 14 reactions": ["-m", "callboard", "check", "tests/mutants/journeys.py:journeys"],
    "`callboard check` of trip, 12 reactions": ["-m", "callboard", "check", "tests/targets/trip.py:rides"],
}


def whole(arguments: list[str]) -> tuple[float, float]:
    """The least that a run of this takes: milliseconds by the clock, and of CPU."""
    clock: list[float] = []
    cpu: list[float] = []
    for _ in range(10):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        clock.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(clock) * 1000, min(cpu) * 1000


def memory(choreography: Choreography) -> tuple[int, float]:
    """How many states there are, and the bytes that each keeps, once all is explored."""
    subject = Subject(choreography)
    (flow,) = choreography.flows.values()
    net = subject.extract(flow.start).net
    tracemalloc.start()
    found = explore(net, limit=200_000, reduced=False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return len(found.came), kept / len(found.came)


def main() -> None:
    print("| | states | bounded | ms of CPU |\n|---|---|---|---|")
    for name, case in CASES.items():
        choreography = case()
        began = time.process_time()
        report = check(choreography)
        took = (time.process_time() - began) * 1000
        print(f"| {name} | {report.states:,} | {'yes' if report.bounded else 'no'} | {took:,.0f} |", flush=True)
    for name, choreography in (("trip", CLEAN["trip"]), ("6 branches with an expiry", branches(6, expiry=True))):
        states, kept = memory(choreography)
        print(f"\nmemory, {name}, every order: {states:,} states, {kept:,.0f} bytes each")
    print("\n| the whole command, least of ten | ms by the clock | ms of CPU |\n|---|---|---|")
    for name, arguments in COMMANDS.items():
        clock, spent = whole(arguments)
        print(f"| {name} | {clock:,.0f} | {spent:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
