"""The run machine, one behaviour a test. `Rig.reload` is a crash: the run goes on from its committed bytes alone."""

import asyncio
import contextlib
from typing import Any

import pytest

from aiki.journal import Alarm, OutAlarm, OutDispatch, RecordedStep, Retried, Tick, decode_state, encode_state
from aiki.types.messages import Mail, Start, Wake
from aiki.types.retry import Retry
from tests.unit.journal.rig import T0, Rig, StepError, Steps

AGAIN = Retry.fixed(max_attempts=3, delay=10)


# -- the plain course


async def two_steps(run: Steps) -> Any:
    return [await run.call("a", 1), await run.call("b", 2)]


def test_a_run_issues_steps_one_after_another_and_completes() -> None:
    rig = Rig(two_steps)
    assert (rig.names, rig.status) == (["a"], "awaiting_task")
    rig.answer("a", "A")
    assert rig.names == ["b"]
    rig.answer("b", "B")
    assert (rig.output, rig.status, rig.names) == (["A", "B"], "completed", [])
    assert [entry.name for entry in rig.entries if isinstance(entry, RecordedStep)] == ["a", "b"]


def test_a_crash_at_each_point_changes_nothing() -> None:
    rig = Rig(two_steps).reload().answer("a", "A").reload().reload().answer("b", "B").reload()
    assert rig.output == ["A", "B"]
    assert len(rig.sent) == 2


def test_a_replay_dispatches_nothing_again_and_commits_nothing() -> None:
    rig = Rig(two_steps).answer("a", "A")
    before = rig.value
    rig.reload().reload()
    assert rig.value == before


def test_what_is_not_committed_is_lost_and_done_again() -> None:
    rig = Rig(two_steps)
    message = rig.result("a", "A")
    rig.machine.apply(message, rig.now)
    rig.reload()
    assert rig.names == ["a"]
    assert rig.turn(message).names == ["b"]


def test_a_failed_step_raises_in_the_code_and_may_be_caught() -> None:
    async def code(run: Steps) -> Any:
        try:
            await run.call("a")
        except StepError as error:
            return f"caught {error}"

    assert Rig(code).answer("a", error="no luck").reload().output == "caught no luck"


def test_an_error_of_the_code_fails_the_run() -> None:
    async def code(run: Steps) -> Any:
        await run.call("a")
        raise ValueError("my fault")

    rig = Rig(code).answer("a")
    assert (rig.status, rig.error.type, rig.error.message) == ("failed", "ValueError", "my fault")


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_whatever_the_code_raises_fails_the_run(kind: type[BaseException]) -> None:
    async def code(run: Steps) -> Any:
        await run.call("a")
        raise kind("out")

    rig = Rig(code).answer("a")
    assert rig.status == "failed"
    assert rig.error.type.rpartition(".")[2] == kind.__name__


def test_a_step_whose_awaiter_was_cancelled_is_withdrawn() -> None:
    async def code(run: Steps) -> Any:
        task = asyncio.create_task(run.call("ignored"))
        await run.call("a")
        task.cancel()
        return await run.call("b")

    rig = Rig(code).answer("a")
    assert rig.names == ["b"]
    withdrawn = rig.entries[-1]
    assert isinstance(withdrawn, RecordedStep) and withdrawn.name == "ignored"
    assert withdrawn.error is not None and withdrawn.error.code == "task_cancelled"
    assert [type(owed).__name__ for owed in rig.state.outbox].count("OutWithdrawal") == 1
    rig.reload().answer("b", 2)
    assert rig.output == 2


# -- races


async def first_of_two(run: Steps) -> Any:
    tasks = [asyncio.create_task(run.call(name), name=name) for name in ("a", "b")]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    winner = done.pop().get_name()
    order = [winner]
    for task in pending:
        await task
        order.append(task.get_name())
    await run.call("last", order)
    return order


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_race_ends_at_replay_as_it_did(order: list[str]) -> None:
    rig = Rig(first_of_two)
    for name in order:
        rig.answer(name)
    assert rig.reload().answer("last").reload().output == order


