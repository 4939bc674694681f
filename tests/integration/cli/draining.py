"""A task that leaves a line for each time that it is run, for the test of the drain."""

import asyncio
import os
from pathlib import Path

from aiki.sdk import Context, task, workflow

__all__ = ["note", "notes"]


@task(name="note")
async def note(number: int) -> int:
    await asyncio.sleep(0.02)
    with Path(os.environ["AIKI_NOTES"]).open("a") as file:  # noqa: ASYNC230 - one short line
        file.write(f"{number}\n")
    return number


@workflow(name="notes")
async def notes(ctx: Context, first: int) -> int:
    total = 0
    for number in range(first, first + 10):
        total += await note.run(ctx, number)
    return total
