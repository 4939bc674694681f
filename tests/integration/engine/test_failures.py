"""What is left of an exception in another process."""

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from aiki.sdk import Context, TaskFailed, WorkflowFailed, workflow
from tests.integration.engine.place import Place
from tests.integration.engine.raising import raises

ROOT = Path(__file__).resolve().parents[3]
SOON = 20.0


async def test_an_error_crosses_processes_as_text(place: Place) -> None:
    """From the task's process to the workflow's, and from there to the client's; the class is one that only the first has."""

    @workflow(name="caller")
    async def caller(ctx: Context, catch: bool) -> dict[str, str | None]:
        try:
            return {"result": await raises.run(ctx, "pen")}
        except TaskFailed as failed:
            if not catch:
                raise
            error = failed.error
            return {"type": error.type, "message": error.message, "traceback": error.traceback, "cause": error.cause.type}

    await place.worker(caller)
    command = [sys.executable, "-m", "tests.integration.engine.raising", place.server.url, place.region]
    with subprocess.Popen(  # noqa: ASYNC220
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            seen = await (await caller.enqueue(place.client, True)).wait_for_completion(timeout=SOON)
            assert (seen["type"], seen["message"], seen["cause"]) == ("__main__.OutOfStock", "pen is out of stock", "KeyError")
            assert seen["traceback"] is not None and "in deeper" in seen["traceback"] and "raise OutOfStock(what" in seen["traceback"]
            handle = await caller.enqueue(place.client, False)
            with pytest.raises(WorkflowFailed, match="out of stock") as failed:
                await handle.wait_for_completion(timeout=SOON)
            chain = []
            error = failed.value.error
            while error is not None:
                chain.append(error.type.rpartition(".")[2])
                assert error.traceback
                error = error.cause
            assert chain == ["TaskFailed", "OutOfStock", "KeyError"]
            step = (await handle.describe()).steps[0]
            assert step.error is not None and step.error.cause is not None
            assert (step.error.type, step.error.cause.message, step.worker) == ("__main__.OutOfStock", "'pen'", "raising")
        finally:
            process.kill()


def test_nothing_is_pickled() -> None:
    """Neither Aiki's code nor what it writes: no module of ours imports anything of the kind."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
    sources = [file for folder in ("aiki", "sdk", "services") for file in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 200
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert forbidden.isdisjoint(name.partition(".")[0] for name in names), source
