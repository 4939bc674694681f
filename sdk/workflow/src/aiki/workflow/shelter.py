"""Code that comes to its end, whoever is cancelled meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["sheltered"]

Result = TypeVar("Result")


async def sheltered(coroutine: Coroutine[Any, Any, Result], name: str) -> Result:
    """Its result. A cancellation of the caller waits until it has ended, and is raised then: that of the run, and those by its own code."""
    task = asyncio.create_task(coroutine, name=name)
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            interruption = error
        except Exception:
            break
    if interruption is not None:
        task.cancelled() or task.exception()  # it has been looked at
        raise interruption
    return task.result()
