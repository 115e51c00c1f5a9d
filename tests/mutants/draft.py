"""A choreography taken apart, so that one thing of it can be changed and the rest put together again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, Signature, signature
from types import FunctionType, NoneType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from callboard import Choreography, Flow, Service
from callboard.contract import AllOf, EventShape, Many, Nothing, OneOf, Shape


@dataclass
class Step:
    """One reaction: its function, its annotations as objects, its options."""

    service: str
    function: Callable[..., Any]
    hints: dict[str, Any]
    options: dict[str, Any]
    body: Callable[..., Any] | None = None  # instead of the function's own

    @property
    def name(self) -> str:
        return self.function.__name__


@dataclass
class Draft:
    """Everything that was declared."""

    name: str
    services: list[str]
    steps: dict[str, Step]
    flows: list[dict[str, Any]]
    incoming: list[Any] = field(default_factory=list[Any])
    outgoing: list[Any] = field(default_factory=list[Any])


def annotation(shape: Shape) -> Any:
    """The shape as it would be written."""
    match shape:
        case EventShape(type=one):
            return one.annotation
        case Nothing():
            return None
        case OneOf(of=parts):
            return Union[tuple(map(annotation, parts))]  # noqa: UP007 - of a tuple
        case AllOf(of=parts):
            return cast("Any", tuple)[tuple(map(annotation, parts))]
        case Many(of=part):
            return cast("Any", list)[annotation(part)]


def draft(choreography: Choreography) -> Draft:
    """The choreography, taken apart."""
    steps = {
        path: Step(each.service, each.function, get_type_hints(each.function, include_extras=True), dict(each.options))
        for path, each in choreography.reactions.items()
    }
    flows = [
        {
            "name": each.name,
            "key": each.key,
            "starts": each.start.annotation,
            "succeeds": annotation(each.succeeds),
            "fails": None if each.fails is None else annotation(each.fails),
            "timeout": each.timeout,
        }
        for each in choreography.flows.values()
    ]
    said = [[kind.annotation for kind in kinds] for kinds in (choreography.incoming, choreography.outgoing)]
    return Draft(choreography.name, list(choreography.services), steps, flows, *said)


def built(made: Draft) -> Choreography:
    """The draft, put together."""
    services = {name: Service(name) for name in made.services}
    functions: dict[Any, Any] = {}
    todo = list(made.steps.values())
    for step in sorted(todo, key=lambda it: it.options.get("compensates") is not None):
        options = dict(step.options)
        if options.get("compensates") is not None:
            options["compensates"] = functions[options["compensates"]]
        functions[step.function] = copied(step)
        services[step.service].reaction(**options)(functions[step.function])
    flows = [Flow(**each) for each in made.flows]
    return Choreography(
        made.name, *services.values(), flows=flows, incoming=one_of(made.incoming), outgoing=one_of(made.outgoing)
    )


def copied(step: Step) -> Any:
    """The function, with the annotations of the step."""
    known = cast("FunctionType", step.body or step.function)
    copy = FunctionType(known.__code__, known.__globals__, known.__name__)
    copy.__annotations__ = dict(step.hints)
    written = dict.fromkeys([*signature(known).parameters, *step.hints])  # in their order, then what was added
    names = [name for name in written if name in step.hints and name != "return"]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=step.hints[name]) for name in names]
    copy.__dict__["__signature__"] = Signature(parameters, return_annotation=step.hints.get("return"))
    return copy


def one_of(kinds: Sequence[Any]) -> Any:
    """`A | B`; None for none."""
    return Union[tuple(kinds)] if kinds else None  # noqa: UP007 - of a tuple


def members(annotated: Any) -> list[Any]:
    """What `A | B` is made of."""
    is_union = get_origin(annotated) is Union or type(annotated).__name__ == "UnionType"
    found = list(get_args(annotated)) if is_union else [annotated]
    return [None if each is NoneType else each for each in found]
