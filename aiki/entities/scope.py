"""What a handler may do to others during one call. Tells and reminders take effect when the call's outcome is committed, and only then."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from aiki.types.actor_messages import Call, Path
from aiki.types.errors import ActorDeadlock, DefinitionError

__all__ = ["PlannedReminder", "PlannedTell", "Scope"]


class PlannedTell(NamedTuple):
    """A message to another actor."""

    actor: str
    handler: str
    payload: bytes


class PlannedReminder(NamedTuple):
    """A reminder to set under a name."""

    due: float
    every: float | None
    handler: str
    payload: bytes


class Asker(Protocol):
    """Sends asks for a handler that waits for their answers."""

    def __call__(self, actor: str, handler: str, payload: bytes, *, id: str, timeout: float | None) -> Awaitable[bytes]: ...


class Scope:
    """One call of one handler. After the call it is closed: what comes late is refused."""

    def __init__(self, call: Call, now: float, asker: Asker, paths: Callable[[], tuple[Path, ...]], *, read_only: bool) -> None:
        self.call = call
        self.now = now
        self.read_only = read_only
        self.tells: list[PlannedTell] = []
        self.reminders: dict[str, PlannedReminder | None] = {}
        """By name; None: to be cancelled."""
        self._asker = asker
        self._paths = paths
        self._asked = 0
        self._open = True

    @property
    def effects(self) -> bool:
        """Whether anything is owed because of this call."""
        return bool(self.tells or self.reminders)

    def close(self) -> None:
        """The call is over."""
        self._open = False

    async def ask(self, actor: str, handler: str, payload: bytes, *, timeout: float | None) -> bytes:
        """Ask another actor, now. `ActorDeadlock` when it waits, be it through others, for this call."""
        self._check("ask")
        for path in self._paths():
            if actor in path:
                chain = (*path[path.index(actor) :], actor)
                raise deadlock(chain)
        self._asked += 1
        # The same when the handler runs again: what was asked once is asked once.
        return await self._asker(actor, handler, payload, id=f"{self.call.actor}/{self.call.id}/{self._asked}", timeout=timeout)

    def tell(self, actor: str, handler: str, payload: bytes) -> None:
        """Send a message when this call is committed."""
        self._check("tell", changes=True)
        self.tells.append(PlannedTell(actor, handler, payload))

    def remind(self, name: str, reminder: PlannedReminder | None) -> None:
        """Set a reminder, or (None) cancel it, when this call is committed."""
        self._check("remind", changes=True)
        self.reminders[name] = reminder

    def _check(self, what: str, *, changes: bool = False) -> None:
        if not self._open:
            raise DefinitionError(f"{what}: the call of {self.call.handler!r} is over, and its context with it", where=what)
        if changes and self.read_only:
            raise DefinitionError(f"{what}: {self.call.handler!r} is read-only, it changes nothing", where=what)


def deadlock(chain: Path) -> ActorDeadlock:
    """The error that names the circle, which begins and ends with the same actor."""
    text = " → ".join(chain)
    return ActorDeadlock(f"these actors wait for each other: {text}. Use `tell` for one of the calls.", chain=chain)
