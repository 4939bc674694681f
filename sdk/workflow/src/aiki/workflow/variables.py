"""The variables of a run's code, as queries and updates see them."""

from collections.abc import Coroutine
from typing import Any

__all__ = ["Variables"]


class Variables:
    """The local variables of the workflow's function by name: `state.total`. They cannot be assigned, but what they hold can be changed.

    An `AttributeError` for one that has no value yet.
    """

    __slots__ = ("_coroutine",)

    def __init__(self) -> None:
        object.__setattr__(self, "_coroutine", None)

    def __getattr__(self, name: str) -> Any:
        coroutine: Coroutine[Any, Any, Any] | None = object.__getattribute__(self, "_coroutine")
        frame = None if coroutine is None else coroutine.cr_frame  # type: ignore[attr-defined]
        if frame is not None and name in (variables := frame.f_locals):
            return variables[name]
        raise AttributeError(f"the workflow's function has no variable {name!r} yet")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"variable {name!r} cannot be assigned from outside of the workflow's function; change what it holds")

    def __dir__(self) -> list[str]:
        coroutine = object.__getattribute__(self, "_coroutine")
        return [] if coroutine is None or coroutine.cr_frame is None else sorted(coroutine.cr_frame.f_locals)


def attach(variables: Variables, coroutine: Coroutine[Any, Any, Any]) -> None:
    """From now on they are those of this coroutine."""
    object.__setattr__(variables, "_coroutine", coroutine)
