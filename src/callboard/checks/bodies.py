"""What the body of a reaction can return, read from its source as far as that goes."""

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from callboard.contract import Contract, Gathered, Given, Trigger, types_in
from callboard.errors import ContractError
from callboard.event import EventType, event_type, is_event
from callboard.shape import allowed, shape_of

Returned = EventType | None  # None: nothing is returned, and said so


class Body:
    """The returns of one function. `is_known` is false where something is returned that only running it tells."""

    def __init__(self, contract: Contract, function: Callable[..., Any]) -> None:
        self._names = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        self._given = {
            each.name: set[Returned](each.types)
            for each in contract.parameters
            if isinstance(each, Trigger | Given | Gathered)
        }
        self._open: set[str] = set()
        self.is_known = True
        self.is_written = False
        self.may_fall_through = True
        self.returned: set[Returned] = set()
        self.listed: set[Returned] = set()  # of these, what was found in a list
        tree = _tree(function)
        if tree is not None:
            nodes = list(_inside(tree))
            self._assigned = _assigned(nodes)
            returns = [node for node in nodes if isinstance(node, ast.Return)]
            self.is_written = bool(returns)
            self.may_fall_through = not _leaves(tree.body[-1])
            for node in returns:
                self.returned |= self._events(node.value)

    def _events(self, node: ast.expr | None) -> set[Returned]:
        match node:
            case None | ast.Constant(value=None):
                return {None}
            case ast.Call(func=made, args=arguments):
                return self._made(made, arguments)
            case ast.IfExp(body=one, orelse=other):
                return self._events(one) | self._events(other)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                found = {event for part in parts for event in self._events(part)} - {None}
                self.listed |= found if isinstance(node, ast.List) else set()
                return found
            case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
                found = self._events(part)
                self.listed |= found
                return found
            case ast.NamedExpr(value=part) | ast.Await(value=part):
                return self._events(part)
            case ast.Name(id=name):
                return self._named(name)
            case _:
                self.is_known = False
                return set()

    def _made(self, made: ast.expr, arguments: list[ast.expr]) -> set[Returned]:
        cls = self._value(made)
        if is_event(cls):
            return {event_type(cls)}
        if cls in (list, tuple) and len(arguments) == 1:
            return self._events(arguments[0])
        try:
            shape = shape_of(get_type_hints(cls)["return"], "")  # of your own function: as it is annotated
        except (ContractError, KeyError, NameError, TypeError):
            self.is_known = False
            return set()
        return {*types_in(shape), *([None] if allowed(shape, []) else [])}

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return None if name in self._assigned else self._names.get(name)
            case ast.Attribute(value=owner, attr=name):
                return getattr(self._value(owner), name, None)
            case _:
                return None

    def _named(self, name: str) -> set[Returned]:
        """Whatever is assigned to the name anywhere, or what the parameter may be."""
        values = self._assigned.get(name)
        if values is None and name in self._given:
            return self._given[name]
        if values is None or name in self._open:
            self.is_known = False
            return set()
        self.is_known &= None not in values
        self._open.add(name)
        found = {event for value in values if value is not None for event in self._events(value)}
        self._open.discard(name)
        return found


_read: dict[str, tuple[list[str], dict[int, Any]]] = {}  # of each file: its lines, and what begins on which


def _tree(function: Callable[..., Any]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function in its file, which is read once for all of them."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if _read.get(code.co_filename, (None,))[0] is not lines:
        _read[code.co_filename] = (lines, _functions("".join(lines)))
    found = _read[code.co_filename][1].get(code.co_firstlineno)
    return found if found is not None and found.name == code.co_name else None


def _functions(source: str) -> dict[int, Any]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return {}
    functions = [each for each in nodes if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {min(one.lineno for one in (*each.decorator_list, each)): each for each in functions}


def _inside(tree: ast.AST) -> Iterator[ast.AST]:
    """All that is in the function, but not in functions in it."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _inside(node)


def _leaves(last: ast.stmt) -> bool:
    """Whether it is certain that nothing comes after this statement."""
    if isinstance(last, ast.If):
        return bool(last.orelse) and _leaves(last.body[-1]) and _leaves(last.orelse[-1])
    if isinstance(last, ast.Match):
        rest = last.cases[-1]
        takes_all = isinstance(rest.pattern, ast.MatchAs) and rest.pattern.pattern is None and rest.guard is None
        return takes_all and all(_leaves(case.body[-1]) for case in last.cases)
    return isinstance(last, ast.Return | ast.Raise)


def _assigned(nodes: list[ast.AST]) -> dict[str, list[ast.expr | None]]:
    """The names of the function, with what is assigned or appended to them; None for what cannot be told."""
    found: dict[str, list[ast.expr | None]] = {}
    told: set[int] = set()
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name) as target], value=value)
                | ast.NamedExpr(target=ast.Name(id=name) as target, value=value)
                | ast.AnnAssign(target=ast.Name(id=name) as target, value=value)
            ):
                told.add(id(target))
                found.setdefault(name, []).extend([value] if value is not None else [])
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]):
                found.setdefault(name, []).append(ast.List([value]))
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="extend" | "insert")):
                found.setdefault(name, []).append(None)
            case _:
                pass
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in told:
            found.setdefault(node.id, []).append(None)  # a loop, a `with`, an unpacking
    return found
