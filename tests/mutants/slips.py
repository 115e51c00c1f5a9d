"""What somebody forgets in a body: a copy of a function whose source differs in one return."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from itertools import count
from types import ModuleType
from typing import Any, cast

from tests.fragments import Lines
from tests.mutants.draft import Draft

_NUMBERS = count(1)
Change = Callable[[Any], bool]  # whether it found what to change


def never_returns(kind: Any) -> Change:
    """Where it was returned, the work is not done yet."""
    name = getattr(kind, "__name__", None)

    def change(function: Any) -> bool:
        known = Unfinished(name)
        known.visit(function)
        return known.found

    return change


class Unfinished(ast.NodeTransformer):
    """Raises where that was returned."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.found = False

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        match node.value:
            case None | ast.Constant(value=None):
                known = None
            case ast.Call(func=ast.Name(id=known) | ast.Attribute(attr=known)):
                pass
            case _:
                return node
        if known != self.name:
            return node
        self.found = True
        return ast.parse("raise NotImplementedError").body[0]


def may_return_nothing(function: Any) -> bool:
    """It begins with a way out that says nothing."""
    first = function.args.args[0].arg
    function.body.insert(0, ast.parse(f"if not {first}:\n    return None").body[0])
    return True


def slip(path: str, change: Change) -> Callable[[Draft], None]:
    """The defect: the body of this reaction, changed so."""

    def plant(made: Draft) -> None:
        step = made.steps[path]
        source = textwrap.dedent(inspect.getsource(step.function))
        tree = ast.parse(source)
        function = cast("Any", tree.body[0])
        function.decorator_list = []
        if not change(function):
            raise LookupError(path)
        text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        module = ModuleType(f"slip_{next(_NUMBERS)}")
        vars(module).update(step.function.__globals__, __name__=module.__name__)
        Lines(text).exec_module(module)
        step.body = getattr(module, step.name)

    return plant