def test_two_results_in_one_turn_keep_their_order() -> None:
    rig = Rig(first_of_two)
    rig.turn(rig.result("b"), rig.result("a"))
    assert rig.reload().answer("last").output == ["b", "a"]


async def step_against_timer(run: Steps) -> Any:
    try:
        async with asyncio.timeout(10):
            got = await run.call("a")
    except TimeoutError:
        got = "late"
    await run.call("last", got)
    return got


def test_a_step_beats_its_timeout() -> None:
    assert Rig(step_against_timer).answer("a", "in time", after=9).reload().answer("last", after=60).output == "in time"


def test_a_timeout_that_was_due_before_the_result_came_wins_also_at_replay() -> None:
    rig = Rig(step_against_timer)
    rig.answer("a", "too late", after=11)
    assert [type(entry) for entry in rig.entries] == [RecordedStep], "the timer fired within the turn that recorded the result"
    assert rig.reload().answer("last").reload().output == "late"


# -- changed code


def test_appended_code_goes_on_from_where_the_run_stands() -> None:
    async def longer(run: Steps) -> Any:
        return [*(await two_steps(run)), await run.call("c", 3)]

    rig = Rig(two_steps).answer("a", "A").reload(longer).answer("b", "B")
    assert rig.names == ["c"]
    assert rig.answer("c", "C").output == ["A", "B", "C"]


def test_reordered_code_takes_each_recorded_result() -> None:
    async def abc(run: Steps) -> Any:
        return [await run.call("a"), await run.call("b"), await run.call("c")]

    async def bac(run: Steps) -> Any:
        return [await run.call("b"), await run.call("a"), await run.call("c")]

    rig = Rig(abc).answer("a", "A").answer("b", "B").reload(bac)
    assert rig.names == ["c"]
    assert rig.answer("c", "C").output == ["B", "A", "C"]


def test_code_that_was_removed_leaves_its_results_unused() -> None:
    async def shorter(run: Steps) -> Any:
        return await run.call("a", 1)

    assert Rig(two_steps).answer("a", "A").reload(shorter).output == "A"


def test_a_step_that_is_pending_may_be_removed_from_the_code() -> None:
    async def other(run: Steps) -> Any:
        await run.call("a", 1)
        await asyncio.sleep(100)
        return "done"

    rig = Rig(two_steps).answer("a").reload(other).answer("b", "nobody cares")
    assert rig.turn(after=100).output == "done"


def test_a_new_step_while_recorded_ones_are_unused_is_an_error_that_names_both() -> None:
    async def other(run: Steps) -> Any:
        return await run.call("renamed", 1)

    rig = Rig(two_steps).answer("a", "A").reload(other)
    assert (rig.status, rig.error.code) == ("failed", "non_determinism")
    _, heading, _, row, _ = rig.error.message.splitlines()
    assert [part.strip() for part in heading.split("|")] == ["recorded, but not called by the code", "called by the code, but not recorded"]
    recorded, issued = row.split("|")
    assert "entry 1: a #1" in recorded
    assert "renamed #1" in issued


def test_non_determinism_is_not_retried() -> None:
    async def other(run: Steps) -> Any:
        return await run.call("renamed", 1)

    rig = Rig(two_steps, retry=AGAIN).answer("a", "A").reload(other)
    assert (rig.status, rig.error.code) == ("failed", "non_determinism")


def test_another_input_is_another_step() -> None:
    async def other(run: Steps) -> Any:
        return await run.call("a", 2)

    assert Rig(two_steps).answer("a").reload(other).error.code == "non_determinism"


def test_the_order_of_keys_in_an_input_is_no_change() -> None:
    async def before(run: Steps) -> Any:
        await run.call("a", {"x": 1, "y": 2})
        await run.call("b")

    async def after(run: Steps) -> Any:
        await run.call("a", {"y": 2, "x": 1})
        await run.call("b")

    assert Rig(before).answer("a").reload(after).names == ["b"]


