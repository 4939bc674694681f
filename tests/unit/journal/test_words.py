"""What is asked of a run: events, updates, cancellation, pauses; replayed from scratch after each turn, it stands where it stood."""

import asyncio
from typing import Any

import msgspec
import pytest

from aiki.journal import (
    CancelAsked,
    Ignored,
    OutClose,
    OutMail,
    OutWithdrawal,
    Paused,
    Received,
    RecordedStep,
    RunMachine,
    Shield,
    StepsCancelled,
    Tick,
    Unpaused,
    Updated,
)
from aiki.types.messages import Cancel, CancelStep, Ended, EndSleep, Event, Mail, Pause, Start, Unpause, Update, Wake
from aiki.types.retry import Retry
from tests.unit.journal.rig import T0, Rig, StepError, Steps


def event(id: str, name: str = "a", payload: Any = None, after: str = "") -> Event:
    return Event(id=id, name=name, payload=msgspec.json.encode(payload), after=after)


def turn(rig: Rig, *messages: Mail, after: float = 0.0) -> Rig:
    """A turn; then a host that has nothing but the committed value comes to the same, and takes over."""
    rig.turn(*messages, after=after)
    value = rig.value
    assert rig.replayed() == value
    if not rig.done:
        rig.reload(advance=False)
        assert rig.value == value
    return rig


def kinds(rig: Rig) -> list[str]:
    return [type(entry).__name__ for entry in rig.entries]


# -- events


async def three(steps: Steps) -> list[Any]:
    return [await steps.event("a") for _ in range(3)]


def test_events_are_taken_in_order_early_ones_too() -> None:
    async def late(steps: Steps) -> list[Any]:
        await steps.call("first")
        return await three(steps)

    rig = turn(Rig(late), event("1", payload=1), event("2", payload=2))
    assert rig.state.waits == []
    turn(rig, rig.result("first"))
    assert [wait.names for wait in rig.state.waits] == [("a",)]
    assert turn(rig, event("3", payload=3)).output == [1, 2, 3]


def test_an_id_counts_once() -> None:
    rig = turn(Rig(three), event("1", payload=1), event("1", payload=1))
    turn(rig, event("1", payload=1), event("2", payload=2))
    assert rig.entries == [Received(T0, "a", b"1", "1"), Received(T0, "a", b"2", "2")]
    assert turn(rig, event("3", payload=3)).output == [1, 2, 3]


def test_each_event_goes_to_whoever_has_waited_longest() -> None:
    async def code(steps: Steps) -> list[Any]:
        seen: list[Any] = []

        async def one(name: str, *names: str) -> None:
            seen.append([name, await steps.event(*names)])

        await asyncio.gather(one("any", "a", "b"), one("a", "a"), one("b", "b"))
        return seen

    rig = turn(Rig(code), event("1", "a", 1))
    turn(rig, event("2", "c", 0), event("3", "b", 2))
    assert turn(rig, event("4", "a", 3)).output == [["any", 1], ["b", 2], ["a", 3]]


def test_an_event_and_a_time_out_in_one_turn_are_what_their_instants_say() -> None:
    async def code(steps: Steps) -> Any:
        try:
            async with asyncio.timeout(10):
                return await steps.event("a")
        except TimeoutError:
            return ["late", await steps.event("a")]

    assert turn(turn(Rig(code), event("1", payload=1), after=9.9), after=1).output == 1
    late = turn(Rig(code), after=10.1)
    assert turn(late, event("1", payload=1)).output == ["late", 1]


def test_who_is_interrupted_gives_its_event_back() -> None:
    async def code(steps: Steps) -> Any:
        waiting = asyncio.create_task(steps.event("a"))
        await steps.call("go")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return await steps.event("a")

    rig = turn(Rig(code))
    turn(rig, rig.result("go"))
    assert turn(rig, event("1", payload="for the second")).output == "for the second"


