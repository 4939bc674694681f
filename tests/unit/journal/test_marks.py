"""Marks: changes of the code that runs in flight do not see, and hooks that run once."""

from typing import Any

from aiki.journal import Marked
from aiki.types.retry import Retry
from tests.unit.journal.rig import Rig, Steps


async def old(run: Steps) -> Any:
    return [await run.call("a"), await run.call("b")]


async def new(run: Steps) -> Any:
    first = await run.call("a")
    if run.machine.patched("check"):
        await run.call("check")
    return [first, await run.call("b")]


def test_a_run_that_came_by_before_the_change_goes_on_the_old_way() -> None:
    rig = Rig(old).answer("a", 1)
    rig.reload(new)
    assert rig.names == ["b"]
    assert rig.reload(new).answer("b", 2).output == [1, 2]
    assert not [entry for entry in rig.entries if isinstance(entry, Marked)]


def test_a_run_that_comes_by_after_the_change_takes_the_new_way_for_good() -> None:
    rig = Rig(old)
    rig.reload(new).answer("a", 1)
    assert rig.names == ["check"]
    rig.reload(new).answer("check").reload(new)
    assert rig.names == ["b"]
    assert rig.answer("b", 2).output == [1, 2]
    assert [entry.id for entry in rig.entries if isinstance(entry, Marked)] == ["check"]


def test_a_mark_that_the_code_asks_for_no_more_is_no_contradiction() -> None:
    async def later(run: Steps) -> Any:
        first = await run.call("a")
        await run.call("check")
        return [first, await run.call("b")]

    rig = Rig(new).answer("a", 1).answer("check")
    assert rig.reload(later).answer("b", 2).output == [1, 2]


def test_a_run_that_has_recorded_nothing_came_by_all_the_same() -> None:
    async def before(run: Steps) -> Any:
        return [await run.call("b")]

    async def after(run: Steps) -> Any:
        if run.machine.patched("first"):
            await run.call("a")
        return [await run.call("b")]

    rig = Rig(before)
    rig.turn(after=1)
    assert rig.reload(after).names == ["b"]
    assert rig.answer("b", 2).output == [2]


def test_the_next_attempt_knows_of_the_marks_before() -> None:
    seen: list[bool] = []

    async def code(run: Steps) -> Any:
        seen.append(run.machine.marked_before("begun"))
        run.machine.mark("begun")
        return await run.call("a")

    rig = Rig(code, retry=Retry.fixed(max_attempts=2, delay=10))
    rig.reload().answer("a", error="no", after=1).turn(after=11).reload()
    assert rig.answer("a", 1).output == 1
    assert seen[0] is False and seen[-1] is True