def test_a_result_that_comes_when_changed_code_is_about_to_ask_for_it_is_taken_once() -> None:
    async def before(run: Steps) -> Any:
        await run.call("x")

    async def after(run: Steps) -> Any:
        await asyncio.sleep(5)
        x = await run.call("x")
        return [x, await run.call("y")]

    rig = Rig(before).reload(after)
    rig.answer("x", "X", after=6)
    assert rig.names == ["y"]
    assert rig.reload().answer("y", "Y").output == ["X", "Y"]
    assert len(rig.sent) == 2


def test_results_of_removed_code_are_taken_at_replay_as_they_were_live() -> None:
    async def before(run: Steps) -> Any:
        await asyncio.gather(run.call("x"), run.call("y"))

    async def after(run: Steps) -> Any:
        order: list[str] = []

        async def late() -> None:
            await asyncio.sleep(5)
            order.append(await run.call("x"))

        async def early() -> None:
            order.append(await run.call("y"))

        await asyncio.gather(late(), early())
        await run.call("last", order)
        return order

    rig = Rig(before).reload(after).answer("x", "X")
    rig.answer("y", "Y", after=6)
    live = rig.pending("last").input
    rig.reload()
    assert (rig.names, rig.pending("last").input) == (["last"], live)


def test_a_pending_local_step_may_become_a_remote_one() -> None:
    async def local(run: Steps) -> Any:
        return await asyncio.gather(run.call("a", local=True), run.call("b"))

    async def remote(run: Steps) -> Any:
        return await asyncio.gather(run.call("a"), run.call("b"))

    rig = Rig(local)
    assert (len(rig.sent), len(rig.started)) == (1, 1)
    rig.reload(remote)
    assert (len(rig.sent), len(rig.started)) == (2, 1), "or nobody would ever run it"
    assert rig.reload().answer("a", "A").answer("b", "B").output == ["A", "B"]
    assert (len(rig.sent), len(rig.started)) == (2, 1)


def test_a_local_step_that_waits_for_its_next_attempt_may_become_a_remote_one() -> None:
    async def remote(run: Steps) -> Any:
        return await run.call("a")

    rig = Rig(one_local_step)
    rig.turn(rig.failed_once("a", 60)).reload(remote)
    assert [step.due for step in rig.sent.values()] == [T0 + 60]
    assert rig.reload().answer("a", "A", after=60).output == "A"


def test_a_dispatched_step_that_becomes_local_waits_for_its_worker() -> None:
    async def remote(run: Steps) -> Any:
        return await run.call("a")

    async def local(run: Steps) -> Any:
        return await run.call("a", local=True)

    rig = Rig(remote).reload(local)
    assert rig.started == []
    assert rig.answer("a", "A").output == "A"


# -- identity


def test_the_same_call_twice_runs_twice() -> None:
    async def code(run: Steps) -> Any:
        return [await run.call("a", 1), await run.call("a", 1)]

    rig = Rig(code).answer("a", "first").reload()
    assert [step.ordinal for step in rig.state.pending] == [1]
    assert rig.answer("a", "second").reload().output == ["first", "second"]


def test_the_same_call_twice_at_once_runs_twice() -> None:
    async def code(run: Steps) -> Any:
        return await asyncio.gather(run.call("a", 1), run.call("a", 1))

    rig = Rig(code)
    assert [step.ordinal for step in rig.state.pending] == [0, 1]
    assert rig.answer("a", "second", index=1).reload().answer("a", "first").output == ["first", "second"]