def test_completed_events_are_there_for_the_next_attempt() -> None:
    async def code(steps: Steps) -> Any:
        got = await steps.event("a")
        if steps.machine.state.attempt == 1:
            raise ValueError("once")
        return got

    rig = turn(Rig(code, retry=Retry.fixed(max_attempts=2, delay=5)), event("1", payload=7))
    assert rig.status == "awaiting_retry"
    assert turn(rig, after=6).output == 7


# -- cancellation


async def careful(steps: Steps) -> str:
    try:
        await steps.call("work")
    finally:
        async with Shield():
            await steps.call("clean", local=True)
    return "done"


def test_cancelled_code_cleans_up_and_its_steps_are_withdrawn() -> None:
    rig = turn(Rig(careful))
    late = rig.result("work", "too late")
    turn(rig, Cancel(id="c", reason="why"), after=1)
    assert [owed.name for owed in rig.state.outbox if isinstance(owed, OutWithdrawal)] == ["work"]
    assert rig.names == ["clean"]
    turn(rig, late)
    assert rig.names == ["clean"]
    turn(rig, Cancel(id="d"), after=1)
    assert turn(rig, rig.result("clean")).status == "cancelled"
    assert rig.error.message == "why"
    assert kinds(rig) == ["CancelAsked", "RecordedStep", "Ignored", "RecordedStep"]
    withdrawn = rig.entries[1]
    assert isinstance(withdrawn, RecordedStep) and withdrawn.error is not None
    assert (withdrawn.name, withdrawn.error.code) == ("work", "task_cancelled")


def test_code_that_swallows_the_interruption_goes_on() -> None:
    async def code(steps: Steps) -> str:
        try:
            await steps.event("a")
        except asyncio.CancelledError:
            return "finished all the same"
        raise AssertionError

    assert turn(Rig(code), Cancel(id="c")).output == "finished all the same"


def test_the_clean_up_ends_in_time() -> None:
    rig = turn(Rig(careful, cleanup=10), Cancel(id="c"))
    assert rig.machine.deadline() == T0 + 10
    assert turn(rig, after=9).status == "running"
    assert turn(rig, after=1).status == "cancelled"


def test_terminate_ends_it_in_the_middle_of_its_clean_up() -> None:
    rig = turn(turn(Rig(careful), Cancel(id="c", reason="one")), Cancel(id="t", reason="two", terminate=True))
    assert (rig.status, rig.error.message) == ("cancelled", "two")
    assert rig.entries[-1] == CancelAsked(T0, "t", "two", terminate=True)


def test_what_was_issued_and_interrupted_in_one_turn_has_never_been() -> None:
    async def code(steps: Steps) -> None:
        await steps.event("a")
        await steps.call("work")

    rig = turn(Rig(code), event("1"), Cancel(id="c"))
    assert rig.status == "cancelled"
    assert not rig.sent


def test_between_attempts_and_before_the_beginning_it_ends_at_once() -> None:
    async def fails(steps: Steps) -> None:
        await steps.call("work")

    rig = Rig(fails, retry=Retry.fixed(max_attempts=3, delay=100))
    rig.answer("work", error="no")
    assert rig.status == "awaiting_retry"
    assert turn(rig, Cancel(id="c")).status == "cancelled"


def test_one_task_is_withdrawn_by_name() -> None:
    async def code(steps: Steps) -> list[Any]:
        return [
            str(each)
            for each in await asyncio.gather(steps.call("ship", 1), steps.call("bill", 1), steps.call("ship", 2), return_exceptions=True)
        ]

    rig = turn(Rig(code), CancelStep(id="x", name="nothing"), CancelStep(id="c", name="ship", reason="no need"))
    assert rig.names == ["bill"]
    assert [type(entry) for entry in rig.entries] == [Ignored, RecordedStep, RecordedStep, StepsCancelled]
    turn(rig, CancelStep(id="c", name="bill"), CancelStep(id="x", name="bill"))
    assert rig.names == ["bill"], "an id counts once, also one that meant nothing"
    why = "'ship' was cancelled: no need"
    assert turn(rig, rig.result("bill", 3)).output == [why, "3", why]


