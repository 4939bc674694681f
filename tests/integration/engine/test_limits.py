"""Workflow timeouts and deadlines, as a client sees them."""

from typing import Any

import pytest

from aiki.sdk import Context, DefinitionError, Retry, WorkflowTimedOut, workflow
from tests.integration.engine.place import Place


@workflow(name="sleepy", timeout=1.2)
async def sleepy(ctx: Context) -> None:
    await ctx.sleep(3600)


@workflow(name="stubborn", timeout=0.3, deadline=1.5, retry=Retry.fixed(max_attempts=100, delay=0.2))
async def stubborn(ctx: Context) -> None:
    await ctx.sleep(3600)


@pytest.mark.parametrize(("definition", "least"), [(sleepy, 1.2), (stubborn, 1.5)])
async def test_a_run_that_takes_too_long_is_timed_out(place: Place, definition: Any, least: float) -> None:
    await place.worker(definition)
    handle = await definition.enqueue(place.client)
    with pytest.raises(WorkflowTimedOut) as caught:
        await handle.wait_for_completion(timeout=15)
    assert caught.value.fields["error"].code == "workflow_timed_out"
    status = await handle.get_status()
    assert status.state == "timed_out"
    assert status.started_at is not None and status.finished_at is not None
    took = (status.finished_at - status.started_at).total_seconds()
    assert least <= took < least + 2
    assert (status.attempts > 1) == (definition is stubborn)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"deadline": -1}, {"timeout": "1 h"}])
def test_bad_limits(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        workflow(name="w", **options)(sleepy.function)