def test_calls_with_the_same_key_are_one_step() -> None:
    async def code(run: Steps) -> Any:
        both = await asyncio.gather(run.call("a", 1, key="k"), run.call("a", 1, key="k"))
        return [*both, await run.call("a", 1, key="k"), await run.call("b")]

    rig = Rig(code)
    assert len(rig.state.pending) == 1
    rig.answer("a", "once").reload()
    assert rig.names == ["b"]
    assert rig.answer("b", "B").reload().output == ["once", "once", "once", "B"]
    assert len(rig.sent) == 2


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_the_same_key_with_another_input_is_a_conflict(answered: bool, crash: bool) -> None:
    async def code(run: Steps) -> Any:
        first = asyncio.create_task(run.call("a", 1, key="k"))
        await (first if answered else run.call("b"))
        await run.call("c")
        await run.call("a", 2, key="k")

    rig = Rig(code).answer("a" if answered else "b")
    if crash:
        rig.reload()
    rig.answer("c")
    assert rig.error.code == "idempotency_conflict"
    assert "'k'" in rig.error.message


def test_a_key_is_of_one_task() -> None:
    async def code(run: Steps) -> Any:
        return await asyncio.gather(run.call("a", key="k"), run.call("b", key="k"))

    assert Rig(code).answer("b", "B").answer("a", "A").output == ["A", "B"]


def test_names_and_keys_never_run_into_each_other() -> None:
    async def code(run: Steps) -> Any:
        return await asyncio.gather(
            run.call("a", key="b!c"), run.call("a!b", key="c"), run.call("a!b:c", key="d"), run.call("a", key="b:c!d")
        )

    rig = Rig(code)
    assert len(rig.state.pending) == 4
    for name, index, value in [("a", 0, 0), ("a!b", 0, 1), ("a!b:c", 0, 2), ("a", 0, 3)]:
        rig.answer(name, value, index=index)
    assert rig.reload().output == [0, 1, 2, 3]


def test_a_key_never_runs_into_a_plain_call() -> None:
    async def plain(run: Steps) -> Any:
        return await run.call("a!b")

    address = Rig(plain).pending("a!b").address

    async def code(run: Steps) -> Any:
        return await asyncio.gather(run.call("a!b"), run.call("a", key=address.removeprefix("a!")))

    assert len(Rig(code).state.pending) == 2


# -- duplicates and stale messages


def test_a_result_counts_once() -> None:
    rig = Rig(two_steps)
    message = rig.result("a", "A")
    rig.turn(message)
    before = rig.value
    assert rig.turn(message).reload().turn(message).value == before


def test_two_copies_in_one_turn_count_once() -> None:
    rig = Rig(two_steps)
    message = rig.result("a", "A")
    rig.turn(message, message)
    assert len(rig.entries) == 1


def test_an_outcome_of_a_superseded_dispatch_counts_for_nothing() -> None:
    async def code(run: Steps) -> Any:
        return await run.call("a")

    rig = Rig(code)
    stale = rig.result("a", "stale")
    rig.turn(rig.failed_once("a", 60))
    before = rig.value
    assert rig.turn(stale).value == before
    assert rig.reload().turn(stale).answer("a", "fresh").output == "fresh"


def test_a_result_for_a_step_that_was_never_issued_is_ignored() -> None:
    rig, other = Rig(two_steps), Rig(two_steps).answer("a")
    before = rig.value
    assert rig.turn(other.result("b")).value == before


def test_a_second_start_is_ignored() -> None:
    rig = Rig(two_steps)
    before = rig.value
    assert rig.turn(Start("run-1", "w", "1", b"null", b"", T0)).value == before


# -- retries of a step


async def one_step(run: Steps) -> Any:
    return await run.call("a")


def test_a_failed_attempt_is_dispatched_again_with_a_new_serial_when_it_is_due() -> None:
    rig = Rig(one_step)
    first = rig.pending("a").serial
    rig.turn(rig.failed_once("a", 60))
    step = rig.state.pending[0]
    assert (rig.status, step.due, len(step.failed)) == ("awaiting_retry", T0 + 60, 1)
    assert step.serial > first
    owed = rig.machine.state.outbox[-1]
    assert isinstance(owed, OutDispatch) and (owed.serial, owed.due) == (step.serial, T0 + 60)
    rig.reload().answer("a", "A", after=61)
    (entry,) = rig.entries
    assert isinstance(entry, RecordedStep) and len(entry.failed) == 1


