"""What is different in a newer version of contracts, and who breaks."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from callboard.contracts.compatibility import taken_by, unread
from callboard.contracts.file import ContractFile, FieldSaid, FlowSaid, ReactionSaid, names_in
from callboard.contracts.paths import nearest_ending, steps_to
from callboard.contracts.reading import read


class Change(Struct, frozen=True):
    """One difference. If it `breaks` somebody, these reactions (by path) or flows are named with file and line."""

    about: str
    text: str
    breaks: tuple["Victim", ...] = ()


class Victim(Struct, frozen=True):
    """Who breaks, where it is written, and how."""

    name: str
    file: str
    line: int
    how: str


def difference(before: ContractFile, after: ContractFile) -> list[Change]:
    """All changes, what breaks somebody first."""
    found = [
        *_events(before, after),
        *_partners(before, after),
        *_reactions(before, after),
        *_states(before, after),
        *_flows(before, after),
    ]
    return sorted(found, key=lambda each: not each.breaks)


def _victims(file: ContractFile, paths: Iterable[str], how: str) -> tuple[Victim, ...]:
    return tuple(Victim(each, file.reactions[each].file, file.reactions[each].line, how) for each in sorted(paths))


def _readers(file: ContractFile, event: str) -> list[str]:
    return [path for path in file.reactions if event in taken_by(file, path)]


def _events(before: ContractFile, after: ContractFile) -> Iterator[Change]:
    for name in sorted(before.events.keys() | after.events.keys()):
        if name not in after.events or name not in before.events:
            yield Change(name, "is gone" if name in before.events else "is new")
            continue
        old, new = before.events[name], after.events[name]
        changed = list(_fields(old.fields, new.fields))
        if old.made_of != new.made_of or any(before.values.get(each) != after.values.get(each) for each in new.made_of):
            changed.append("what its fields are made of changed")
        late = list(unread(old, before.values, new, after.values))
        early = list(unread(new, after.values, old, before.values))
        breaks = (
            _victims(after, _readers(after, name), f"cannot read what was said before: {'; '.join(late)}")
            if late
            else ()
        )
        if early:
            how = f"cannot read it until it is upgraded: {'; '.join(early)}"
            breaks += _victims(before, _readers(before, name), how)
        if changed:
            yield Change(name, "; ".join(changed), breaks)
        if old.failure != new.failure:
            how = "takes it for the opposite: a failure says that no effect was taken"
            word = "is a failure now" if new.failure else "is no failure any more"
            yield Change(name, word, _victims(after, _readers(after, name), how))
        for word, one, other in (("key", old.key, new.key), ("version", old.version, new.version)):
            if one != other:
                yield Change(name, f"{word}= was {one}, and is {other}")


def _fields(old: dict[str, FieldSaid], new: dict[str, FieldSaid]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"`{name}: {new[name].type}` was added{' without a default' if new[name].required else ''}"
        elif name not in new:
            yield f"`{name}` was removed"
        elif old[name].type != new[name].type:
            yield f"`{name}` was {old[name].type}, and is {new[name].type}"
        elif old[name].required != new[name].required:
            yield f"`{name}` {'lost' if new[name].required else 'has got'} its default"


def _hearers(file: ContractFile, event: str) -> list[str]:
    """The reactions that it makes run, or that wait for it, and the flows that it ends."""
    waits = {path: names_in(it.options.get("needs")) for path, it in file.reactions.items()}
    found = [path for path in file.reactions if event in taken_by(file, path) or event in waits[path]]
    return found + [
        f"({name})" for name, it in file.flows.items() if event in (*names_in(it.succeeds), *names_in(it.fails))
    ]


def _emitters(file: ContractFile, event: str) -> list[str]:
    found = [path for path, it in file.reactions.items() if event in names_in(it.returns)]
    from_outside = event in file.incoming or any(event == it.starts for it in file.flows.values())
    return [*found, "(outside)"] if from_outside else found


def _partners(before: ContractFile, after: ContractFile) -> Iterator[Change]:
    """Events that lose the last one who hears them, or who says them."""
    for name in sorted(after.events):
        emitters, hearers = _emitters(after, name), _hearers(after, name)
        if emitters and not hearers and _hearers(before, name):
            paths = [each for each in emitters if each in after.reactions]
            lost = ", ".join(_hearers(before, name))
            yield Change(
                name, "lost its hearer", _victims(after, paths, f"says it, and nobody hears it any more ({lost} did)")
            )
        if hearers and not emitters and (sayers := _emitters(before, name)):
            paths = [each for each in hearers if each in after.reactions]
            how = f"waits for it, and nobody says it any more ({', '.join(sayers)} did)"
            yield Change(name, "lost its emitter", _victims(after, paths, how) + _ends_lost(after, hearers, how))


def _ends_lost(file: ContractFile, hearers: list[str], how: str) -> tuple[Victim, ...]:
    flows = [each.strip("()") for each in hearers if each.startswith("(")]
    return tuple(Victim(f"({each})", file.flows[each].file, file.flows[each].line, how) for each in flows)


def _reactions(before: ContractFile, after: ContractFile) -> Iterator[Change]:
    renamed = {
        f"{_service(path)}.{it.options['was']}": path for path, it in after.reactions.items() if "was" in it.options
    }
    for path in sorted(before.reactions.keys() | after.reactions.keys()):
        if path not in after.reactions:
            word = f"is {renamed[path]} now" if path in renamed else "is gone"
            yield Change(path, word, () if path in renamed else _undone_no_more(before, after, path))
        elif path not in before.reactions:
            yield Change(path, "is new")
        elif changed := list(_told(before.reactions[path], after.reactions[path])):
            yield Change(path, "; ".join(changed))


def _service(path: str) -> str:
    return path.partition(".")[0]


def _undone_no_more(before: ContractFile, after: ContractFile, path: str) -> tuple[Victim, ...]:
    """What a compensation that is gone has undone, if nothing else undoes it."""
    undone = before.reactions[path].options.get("compensates")
    left = [each for each, it in after.reactions.items() if it.options.get("compensates") == undone]
    what = f"{_service(path)}.{undone}"
    if undone is None or what not in after.reactions or any(_service(each) == _service(path) for each in left):
        return ()
    return _victims(after, [what], "takes an effect that nothing undoes any more")


def _told(old: ReactionSaid, new: ReactionSaid) -> Iterator[str]:
    for word, roles in (("hears", {"trigger", "gathered"}), ("is given", {"given", "maybe"})):
        was, now = ({n for it in each.parameters.values() if it.role in roles for n in it.names} for each in (old, new))
        if was != now:
            yield f"{word} {_moved(was, now)}"
    was, now = set(names_in(old.returns)), set(names_in(new.returns))
    if was != now:
        yield f"may emit {_moved(was, now)}"
    elif old.returns != new.returns:
        yield "emits the same events in another form"
    for name in sorted(old.options.keys() | new.options.keys()):
        if old.options.get(name) != new.options.get(name):
            yield f"{name}= was {old.options.get(name)}, and is {new.options.get(name)}"


def _moved(was: set[str], now: set[str]) -> str:
    return ", ".join([*(f"+{each}" for each in sorted(now - was)), *(f"-{each}" for each in sorted(was - now))])


def _states(before: ContractFile, after: ContractFile) -> Iterator[Change]:
    for name in sorted(before.states.keys() | after.states.keys()):
        if name not in after.states or name not in before.states:
            yield Change(name, "is gone" if name in before.states else "is new")
            continue
        old, new = before.states[name], after.states[name]
        why = list(unread(old, before.values, new, after.values)) if old.version == new.version else []
        takers = [
            path
            for path, it in after.reactions.items()
            if any(each.role == "state" and name in each.names for each in it.parameters.values())
        ]
        how = f"cannot read the rows that are saved: {'; '.join(why)}. Count shape= up, and give upcast="
        if changed := list(_fields(old.fields, new.fields)):
            yield Change(name, "; ".join(changed), _victims(after, takers, how) if why else ())


def _flows(before: ContractFile, after: ContractFile) -> Iterator[Change]:
    for name in sorted(before.flows.keys() | after.flows.keys()):
        if name not in after.flows:
            old = before.flows[name]
            how = "nobody says any more how it ended"
            yield Change(f"({name})", "is gone", (Victim(f"({name})", old.file, old.line, how),))
        elif name not in before.flows:
            yield Change(f"({name})", "is new")
        else:
            yield from _flow(name, before, after)


def _flow(name: str, before: ContractFile, after: ContractFile) -> Iterator[Change]:
    old, new = before.flows[name], after.flows[name]
    was, now = _reached(before, name), _reached(after, name)
    for verdict in ("succeed", "fail"):
        if was.get(verdict) and not now.get(verdict):
            how = f"can no longer {verdict}: nothing leads to {_events_told(new, verdict)}"
            yield Change(f"({name})", "lost a completion", (Victim(f"({name})", new.file, new.line, how),))
    for word in ("key", "starts", "succeeds", "fails", "timeout", "home"):
        one, other = getattr(old, word), getattr(new, word)
        if one != other:
            how = "flows that are open are not found by it" if word == "key" else ""
            breaks = (Victim(f"({name})", new.file, new.line, how),) if how else ()
            yield Change(f"({name})", f"{word}= was {one}, and is {other}", breaks)


def _events_told(flow: FlowSaid, verdict: str) -> str:
    return " or ".join(names_in(flow.succeeds if verdict == "succeed" else flow.fails)) or "it, since fails= is gone"


def _reached(file: ContractFile, name: str) -> dict[str, bool]:
    choreography = read([file])
    flow = choreography.flows[name]
    steps = steps_to(choreography, flow)
    return {
        "succeed": nearest_ending(flow.succeeds, steps) is not None,
        "fail": nearest_ending(flow.fails, steps) is not None,
    }
