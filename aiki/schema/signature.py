"""What a decorated function takes and returns."""

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiki.schema.choose import schema_for
from aiki.schema.port import Schema
from aiki.types.errors import DefinitionError

__all__ = ["Signature", "read_signature", "result_schema"]


class Signature(NamedTuple):
    """A function's payload and result. `positional` counts the parameters after the leading context; 0: there is no payload."""

    payload: Schema[Any]
    result: Schema[Any]
    positional: int


def read_signature(function: Callable[..., Any], what: str, *, skip: int, most: int, names: Mapping[str, Any] | None = None) -> Signature:
    """Read the annotations of `function`, whose first `skip` parameters are the engine's.

    `what` names it in errors ("task 'charge'"); `most` is the number of parameters allowed after those; `names` resolves annotations that
    were written as strings. A parameter or result without annotation is any JSON value.
    """
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise DefinitionError(f"{what}: it must be a function, not {function!r}", where=what)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what}: its function is a generator; it should return one value", where=what)
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters):
        raise DefinitionError(f"{what}: its function may only take positional parameters", where=what)
    if not skip <= len(parameters) <= skip + most:
        takes = "a context" if skip else "a payload"
        raise DefinitionError(
            f"{what}: its function takes {len(parameters)} parameters; it should take {takes} and at most {skip + most}", where=what
        )
    annotations = _annotations(function, what, names)
    rest = parameters[skip:]
    payload = annotations.get(rest[0].name, Any) if rest else None
    result = annotations.get("return", Any)
    return Signature(schema_for(payload, f"input of {what}"), schema_for(result, f"result of {what}"), len(rest))


def result_schema(function: Callable[..., Any], what: str) -> Schema[Any]:
    """The schema of what a function returns, from its annotation; any JSON value without one."""
    try:
        annotation = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):
        annotation = Any
    return schema_for(annotation, f"result of {what}")


def _annotations(function: Callable[..., Any], what: str, names: Mapping[str, Any] | None) -> dict[str, Any]:
    module = sys.modules.get(function.__module__)
    scope = {**(vars(module) if module else {}), **function.__globals__}
    try:
        return typing.get_type_hints(function, globalns=scope, localns=dict(names or {}), include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{what}: its annotations cannot be resolved ({error}). "
            "Payload types are read at run time: do not hide their import under TYPE_CHECKING.",
            where=what,
        ) from error
    except (TypeError, AttributeError, SyntaxError) as error:
        raise DefinitionError(f"{what}: its annotations cannot be resolved: {error}", where=what) from error