def test_a_remote_step_may_fail_many_times() -> None:
    rig = Rig(one_step)
    for number in range(1, 5):
        rig.turn(rig.failed_once("a", 60), after=60)
        assert len(rig.state.pending[0].failed) == number
        assert len(rig.sent) == number + 1
    assert rig.answer("a", "A", after=60).output == "A"


def test_a_failed_attempt_reported_twice_counts_once() -> None:
    rig = Rig(one_step)
    message = rig.failed_once("a", 60)
    rig.turn(message)
    before = rig.value
    assert rig.turn(message).reload().turn(message).value == before


async def one_local_step(run: Steps) -> Any:
    return await run.call("a", local=True)


@pytest.mark.parametrize("crash", [False, True])
def test_a_local_step_that_failed_runs_again_when_it_is_due(crash: bool) -> None:
    rig = Rig(one_local_step)
    assert len(rig.started) == 1
    rig.turn(rig.failed_once("a", 60))
    assert (rig.status, rig.machine.deadline()) == ("awaiting_retry", T0 + 60)
    assert rig.state.alarms == [Alarm(1, T0 + 60)]
    if crash:
        rig.reload()
    assert len(rig.turn(after=59).started) == 1
    assert len(rig.turn(after=1).started) == 2
    rig.turn(rig.failed_once("a", 60))
    assert len(rig.turn(after=60).started) == 3
    assert rig.answer("a", "A").output == "A"


def test_a_local_step_runs_again_after_a_crash() -> None:
    rig = Rig(one_local_step)
    assert rig.status == "running"
    assert len(rig.reload().started) == 2


# -- time


async def sleeper(run: Steps) -> Any:
    await asyncio.sleep(100)
    return run.now


def alarm_of(rig: Rig) -> Wake:
    (alarm,) = rig.state.alarms
    return Wake(alarm.serial, alarm.due)


def test_a_sleep_owes_one_alarm() -> None:
    rig = Rig(sleeper)
    assert rig.status == "sleeping"
    assert rig.state.alarms == [Alarm(1, T0 + 100)]
    assert rig.state.outbox == [OutAlarm(1, T0 + 100)]
    rig.reload().turn(after=1).turn(after=1)
    assert rig.state.alarms == [Alarm(1, T0 + 100)]


def test_the_alarm_wakes_it() -> None:
    rig = Rig(sleeper)
    rig.turn(alarm_of(rig), after=100)
    assert (rig.output, rig.entries) == (100, [Tick(T0 + 100)])


def test_an_alarm_that_comes_early_does_not_end_the_sleep_early() -> None:
    rig = Rig(sleeper)
    rig.now = T0 + 99.75
    rig.machine.apply(alarm_of(rig), rig.now)
    assert rig.machine.rung and not rig.machine.dirty, "a message that is held until its instant needs no commit of its own"
    assert not rig.machine.state.alarms and not rig.machine.state.outbox
    assert rig.machine.deadline() == T0 + 100
    rig.machine.advance(T0 + 100)
    assert rig.machine.dirty
    rig.now = T0 + 100
    rig.commit()
    assert (rig.output, rig.entries) == (100, [Tick(T0 + 100)])


def test_an_early_alarm_of_a_host_that_dies_meanwhile_comes_again() -> None:
    rig = Rig(sleeper)
    wake = alarm_of(rig)
    rig.now = T0 + 99.75
    rig.machine.apply(wake, rig.now)
    rig.reload()
    assert rig.state.alarms == [Alarm(1, T0 + 100)], "nothing was committed"
    rig.turn(wake, after=0.25)
    assert rig.output == 100