# -- pauses


def test_what_comes_during_a_pause_is_recorded_and_seen_afterwards_in_order() -> None:
    async def code(steps: Steps) -> list[Any]:
        seen: list[Any] = []

        async def note(what: Any) -> None:
            seen.append(await what)

        await asyncio.gather(note(steps.call("work")), note(steps.event("a")), note(steps.event("b")))
        return [*seen, steps.now]

    rig = turn(Rig(code), Pause(id="p", reason="lunch"))
    assert (rig.status, rig.machine.deadline()) == ("paused", None)
    turn(rig, Pause(id="q"), event("2", "b", "event b"), after=5)
    turn(rig, rig.result("work", "work"), after=5)
    turn(rig, event("1", "a", "event a"), after=5)
    assert rig.status == "paused"
    turn(rig, Unpause(id="u"), after=5)
    assert rig.output == ["event b", "work", "event a", 15.0]
    assert kinds(rig) == ["Paused", "Ignored", "Received", "RecordedStep", "Received", "Unpaused"]


def test_timers_fire_after_the_pause() -> None:
    async def code(steps: Steps) -> float:
        await asyncio.sleep(10)
        return steps.now

    rig = turn(turn(Rig(code), Pause(id="p")), after=100)
    (alarm,) = rig.state.alarms
    assert turn(rig, Wake(alarm.serial, alarm.due)).status == "paused"
    assert turn(rig, Unpause(id="u"), after=1).output == 10.0  # as any timer that is noticed late
    assert [type(entry) for entry in rig.entries] == [Paused, Unpaused, Tick]


def test_a_pause_that_comes_with_the_end_pauses_nothing() -> None:
    async def code(steps: Steps) -> str:
        await asyncio.sleep(10)
        return "over"

    rig = turn(Rig(code), Pause(id="p"), after=11)
    assert (rig.output, rig.state.paused) == ("over", None)


def test_a_resume_that_nobody_waits_for_means_nothing() -> None:
    rig = turn(Rig(three), Unpause(id="u"), EndSleep(id="s"), Pause(id="p"), Unpause(id="u"))
    assert rig.status == "paused", "the resume of before is no resume of now"
    assert kinds(rig) == ["Ignored", "Ignored", "Paused"]


def test_a_paused_run_is_cancelled_with_what_it_has_not_seen() -> None:
    async def code(steps: Steps) -> str:
        try:
            await steps.event("b")
        finally:
            await steps.call("clean", await steps.event("a"))
        return ""

    rig = turn(Rig(code), Pause(id="p"), event("1", "a", "seen"))
    turn(rig, Cancel(id="c"))
    assert rig.pending("clean").input == b'"seen"'
    assert turn(rig, rig.result("clean")).status == "cancelled"


# -- children


def ended(rig: Rig, status: Any = "completed", result: Any = None, index: int = 0) -> Ended:
    child = [step.child for step in rig.state.pending if step.child is not None][index]
    return Ended(child.run_id, status, msgspec.json.encode(result), None)


def test_children_are_steps_whose_ends_come_by_message() -> None:
    async def code(steps: Steps) -> list[Any]:
        return list(await asyncio.gather(steps.child("one", 1), steps.child("one", 1), steps.child("two", key="k"), return_exceptions=True))

    async def shown(steps: Steps) -> list[str]:
        return [str(each) for each in await code(steps)]

    rig = turn(Rig(shown))
    assert (rig.status, rig.names) == ("awaiting_child", ["one", "one", "two"])
    ids = {step.child.run_id for step in rig.state.pending if step.child is not None}
    assert len(ids) == 3
    second = ended(rig, result=2, index=1)
    turn(rig, second, second)
    turn(rig, ended(rig, "cancelled", index=0), Ended("nobody", "completed", b"1", None))
    assert turn(rig, ended(rig, "timed_out")).output == ["child_cancelled", "2", "child_timed_out"]


