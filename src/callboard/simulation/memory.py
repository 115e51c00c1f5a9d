"""What modules keep in variables: it is the same at the beginning of each world, and dies with its worker."""

from __future__ import annotations

import copy
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from linecache import getlines
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callboard.choreography import Choreography
    from callboard.service import Service

_KEPT: tuple[type[Any], ...] = (dict, list, set, bytearray, Counter, OrderedDict, defaultdict, deque)
_PLAIN = (int, float, str, bytes, bool, tuple, frozenset, type(None))


class Memory:
    """The variables of the modules in which the reactions of a choreography are written."""

    def __init__(self, choreography: Choreography) -> None:
        self._modules: dict[str, set[str]] = {}  # module -> the services written in it
        for path, reaction in choreography.reactions.items():
            self._modules.setdefault(reaction.function.__module__, set()).add(path.partition(".")[0])
        self._first = {name: _copy(name) for name in self._modules}
        self.changed: dict[str, str] = {}  # "module.name" -> the module's services

    def __enter__(self) -> None:
        self.reset(None)
        self.changed.clear()

    def __exit__(self, *_: object) -> None:
        self.look()
        self.reset(None)

    def look(self) -> None:
        """Note what is not as it was in the beginning."""
        for module, first in self._first.items():
            now = vars(sys.modules[module])
            for name, value in first.items():
                there = now.get(name)
                if there is not value and there != value:
                    self.changed[f"{module}.{name}"] = ", ".join(sorted(self._modules[module]))

    def place_of(self, variable: str) -> str:
        """File and line where this variable ("module.name") is made, if that can be seen."""
        module, _, name = variable.rpartition(".")
        file = sys.modules[module].__file__ or ""
        made = re.compile(rf"{re.escape(name)}\s*[:=]")
        return next((f"{file}:{number}" for number, line in enumerate(getlines(file), 1) if made.match(line)), "")

    def reset(self, services: Sequence[Service] | None) -> None:
        """As in the beginning: the modules of these services (None: all)."""
        if services is not None:
            self.look()
        gone = None if services is None else {service.name for service in services}
        for module, of in self._modules.items():
            if gone is None or of <= gone:
                _restore(module, self._first[module])


def _copy(module: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    value: Any
    for name, value in vars(sys.modules[module]).items():
        if name.startswith("__") or not isinstance(value, (*_KEPT, *_PLAIN)):
            continue
        try:
            found[name] = copy.deepcopy(value) if isinstance(value, _KEPT) else value
        except Exception:  # noqa: BLE001, S112 - what cannot be copied is left as it is
            continue
    return found


def _restore(module: str, first: dict[str, Any]) -> None:
    space = vars(sys.modules[module])
    for name, value in first.items():
        there: Any = space.get(name)
        if there == value:
            continue
        if isinstance(there, _KEPT) and type(there) is type(value):
            _fill(there, copy.deepcopy(value))
        else:
            space[name] = copy.deepcopy(value)


def _fill(there: Any, value: Any) -> None:
    """The same object, with what it held: others may have imported it."""
    there.clear()
    (there.update if hasattr(there, "update") else there.extend)(value)