def test_time_never_goes_back_in_the_journal() -> None:
    async def code(run: Steps) -> Any:
        await asyncio.sleep(100)
        await run.call("a")
        await run.call("b")

    rig = Rig(code)
    rig.turn(alarm_of(rig), after=100).answer("a", after=1)
    rig.now = T0 - 1000
    rig.reload().answer("b")
    instants = [entry.at for entry in rig.entries]
    assert instants == sorted(instants)
    issued = [entry.issued_at for entry in rig.entries if isinstance(entry, RecordedStep)]
    assert issued == sorted(issued) and issued[0] >= T0 + 100


def test_an_earlier_alarm_covers_a_later_deadline() -> None:
    async def code(run: Steps) -> Any:
        try:
            async with asyncio.timeout(50):
                await run.call("a")
        except TimeoutError:
            pass
        await asyncio.sleep(1000)

    rig = Rig(code).answer("a", after=1)
    assert rig.state.alarms == [Alarm(2, T0 + 50)], "the timeout's alarm stands, and comes before the sleep ends"
    rig.turn(alarm_of(rig), after=49)
    assert rig.state.alarms == [Alarm(3, T0 + 1001)]


def test_a_wake_that_nobody_asked_for_changes_nothing() -> None:
    rig = Rig(sleeper)
    before = rig.value
    assert rig.turn(Wake(99, T0), after=1).value == before


def test_an_alarm_that_comes_before_the_deadline_is_set_again() -> None:
    rig = Rig(sleeper)
    early = alarm_of(rig)
    rig.turn(Wake(early.serial, T0 + 50), after=50)
    assert rig.state.alarms == [Alarm(2, T0 + 100)]


def test_an_alarm_comes_once() -> None:
    async def code(run: Steps) -> Any:
        for _ in range(3):
            await asyncio.sleep(100)

    rig = Rig(code)
    wake = alarm_of(rig)
    rig.turn(wake, after=100)
    before = rig.value
    assert rig.turn(wake).turn(wake).value == before


def test_several_sleeps_that_are_over_end_in_their_order() -> None:
    async def code(run: Steps) -> Any:
        order = []

        async def one(delay: float) -> None:
            await asyncio.sleep(delay)
            order.append((delay, run.now))

        await asyncio.gather(one(30), one(10), one(20))
        await run.call("last", order)
        return order

    rig = Rig(code).turn(after=1000)
    assert rig.reload().answer("last").output == [[10, 10], [20, 20], [30, 30]]


def test_a_shorter_sleep_after_a_change_counts_as_done() -> None:
    async def shorter(run: Steps) -> Any:
        await asyncio.sleep(10)
        await run.call("a")
        return run.now

    async def before(run: Steps) -> Any:
        await asyncio.sleep(100)
        await run.call("a")

    assert Rig(before).turn(after=100).reload(shorter).answer("a").output == 100
    assert Rig(before).turn(after=50).reload(shorter).names == ["a"]


def test_a_longer_sleep_after_a_change_sleeps_the_rest() -> None:
    async def longer(run: Steps) -> Any:
        await asyncio.sleep(150)
        return await run.call("a")

    async def before(run: Steps) -> Any:
        await asyncio.sleep(100)
        return await run.call("a")

    rig = Rig(before).turn(after=100).reload(longer)
    assert rig.machine.deadline() == T0 + 150
    rig.turn(after=50)
    assert rig.answer("a", "A").output == "A"


def test_a_sleep_for_ever_is_none_that_an_alarm_could_end() -> None:
    async def code(run: Steps) -> Any:
        sleeping = asyncio.create_task(asyncio.sleep(float("inf")))
        got = await run.call("a")
        sleeping.cancel()
        return got

    rig = Rig(code)
    assert (rig.machine.deadline(), rig.state.alarms) == (None, [])
    assert rig.answer("a", "A").output == "A"


