"""How tests get connections: each call makes one, and the fixture of that name closes them."""

from collections.abc import Awaitable, Callable

from aiki.transport import Transport

Connect = Callable[[], Awaitable[Transport]]
