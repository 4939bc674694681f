"""What a test does to a run at an instant that is to come: `env.after(timedelta(days=3)).send(handle, paid, Payment(…))`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from aiki.client import Event, RunHandle
from aiki.clock import Clock

__all__ = ["Injection", "Moment"]

Payload = TypeVar("Payload")
Answer = TypeVar("Answer")

Begin = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


class Injection(Generic[Answer]):
    """Something that is to happen. `happened` tells whether it has, `wait` waits for it."""

    def __init__(self, work: "asyncio.Task[Answer]") -> None:
        self._work = work
        self._awaited = False

    async def wait(self) -> Answer:
        """Its answer, once it has happened. Raises what it has raised; what nobody waits for is raised when the environment is left."""
        self._awaited = True
        return await asyncio.shield(self._work)

    @property
    def happened(self) -> bool:
        """Whether it was done, or has failed."""
        return self._work.done()

    def drop(self) -> BaseException | None:
        """It is not to happen any more; answers what it has raised and nobody has heard of."""
        if not self._work.done():
            self._work.cancel()
            return None
        return None if self._awaited or self._work.cancelled() else self._work.exception()


class Moment:
    """An instant. Each method returns at once, and does its work when that has come, in real time as in virtual time.

    What is still to come when the environment is left does not happen.
    """

    def __init__(self, clock: Clock, at: float, begin: Begin, injections: list[Injection[Any]]) -> None:
        self._clock = clock
        self._at = at
        self._begin = begin
        self._injections = injections

    def send(self, run: RunHandle[Any], event: Event[Payload], payload: Payload, *, idempotency_key: str | None = None) -> Injection[None]:
        """Send an event, as `run.send` does. `PayloadError` at once."""
        event.encode(payload)
        return self.do(lambda: run.send(event, payload, idempotency_key=idempotency_key))

    def update(self, run: RunHandle[Any], name: str, payload: Any = None, *, idempotency_key: str | None = None) -> Injection[Any]:
        """Update the run, as `run.update` does; the injection's answer is the update's."""
        return self.do(lambda: run.update(name, payload, idempotency_key=idempotency_key))

    def cancel(self, run: RunHandle[Any], reason: str = "") -> Injection[None]:
        """Cancel the run."""
        return self.do(lambda: run.cancel(reason))

    def terminate(self, run: RunHandle[Any], reason: str = "") -> Injection[None]:
        """End the run without asking its code."""
        return self.do(lambda: run.terminate(reason))

    def pause(self, run: RunHandle[Any], reason: str = "") -> Injection[None]:
        """Pause the run."""
        return self.do(lambda: run.pause(reason))

    def resume(self, run: RunHandle[Any]) -> Injection[None]:
        """End the run's pause."""
        return self.do(run.resume)

    def wake(self, run: RunHandle[Any]) -> Injection[None]:
        """End the run's sleep."""
        return self.do(run.wake)

    def do(self, function: Callable[[], Awaitable[Answer]]) -> Injection[Answer]:
        """Call an async function: `env.after(60).do(env.crash_worker)`."""

        async def later() -> Answer:
            await asyncio.sleep(self._at - self._clock.now())
            return await function()

        injection: Injection[Answer] = Injection(self._begin(later()))
        self._injections.append(injection)
        return injection