@pytest.mark.parametrize("delay", [1e12, float("nan")])
def test_a_sleep_that_no_calendar_holds_fails_the_code(delay: float) -> None:
    async def code(run: Steps) -> Any:
        await asyncio.sleep(delay)

    assert Rig(code).status == "failed"


# -- retries of the workflow


def test_the_code_begins_again_keeps_what_completed_and_runs_again_what_failed() -> None:
    async def code(run: Steps) -> Any:
        return [await run.call("a"), await run.call("b")]

    rig = Rig(code, retry=AGAIN).answer("a", "A").answer("b", error="no")
    assert (rig.status, rig.state.retry_at, rig.names) == ("awaiting_retry", T0 + 10, [])
    assert rig.state.alarms == [Alarm(3, T0 + 10)]
    rig.reload().turn(after=9)
    assert rig.status == "awaiting_retry"
    rig.turn(after=1)
    assert (rig.status, rig.state.attempt, rig.names) == ("awaiting_task", 2, ["b"])
    assert any(isinstance(entry, Retried) for entry in rig.entries)
    assert rig.reload().answer("b", "B").reload().output == ["A", "B"]
    assert len(rig.sent) == 3


def test_the_last_attempt_fails_the_run() -> None:
    async def code(run: Steps) -> Any:
        await run.call("a")
        raise ValueError("again")

    rig = Rig(code, retry=AGAIN).answer("a").turn(after=10).reload().turn(after=10)
    assert (rig.status, rig.state.attempt, rig.error.message) == ("failed", 3, "again")
    assert len(rig.sent) == 1


def test_a_result_that_comes_between_two_attempts_is_kept() -> None:
    async def code(run: Steps) -> Any:
        a = asyncio.create_task(run.call("a"))
        if run.machine.state.attempt == 1:
            await run.call("b")
            raise ValueError("once")
        return await a

    rig = Rig(code, retry=AGAIN).answer("b").answer("a", "A").reload().turn(after=10)
    assert rig.output == "A"
    assert len(rig.sent) == 2


def test_a_step_that_is_still_at_work_is_awaited_by_the_next_attempt() -> None:
    async def code(run: Steps) -> Any:
        a = asyncio.create_task(run.call("a"))
        if run.machine.state.attempt == 1:
            await run.call("b")
            raise ValueError("once")
        return await a

    rig = Rig(code, retry=AGAIN).answer("b").turn(after=10).reload().answer("a", "A")
    assert rig.output == "A"
    assert len(rig.sent) == 2


@pytest.mark.parametrize("result_first", [False, True])
def test_the_wake_that_begins_the_next_attempt_may_come_with_results(result_first: bool) -> None:
    async def code(run: Steps) -> Any:
        a = asyncio.create_task(run.call("a"))
        if run.machine.state.attempt == 1:
            await run.call("b")
            raise ValueError("once")
        return await a

    rig = Rig(code, retry=AGAIN).answer("b")
    messages: list[Mail] = [alarm_of(rig), rig.result("a", "A")]
    rig.turn(*(reversed(messages) if result_first else messages), after=10)
    assert (rig.state.attempt, rig.output) == (2, "A")


def test_timers_that_failed_code_left_behind_do_not_fail_the_next_attempt() -> None:
    async def code(run: Steps) -> Any:
        if run.machine.state.attempt == 1:
            _ = run.machine.loop.create_task(asyncio.sleep(5))
            raise ValueError("once")
        return "fine"

    rig = Rig(code, retry=AGAIN)
    rig.turn(alarm_of(rig), after=10)
    assert (rig.state.attempt, rig.output) == (2, "fine")


def test_a_race_in_the_second_attempt_ends_at_replay_as_it_did() -> None:
    async def code(run: Steps) -> Any:
        if run.machine.state.attempt == 1:
            await run.call("x")
            raise ValueError("once")
        order: list[str] = []

        async def late() -> None:
            await asyncio.sleep(5)
            order.append(await run.call("x"))

        async def early() -> None:
            order.append(await run.call("y"))

        await asyncio.gather(late(), early())
        await run.call("last", order)
        return order

    rig = Rig(code, retry=AGAIN).answer("x", "X").turn(after=10)
    rig.answer("y", "Y", after=6)  # the sleep is over as well
    live = rig.pending("last").input
    rig.reload()
    assert (rig.status, rig.names) == ("awaiting_task", ["last"])
    assert rig.pending("last").input == live


