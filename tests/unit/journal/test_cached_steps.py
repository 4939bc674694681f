"""A task that may be answered from the cache: looked up by the host first, sent when there is nothing."""

import asyncio
from typing import Any

import msgspec

from aiki.journal import RecordedStep, StepOptions
from aiki.types.cache import CacheUse
from aiki.types.messages import NOT_BEGUN, CacheMissed, CancelStep, StepResult
from aiki.types.retry import Retry
from tests.unit.journal.rig import Rig, Steps

USE = CacheUse("id", 60.0)
STEP = ("look:content", 0)


async def code(steps: Steps) -> Any:
    options = StepOptions(cache=USE)
    outcome = await steps.machine.issue("task", "look", b"1", "content", options, None)
    if outcome.error is not None:
        raise ValueError(outcome.error.message)
    return msgspec.json.decode(outcome.value)


async def then_another(steps: Steps) -> Any:
    found = await code(steps)
    return [found, await steps.call("after")]


def hit(rig: Rig) -> StepResult:
    return StepResult(*STEP, 0, b"7", None, NOT_BEGUN, rig.now, "", cached=True)


def test_a_hit_is_recorded_and_nothing_is_sent() -> None:
    rig = Rig(code)
    assert rig.started == [STEP] and rig.sent == {}
    rig.turn(hit(rig))
    assert rig.output == 7 and rig.sent == {}
    [entry] = rig.entries
    assert isinstance(entry, RecordedStep) and (entry.cached, entry.kind, entry.worker) == (True, "task", "")


def test_a_miss_is_sent_with_what_the_lookup_found() -> None:
    rig = Rig(code)
    rig.turn(CacheMissed(*STEP, 42))
    [step] = rig.sent.values()
    assert step.kind == "task" and step.cache == msgspec.structs.replace(USE, revision=42)
    rig.turn(CacheMissed(*STEP, 43))  # once more
    assert len(rig.sent) == 1
    assert rig.answer("look", 8).output == 8
    assert [entry.cached for entry in rig.entries if isinstance(entry, RecordedStep)] == [False]


def test_a_host_that_dies_while_it_looks_leaves_the_looking_to_the_next() -> None:
    rig = Rig(code).turn()
    rig.reload()
    assert rig.started == [STEP, STEP] and rig.sent == {}
    rig.turn(hit(rig))
    assert rig.output == 7


def test_the_next_host_looks_also_where_the_state_holds_the_step() -> None:
    async def both(steps: Steps) -> Any:
        return await asyncio.gather(code(steps), steps.call("other"))

    rig = Rig(both)
    assert [(step.name, step.kind) for step in rig.state.pending] == [("look", "local"), ("other", "task")]
    rig.reload()
    assert rig.started == [STEP, STEP]
    rig.turn(CacheMissed(*STEP, 1)).reload()
    assert rig.started == [STEP, STEP]  # it has been sent: it is not looked up any more
    rig.answer("look", 1)
    assert rig.answer("other", 2).output == [1, 2]


def test_replay_never_looks() -> None:
    rig = Rig(then_another)
    rig.turn(hit(rig)).reload()
    assert rig.started == [STEP]
    assert rig.answer("after", 1).output == [7, 1]


def test_a_lookup_that_nobody_waits_for_any_more_changes_nothing() -> None:
    rig = Rig(code)
    rig.turn(CancelStep(id="c", name="look"))
    assert rig.status == "failed"
    assert [type(entry).__name__ for entry in rig.state.outbox] == []
    rig.turn(CacheMissed(*STEP, 1), hit(rig))
    assert rig.sent == {} and rig.status == "failed"


def test_a_miss_between_two_attempts_of_the_workflow_is_looked_up_again() -> None:
    async def fails(steps: Steps) -> Any:
        if len(tries) < 1:
            tries.append(1)
            task = asyncio.ensure_future(code(steps))
            await steps.call("breaks")
            return await task
        return await code(steps)

    tries: list[int] = []
    rig = Rig(fails, retry=Retry.fixed(max_attempts=2, delay=5))
    rig.answer("breaks", error="no")
    assert rig.state.retry_at is not None
    rig.turn(CacheMissed(*STEP, 1))
    assert "look" not in [step.name for step in rig.sent.values()]
    rig.turn(after=6)
    assert rig.started == [STEP, STEP]
    rig.turn(CacheMissed(*STEP, 2))
    assert rig.answer("look", 3).output == 3
