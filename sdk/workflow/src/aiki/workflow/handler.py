"""What answers a query, or handles an update: from JSON to JSON."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiki.schema import is_claim, read_signature
from aiki.types.errors import DefinitionError
from aiki.workflow.variables import Variables

__all__ = ["Handler"]


class Handler:
    """A function of the workflow's variables and, if it wants, a payload. `is_async`: whether it must be; None: as it likes."""

    def __init__(self, function: Callable[..., Any], what: str, scope: Mapping[str, Any], *, is_async: bool | None) -> None:
        if is_async is False and inspect.iscoroutinefunction(function):
            raise DefinitionError(f"{what} must be a plain `def`: it may not wait", where=what)
        self._function: Callable[..., Any] = function
        self._signature = read_signature(function, what, skip=1, most=1, names=scope)
        self._input = f"payload of {what}"
        self._result = f"result of {what}"

    def answer(self, variables: Variables, payload: bytes) -> bytes:
        """Call it, at once."""
        return self._signature.result.encode(self._call(variables, payload), self._result)

    async def handle(self, variables: Variables, opened: Callable[[bytes], Awaitable[bytes]], payload: bytes) -> bytes:
        """Call it, and wait for it. `opened` makes a payload of what was recorded."""
        value = self._call(variables, await opened(payload) if is_claim(payload) else payload)
        return self._signature.result.encode(await value if inspect.isawaitable(value) else value, self._result)

    def _call(self, variables: Variables, payload: bytes) -> Any:
        if self._signature.positional:
            return self._function(variables, self._signature.payload.decode(payload, self._input))
        return self._function(variables)