# -- ends


def test_a_run_that_waits_for_nothing_is_stuck() -> None:
    async def code(run: Steps) -> Any:
        await run.call("a")
        await asyncio.Event().wait()

    rig = Rig(code, retry=AGAIN).answer("a")
    assert (rig.status, rig.error.code) == ("failed", "workflow_stuck")


def test_a_run_that_waits_for_nothing_from_the_first_is_stuck() -> None:
    async def code(run: Steps) -> Any:
        await asyncio.get_running_loop().create_future()

    assert Rig(code).error.code == "workflow_stuck"


def test_a_run_that_has_ended_ignores_whatever_comes() -> None:
    rig = Rig(two_steps).answer("a")
    messages: list[Mail] = [rig.result("b", "B"), rig.failed_once("b", 5), Wake(1, T0 + 1)]
    rig.answer("b", "B")
    before = rig.value
    assert rig.turn(*messages, after=1000).value == before
    assert rig.reload().turn(*messages, after=1000).value == before
    assert (rig.machine.deadline(), rig.state.outbox, rig.state.pending) == (None, [], [])


def test_a_host_may_fail_a_run() -> None:
    rig = Rig(two_steps)
    rig.machine.fail(RuntimeError("no room"), rig.now)
    rig.commit()
    assert (rig.status, rig.error.message, rig.names) == ("failed", "no room", [])


def test_code_that_catches_everything_cannot_hang_its_eviction() -> None:
    async def code(run: Steps) -> Any:
        while True:
            with contextlib.suppress(BaseException):
                await run.call("a")

    Rig(code).machine.evict()


def test_an_evicted_machine_issues_nothing() -> None:
    async def code(run: Steps) -> Any:
        try:
            await run.call("a")
        finally:
            await run.call("clean-up")

    rig = Rig(code)
    machine = rig.machine
    machine.evict()
    assert machine.take_local() == []
    assert [step.name for step in machine.snapshot(T0).pending] == ["a"]


async def _status_code(run: Steps, what: str) -> Any:
    if what == "task":
        await run.call("a")
    elif what == "local":
        await run.call("a", local=True)
    elif what == "sleep":
        await asyncio.sleep(10)
    elif what == "both":
        await asyncio.gather(run.call("a"), asyncio.sleep(10))


@pytest.mark.parametrize(
    ("what", "status"),
    [("task", "awaiting_task"), ("local", "running"), ("sleep", "sleeping"), ("both", "awaiting_task"), ("", "completed")],
)
def test_statuses(what: str, status: str) -> None:
    rig = Rig(lambda run: _status_code(run, what))
    assert rig.status == status
    assert rig.reload().status == status


def test_the_state_keeps_its_value_in_bytes() -> None:
    rig = Rig(two_steps, retry=AGAIN)
    rig.turn(rig.failed_once("a", 60))
    assert encode_state(decode_state(rig.value)) == rig.value


def test_a_step_of_an_earlier_attempt_may_end_during_a_later_one_that_does_not_call_it() -> None:
    attempts: list[int] = []

    async def code(run: Steps) -> Any:
        if run.machine.state.attempt == 1:
            await asyncio.gather(run.call("boom"), run.call("old"))
        attempts.append(run.machine.state.attempt)
        return [await run.call("wait"), await run.call("new")]

    rig = Rig(code, retry=AGAIN)
    rig.answer("boom", error="no", after=1).turn(after=11)
    rig.answer("old", "late", after=1).answer("wait", 1).reload()
    assert rig.answer("new", 2).output == [1, 2]
