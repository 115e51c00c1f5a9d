"""`callboard simulate`."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from callboard.choreography import Choreography
from callboard.cli.command import Command, Refusal, all_of, meant, option
from callboard.cli.discovery import as_list, find_app, load_keepers
from callboard.cli.output import counted, note, say, say_json
from callboard.cli.recorded import replay_recorded
from callboard.cli.settings import app_option, json_option, setting
from callboard.simulation.coverage import foreign
from callboard.simulation.faults import FAULTS, Fault, named
from callboard.simulation.guiding import guided
from callboard.simulation.hunt import Failure, Hunt, Lived, NotThisFailure, hunt, keep, read_kept, replay
from callboard.simulation.oracles import ORACLES
from callboard.simulation.recording import NotThisFlow, is_recorded
from callboard.simulation.story import mermaid, told
from callboard.simulation.world import Scene, World

_ELSEWHERE = 5  # seeds that are lived in a second program too
_SHOWN = 5  # flows that the model does not have
_LOOK = 0.5  # seconds between two lines of progress


def _with_unit(fault: Fault) -> str:
    amounts = " to ".join(f"{each:g}" for each in sorted({min(fault.amounts), max(fault.amounts)}))
    return fault.name if fault.is_counted else f"{fault.name} ({amounts} {fault.unit})"


# what is simulated, and what may happen to it
_scene_options = all_of(
    option("--ignore", metavar="A,B", default="", help=f"Do not ask these: {', '.join(ORACLES)}."),
    option("--ledgers", type=click.Choice(["either", "shared", "separate"]), default="either",
           help="One ledger for all services, one for each with a broker between, or as the seed says."),
    option("--ports", metavar="NAME", help="The keepers: module:attr or file.py:attr, best a function that "
           "makes new ones.  [default: made from the Protocols]"),
    option("--pure", metavar="A,B", default="", help="Ports, or calls as Port.call, that only compute: to "
           "call them twice does no harm."),
    option("--flows", type=click.IntRange(1, 100), default=4, help="Flows of each kind in one world."),
    option("--swarm/--no-swarm", default=True, help="Let each seed have much of some faults and none of others."),
    option("--faults", metavar="A,B", default="all", show_default=False,
           help=f"Only {', '.join(map(_with_unit, FAULTS.values()))}; `none` for no fault at all.  [default: all]"),
)  # fmt: skip


@click.command(cls=Command, name="simulate")
@click.argument("words", metavar="[APP] | replay FILE [APP]", nargs=-1)
@app_option
@option("--seeds", type=click.IntRange(1), default=100, help="How many worlds.")
@option("--seed", type=click.IntRange(0), default=0, help="The first of them.")
@option("--time", "seconds", type=click.FloatRange(0), help="Stop after so many seconds, whatever --seeds says.")
@option(
    "--guided", is_flag=True, help="Instead of seeds try the orders of events that `callboard check` finds possible."
)
@option("--most", type=click.IntRange(1), default=1, help="Stop after so many failures.")
@_scene_options
@option("--keep", "folder", metavar="DIR", default=".callboard/failures", help="Where failures are kept.")
@option("--jobs", type=click.IntRange(0), default=1, help="Processes that share the seeds; 0: one for each core.")
@option("--pdb", is_flag=True, help="With replay: stop in each reaction that the story runs.")
@option("--mermaid", "drawn", is_flag=True, help="Draw the story too, as a Mermaid sequence.")
@option("--trace", is_flag=True, help="Only the whole trace of each seed, as JSON, to compare with another.")
@json_option
def command(words: tuple[str, ...], app: str | None, **options: Any) -> int:
    """Run the services of APP under seeded faults in virtual time, and shrink what breaks to a story.

    `replay FILE` lives a kept failure again, or feeds a flow of `callboard flows export` through the code of today.

    Opens no connection and no file but those of --keep. What must hold is derived from the declaration; add your own
    with @choreography.invariant, and a workload of your own with @choreography.workload.
    """
    file, app_argument = _file_and_app(words, options)
    scene = _scene_of(app, app_argument, options)
    choreography = scene.choreography
    spec = app_argument or setting("app", app).value or ""
    if file is not None:
        try:
            return _replay(scene, file, options, spec)
        except (NotThisFailure, NotThisFlow) as error:
            raise Refusal(2, str(error)) from error
    if options["trace"]:
        return _trace(scene, options)
    folder = Path(options["folder"])
    again = _kept_before(scene, folder, options)
    found, begun = Hunt(scene), time.monotonic()
    if not again:
        seeds = range(options["seed"], options["seed"] + options["seeds"])
        if options["guided"]:
            found = guided(scene, options["seeds"], most=options["most"])
        else:
            lives = None if options["jobs"] == 1 else _spread(app, app_argument, options)
            within = _within(seeds, options["seconds"])
            found = hunt(scene, within, most=options["most"], told=_progress(options), lives=lives)
            found.unsteady += [] if found.failures or options["as_json"] else _elsewhere(found, spec, options)
        found.foreign += foreign(choreography, found.seen)
        _clear()
    passed = time.monotonic() - begun
    files = {**again, **{keep(failure, scene, folder): failure for failure in found.failures}}
    if options["as_json"]:
        say_json("simulate", _document(found, [*files.values()]))
        return int(bool(files or found.unsteady or found.foreign))
    for file, failure in files.items():
        _tell_story(failure, _line(file, spec, options), options)
        say("           --pdb stops in each reaction, --mermaid draws it; once it is mended, it says so\n", "quiet")
    if again:
        say(f"no new seed is run while what is kept in {folder} fails")
    else:
        _tell(found, passed)
    return int(bool(files or found.unsteady or found.foreign))


def _file_and_app(words: tuple[str, ...], options: dict[str, Any]) -> tuple[Path | None, str | None]:
    """What is replayed, and the app. Exit 2 if these words say neither."""
    is_replay = words[:1] == ("replay",)
    if is_replay and len(words) == 1:
        raise Refusal(2, "which one? callboard simulate replay FILE [APP]")
    rest = words[2:] if is_replay else words
    if len(rest) > 1:
        raise Refusal(2, f"one app, or `replay FILE` and an app: {' '.join(words)} is more")
    if options["pdb"] and not is_replay:
        raise Refusal(2, "--pdb stops in a story that is replayed: callboard simulate replay FILE [APP] --pdb")
    if options["guided"] and options["jobs"] != 1:
        raise Refusal(2, "--guided runs in one process: leave --jobs away")
    return (Path(words[1]) if is_replay else None), (rest[0] if rest else None)


def _line(file: Path, spec: str, options: dict[str, Any]) -> str:
    """What replays the failure in this file."""
    return shlex.join(["callboard", "simulate", "replay", str(file), *([spec] if spec else []), *_given(options)])


def _given(options: dict[str, Any]) -> list[str]:
    """What is told of the scene by name, as another program is to be told it."""
    return [word for name in ("ports", "pure", "ignore") if options[name] for word in (f"--{name}", options[name])]


def _spread(
    app: str | None, argument: str | None, options: dict[str, Any]
) -> Callable[[Iterable[int]], Iterator[Lived]]:
    from callboard.cli.spread import spread

    return lambda seeds: spread(options["jobs"], seeds, _scene_of, app, argument, options)


def _scene_of(app: str | None, argument: str | None, options: dict[str, Any]) -> Scene:
    return _scene(find_app(app, argument), options)


def _scene(choreography: Choreography, options: dict[str, Any]) -> Scene:
    names = {"all": list(FAULTS), "none": []}.get(options["faults"], _words(options["faults"]))
    ignored = _words(options["ignore"])
    for name in ignored:
        if name not in ORACLES:
            raise Refusal(2, f"there is no oracle {name!r}{meant(name, list(ORACLES))}")
    for name in names:
        if name not in FAULTS:
            raise Refusal(2, f"there is no fault {name!r}{meant(name, list(FAULTS))}")
    ports = {kind.__name__: kind for kind in choreography.ports}
    for name in _words(options["pure"]):
        port, _, call = name.partition(".")
        if port not in ports or (call and not hasattr(ports[port], call)):
            raise Refusal(2, f"--pure: no reaction takes {name!r}{meant(name, list(ports))}")
    return Scene(
        choreography, keepers_of(options["ports"]), named(names), swarm=options["swarm"], flows=options["flows"],
        ledgers=options["ledgers"], ignored=frozenset(ignored), pure=frozenset(_words(options["pure"])),
    )  # fmt: skip


def keepers_of(ports: str | None) -> Callable[[], Sequence[object]]:
    """Makes the keepers that --ports names, new ones for each world if it names a function."""
    keepers = setting("ports", ports)

    def make() -> Sequence[object]:
        return as_list(load_keepers(keepers.value, keepers.folder)) if keepers.value else []

    return make


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _within(seeds: range, seconds: float | None) -> Any:
    end = None if seconds is None else time.monotonic() + seconds
    for seed in seeds:
        if end is not None and time.monotonic() >= end:
            return
        yield seed


def _progress(options: dict[str, Any]) -> Any:
    last = time.monotonic()

    def told(found: Hunt, seed: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and not options["as_json"] and time.monotonic() - last > _LOOK:
            last = time.monotonic()
            click.echo(f"\r{found.seeds} seeds, the last {seed}, {found.events} events", nl=False, err=True)

    return told


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)


def _tell(found: Hunt, seconds: float) -> None:
    rate = found.seeds / seconds if seconds else 0
    say(f"{counted(found.seeds, 'seed')}, {counted(found.flows, 'flow')}, {counted(found.events, 'event')} in "
        f"{seconds:.1f} s ({rate:.0f} seeds/s); digest {found.digest}")  # fmt: skip
    struck = ", ".join(f"{name} {found.struck[name]}" for name in FAULTS if found.struck[name])
    say(f"faults, by the seeds they struck: {struck or 'none'}", "quiet")
    _tell_ways(found)
    missing = [*found.missing, *found.missing_ends, *(f"anything of {path}" for path in found.missing_undos)]
    if missing:
        say(f"no {'order' if found.ways else 'seed'} has reached: {', '.join(missing)}", "quiet")
    for text in found.unsteady:
        say(text, "failure")
    for text in found.foreign[:_SHOWN]:
        say(
            f"a flow ended as `callboard check` says none can, so callboard is wrong in one of the two: {text}",
            "failure",
        )
    if len(found.foreign) > _SHOWN:
        say(f"and {len(found.foreign) - _SHOWN} more", "failure")
    if found.failures:
        say(f"{len(found.failures)} failed, and there it stopped: --most N goes on to the N-th", "failure")
    elif not found.unsteady and not found.foreign:
        say("nothing broke", "success")


def _tell_ways(found: Hunt) -> None:
    for way in found.ways:
        if way.why:
            say(f"not followed: {way.name}\n    {way.why}", "quiet")
    if found.ways:
        gone = sum(not way.why for way in found.ways)
        more = "; there are more of them" if found.cut_short else ""
        say(f"of {counted(len(found.ways), 'order')} of events tried the code followed {gone}{more}")


def _tell_story(failure: Failure, line: str, options: dict[str, Any]) -> None:
    for number, text in enumerate(told(failure)):
        say(text, "failure" if number == 0 else "wait" if text.endswith("<<<") else "")
    if options["drawn"]:
        for text in mermaid(failure):
            say(text)
    say(f"  replay:  {line}")


def _document(found: Hunt, failures: Sequence[Failure]) -> dict[str, Any]:
    return {
        "seeds": found.seeds, "flows": found.flows, "events": found.events, "digest": found.digest,
        "struck": dict(found.struck), "missing": found.missing,
        "missing_ends": found.missing_ends, "missing_undos": found.missing_undos, "unsteady": found.unsteady,
        "foreign": found.foreign, "ways": [{"name": each.name, "why": each.why or None} for each in found.ways],
        "failures": [
            {
                "seed": each.seed, "oracle": each.violations[0].oracle, "text": each.violations[0].text,
                "code": each.code or None,
                "place": each.violations[0].place, "deviations": each.deviations, "runs": each.runs,
                "story": told(each), "mermaid": mermaid(each),
            }
            for each in failures
        ],
    }  # fmt: skip


# what was kept


def _kept_before(scene: Scene, folder: Path, options: dict[str, Any]) -> dict[Path, Failure]:
    """Failures of before that are not mended, by their files. One that is mended is kept no more."""
    found: dict[Path, Failure] = {}
    if not folder.is_dir():
        return found
    for file in sorted(folder.glob(f"{scene.choreography.name}-*.json")):
        if not re.fullmatch(r"\d+-[a-z-]+", file.stem.removeprefix(f"{scene.choreography.name}-")):
            continue  # of another choreography, whose name begins alike
        try:
            kept = read_kept(file, scene)
        except NotThisFailure as error:
            note(str(error))
            continue
        failure = replay(kept, _scene(scene.choreography, options))
        if failure.violations:
            found[file] = failure
        elif kept.oracle in scene.ignored:
            note(f"{file.name} is not asked: --ignore {kept.oracle}")
        elif kept.deviations and not failure.ending.deviations:
            note(f"{file}: nothing of it happens here: another --ports or workload, or changed code; remove it if so")
        else:
            file.unlink()
            note(f"{file.name} does not fail any more")
    return found


def _replay(scene: Scene, file: Path, options: dict[str, Any], spec: str) -> int:
    if (data := _flow_in(file)) is not None:

        def run() -> int:
            return replay_recorded(data, scene.choreography, as_json=options["as_json"])

        return _debugged(scene, run) if options["pdb"] else run()
    kept = read_kept(file, scene)
    failure = _debugged(scene, lambda: replay(kept, scene)) if options["pdb"] else replay(kept, scene)
    if not failure.violations:
        if kept.deviations and not failure.ending.deviations:
            raise Refusal(2, f"{file}: nothing of it happens here, so it says nothing: is the workload another one?")
        struck = f"{len(failure.ending.deviations)} of its {counted(len(kept.deviations), 'deviation')} struck"
        say(f"{file} does not fail any more: {struck}, and nothing broke", "success")
        return 0
    if options["as_json"]:
        say_json("simulate", _document(Hunt(scene), [failure]))
    else:
        _tell_story(failure, f"{_line(file, spec, options)} --pdb", options)
    return 1


def _flow_in(file: Path) -> bytes | None:
    try:
        data = file.read_bytes()
        return data if is_recorded(json.loads(data)) else None
    except (OSError, ValueError):
        return None


def _debugged(scene: Scene, run: Any) -> Any:
    import pdb  # noqa: T100 - this is what was asked for

    class Debugger(pdb.Pdb):
        def set_quit(self) -> None:  # an exception would be an error of the reaction, which is tried again
            sys.stdout.flush()
            os._exit(1)

    debugger = Debugger()
    debugger.cmdqueue.append("continue")  # on to the first reaction
    for reaction in scene.choreography.reactions.values():
        code = reaction.function.__code__
        first = min(line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno)
        debugger.set_break(code.co_filename, first)
    return debugger.runcall(run)


# the same seeds in another program


def _trace(scene: Scene, options: dict[str, Any]) -> int:
    endings = [World(scene, seed).run() for seed in range(options["seed"], options["seed"] + options["seeds"])]
    say_json("trace", {"worlds": [{"seed": e.seed, "digest": e.digest, "trace": e.trace} for e in endings]})
    return 0


def _elsewhere(found: Hunt, spec: str, options: dict[str, Any]) -> list[str]:
    """The first seeds, in another program with other hashes: what differs depends on one of these."""
    count = min(_ELSEWHERE, found.seeds)
    line = [sys.executable, "-m", "callboard", "simulate", *([spec] if spec else []), "--trace", "--json"]
    line += ["--seed", str(options["seed"]), "--seeds", str(count), "--flows", str(options["flows"])]
    line += ["--ledgers", options["ledgers"], "--faults", options["faults"] or "none"]
    line += ["--swarm" if options["swarm"] else "--no-swarm", *_given(options)]
    hashes = "1" if os.environ.get("PYTHONHASHSEED", "0") == "0" else "0"
    environment = {**os.environ, "PYTHONHASHSEED": hashes}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if ran.returncode != 0:
        return [f"a second program could not live these seeds: {ran.stderr.strip()[-500:]}"]
    told: list[str] = []
    for world in json.loads(ran.stdout)["worlds"]:
        here = World(found.scene, world["seed"]).run()
        pairs = zip(here.trace, world["trace"], strict=False)
        if here.digest != world["digest"]:
            one, other = next(((a, b) for a, b in pairs if a != b), ("(longer)", "(shorter)"))
            told.append(
                f"seed {world['seed']} is not the same in another program:\n    {one}\n    {other}\n"
                "  likely: the order of a set of texts, hash(), or something outside of the world (a file, os.getpid)"
            )
    return told