@pytest.mark.parametrize("close", ["cancel", "terminate", "abandon"])
def test_children_are_told_when_their_parent_ends(close: Any) -> None:
    async def code(steps: Steps) -> None:
        await asyncio.gather(steps.child("one", close=close), steps.event("a"))

    rig = turn(turn(Rig(code)), Cancel(id="c"))
    assert rig.status == "cancelled"
    assert [owed.child.close for owed in rig.state.outbox if isinstance(owed, OutClose)] == ([] if close == "abandon" else [close])


def test_other_parents_of_a_run_are_told_of_its_end_or_refused() -> None:
    def start(notify: str, hash: bytes, shares: bool = False) -> Start:
        return Start("run-1", "w", "1", b"null", hash, T0, "key", notify=notify, shares=shares)

    rig = turn(Rig(three), start("one", b""), start("one", b""), start("two", b"other"), start("three", b"other", shares=True))
    assert rig.state.watchers == ["one", "three"]
    assert [owed.mailbox for owed in rig.state.outbox if isinstance(owed, OutMail)] == ["two"]


# -- updates


async def with_updates(steps: Steps) -> list[Any]:
    booked: list[Any] = []

    async def book(payload: bytes) -> bytes:
        value = msgspec.json.decode(payload)
        if value == "bad":
            raise StepError("refused")
        booked.append(await steps.call("check", value) if value == "slow" else value)
        return msgspec.json.encode(len(booked))

    steps.machine.updates.handlers = {"book": book}
    await steps.event("enough")
    return booked


def update(id: str, payload: Any, name: str = "book") -> Update:
    return Update(id=id, name=name, payload=msgspec.json.encode(payload))


def answers(machine: RunMachine) -> dict[str, Any]:
    return {
        id: answer.error.message if answer.error is not None else msgspec.json.decode(answer.value)
        for id, answer in machine.updates.answers.items()
    }


def test_answers_of_updates_follow_from_the_journal() -> None:
    rig = turn(Rig(with_updates), update("1", "x"), update("2", "slow"), update("3", "y"), update("1", "x"), update("4", "bad"))
    turn(rig, update("5", 0, "nope"))
    expected = {"1": 1, "3": 2, "4": "refused", "5": "the workflow handles no update 'nope'"}
    assert answers(rig.machine) == expected
    turn(rig, rig.result("check", "checked"))
    assert answers(rig.machine) == {**expected, "2": 3}
    assert [entry.id for entry in rig.entries if isinstance(entry, Updated)] == ["1", "2", "3", "4", "5"]
    assert turn(rig, event("e", "enough")).output == ["x", "y", "checked"]


def test_an_update_between_two_attempts_is_the_next_ones() -> None:
    async def code(steps: Steps) -> None:
        steps.machine.updates.handlers = {"book": _attempt_of(steps)}
        await steps.event("enough")
        raise ValueError("again")

    rig = turn(Rig(code, retry=Retry.fixed(max_attempts=2, delay=5)), event("1", "enough"), update("u", 1))
    assert rig.status == "awaiting_retry"
    assert answers(rig.machine) == {}
    assert answers(rig.reload(advance=False).machine) == {}
    turn(rig, after=6)
    assert rig.status == "failed"


def _attempt_of(steps: Steps) -> Any:
    async def book(payload: bytes) -> bytes:
        return msgspec.json.encode(steps.machine.state.attempt)

    return book


def test_updates_wait_for_the_end_of_a_pause() -> None:
    rig = turn(Rig(with_updates), Pause(id="p"), update("1", "x"))
    assert answers(rig.machine) == {}
    turn(rig, Unpause(id="u"))
    assert answers(rig.machine) == {"1": 1}
    assert Unpaused(T0, "u") in rig.entries
