"""Whether what one version of a contract writes can be read by another."""

from collections.abc import Iterator, Mapping

from callboard.contracts.file import ContractFile, RowSaid, names_in

Rows = Mapping[str, RowSaid]


def unread(written: RowSaid, values: Rows, reader: RowSaid, known: Rows) -> Iterator[str]:
    """Why a reader of one version cannot read what is written in another, field by field; the values in it too."""
    for name, field in reader.fields.items():
        if name not in written.fields:
            if field.required:
                yield f"`{name}` is missing"
        elif not fits(written.fields[name].type, field.type):
            yield f"`{name}` is {written.fields[name].type}, not {field.type}"
    for name in sorted({*written.made_of} & {*reader.made_of}):
        yield from (f"{why} in {name}" for why in unread(values[name], values, known[name], known))


def fits(written: str, read: str) -> bool:
    """Every value of the one type is one of the other, as far as their names tell."""
    if written == read or read in ("Any", "object") or (written, read) == ("int", "float"):
        return True
    if written.startswith("Literal[") and read.startswith("Literal["):
        return _words(written) <= _words(read)
    ways = written.split(" | ")
    if "[" in read + written and len(ways) > 1:  # a union inside of something is compared as it stands
        return False
    return all(way in read.split(" | ") for way in ways)


def _words(literal: str) -> set[str]:
    return {each.strip() for each in literal.removeprefix("Literal[").removesuffix("]").split(",")}


def unread_event(name: str, writer: ContractFile, reader: ContractFile) -> list[str]:
    """Why `reader` cannot read the event that `writer` emits; nothing if either does not know it."""
    if name not in writer.events or name not in reader.events:
        return []
    return list(unread(writer.events[name], writer.values, reader.events[name], reader.values))


def emitted(file: ContractFile, service: str) -> set[str]:
    """The events that a service of the file says."""
    return {name for path, it in file.reactions.items() if _of(path, service) for name in names_in(it.returns)}


def taken(file: ContractFile, service: str) -> dict[str, list[str]]:
    """The events that a service reads, and by which reactions."""
    found: dict[str, list[str]] = {}
    for path in file.reactions:
        if _of(path, service):
            for name in taken_by(file, path):
                found.setdefault(name, []).append(path)
    return found


def taken_by(file: ContractFile, path: str) -> set[str]:
    """The events that a reaction reads, for itself or inside of a built-in one."""
    parameters = file.reactions[path].parameters.values()
    names = {
        name for each in parameters if each.role in ("trigger", "given", "maybe", "gathered") for name in each.names
    }
    return {name.rpartition("[")[2].rstrip("]") if name.startswith("callboard.") else name for name in names}


def _of(path: str, service: str) -> bool:
    return path.partition(".")[0] == service
