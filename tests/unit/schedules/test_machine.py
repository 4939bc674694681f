"""What a schedule does about a firing: catch-up, overlap, bounds, pauses, backfills. No I/O, and time is a number."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.schedules import (
    OutEnd,
    OutRecall,
    OutStart,
    Overlap,
    Schedule,
    ScheduleState,
    SetAlarm,
    decode_schedule,
    encode_schedule,
    following,
    machine,
)

BEGIN = 1_000_000.0


def schedule(rule: Schedule) -> ScheduleState:
    return ScheduleState("s", "born", rule, "w", "1", b"null", b"", BEGIN, planned=following(rule, BEGIN))


def sent(state: ScheduleState) -> list[str]:
    """The outbox is sent: the runs that it starts."""
    runs = [entry.run_id for entry in state.outbox if isinstance(entry, OutStart)]
    state.outbox = []
    return runs


def outcomes(state: ScheduleState) -> list[str]:
    return [firing.outcome for firing in state.recent]


def test_what_is_due_starts_and_the_next_alarm_is_set() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN)
    assert state.outbox == [SetAlarm(1, BEGIN + 10)]
    sent(state)
    before = encode_schedule(state)
    machine.advance(state, BEGIN + 9.9)
    assert encode_schedule(state) == before
    machine.advance(state, BEGIN + 10)
    assert [type(entry) for entry in state.outbox] == [OutStart, SetAlarm]
    assert state.outbox[1] == SetAlarm(2, BEGIN + 20)


def test_who_decides_does_not_matter() -> None:
    one, other = schedule(Schedule.every(10)), schedule(Schedule.every(10))
    machine.advance(one, BEGIN + 10)
    machine.advance(other, BEGIN + 12)
    assert sent(one) == sent(other)


def test_too_late_is_missed_and_the_rest_is_caught_up() -> None:
    state = schedule(Schedule.every(10, catch_up=25, overlap="allow"))
    machine.advance(state, BEGIN + 65)
    assert (state.counts.missed, state.counts.fired) == (3, 3)
    assert outcomes(state) == ["missed"] * 3 + ["fired"] * 3
    assert state.recent[0].reason == "55 s late; the catch-up window is 25 s"
    assert state.alarm == SetAlarm(1, BEGIN + 70)


def test_overlapping_firings_are_skipped() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN + 10)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 20)
    assert sent(state) == []
    assert (state.counts.overlapping, state.recent[-1].reason) == (1, f"run {run} goes on")
    machine.end_run(state, run)
    machine.advance(state, BEGIN + 30)
    assert len(sent(state)) == 1


def test_one_firing_is_buffered() -> None:
    state = schedule(Schedule.every(10, overlap="buffer_one"))
    machine.advance(state, BEGIN + 10)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 30)
    assert sent(state) == []
    assert outcomes(state) == ["fired", "buffered", "overlapping"]
    machine.end_run(state, run)
    machine.advance(state, BEGIN + 31)
    assert len(sent(state)) == 1
    assert (state.recent[-1].planned, state.counts.fired, state.buffered) == (BEGIN + 20, 2, None)


def told(state: ScheduleState) -> list[tuple[str, str]]:
    """The outbox is sent: the runs that it tells to end."""
    runs: list[tuple[str, str]] = [(entry.run_id, entry.ending) for entry in state.outbox if isinstance(entry, OutEnd)]
    state.outbox = []
    return runs


POLICIES = pytest.mark.parametrize(("policy", "ending"), [("cancel_previous", "cancelled"), ("terminate_previous", "terminated")])


@POLICIES
def test_the_previous_run_is_told_to_end_once_and_the_newest_firing_waits(policy: Overlap, ending: str) -> None:
    state = schedule(Schedule.every(10, overlap=policy))
    machine.advance(state, BEGIN + 10)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 20)
    assert [type(entry) for entry in state.outbox] == [OutEnd, SetAlarm]
    assert told(state) == [(run, ending)]
    assert state.recent[-1].reason == f"run {run} went on and is {ending}; the firing waits for its end"
    machine.advance(state, BEGIN + 40)
    assert [type(entry) for entry in state.outbox] == [SetAlarm]
    assert (sent(state), state.running, state.buffered) == ([], [run], BEGIN + 40)
    assert outcomes(state) == ["fired", ending, "overlapping", "overlapping", "buffered"]
    assert [firing.planned - BEGIN for firing in state.recent] == [10, 20, 20, 30, 40]
    machine.end_run(state, run)
    machine.advance(state, BEGIN + 41)
    assert len(sent(state)) == 1
    assert (state.recent[-1].planned, state.counts.fired, state.buffered, state.told) == (BEGIN + 40, 2, None, {})
    assert (state.counts.overlapping, getattr(state.counts, ending)) == (2, 1)


@POLICIES
def test_of_firings_that_are_due_at_once_the_newest_starts(policy: Overlap, ending: str) -> None:
    """None is started to be told to end at once."""
    state = schedule(Schedule.every(10, overlap=policy))
    machine.advance(state, BEGIN + 35)
    assert [type(entry) for entry in state.outbox] == [OutStart, SetAlarm]
    assert (outcomes(state), state.recent[-1].planned) == (["overlapping", "overlapping", "fired"], BEGIN + 30)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 40)
    assert told(state) == [(run, ending)]
    machine.end_run(state, run)
    machine.advance(state, BEGIN + 50)
    assert [type(entry) for entry in state.outbox] == [OutStart, SetAlarm]
    assert state.recent[-1].planned == BEGIN + 50


def test_a_cancelled_run_can_still_be_terminated_and_a_terminated_one_is_left_alone() -> None:
    state = schedule(Schedule.every(10, overlap="cancel_previous"))
    machine.advance(state, BEGIN + 10)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 20)
    assert told(state) == [(run, "cancelled")]
    for policy, expected in (("terminate_previous", [(run, "terminated")]), ("cancel_previous", [])):
        machine.update(state, state.recent[-1].at, schedule=Schedule.every(10, overlap=policy))  # type: ignore[arg-type]
        machine.advance(state, state.recent[-1].at + 10)
        assert told(state) == expected
    assert (state.counts.cancelled, state.counts.terminated) == (1, 1)


def test_what_waits_starts_also_in_a_pause() -> None:
    state = schedule(Schedule.every(10, overlap="cancel_previous"))
    machine.advance(state, BEGIN + 10)
    (run,) = sent(state)
    machine.advance(state, BEGIN + 20)
    sent(state)
    machine.pause(state, BEGIN + 20, "")
    machine.end_run(state, run)
    machine.advance(state, BEGIN + 35)
    assert (len(sent(state)), state.recent[-1].planned) == (1, BEGIN + 20)


def test_triggered_runs_end_for_a_firing_too() -> None:
    state = schedule(Schedule.every(10, overlap="terminate_previous"))
    machine.trigger(state, BEGIN, "one")
    machine.trigger(state, BEGIN, "two")
    runs = sent(state)
    machine.advance(state, BEGIN + 10)
    assert told(state) == [(run, "terminated") for run in runs]
    assert "and 1 more went on" in state.recent[-1].reason


def test_allowed_runs_go_beside_each_other() -> None:
    state = schedule(Schedule.every(10, overlap="allow"))
    machine.advance(state, BEGIN + 30)
    assert len(set(sent(state))) == 3
    assert state.running == []


def test_a_maximum_of_firings() -> None:
    state = schedule(Schedule.every(10, overlap="allow", max_firings=2))
    machine.advance(state, BEGIN + 100)
    assert (state.counts.fired, state.planned, state.alarm) == (2, None, None)
    machine.update(state, BEGIN + 100, schedule=Schedule.every(10, overlap="allow", max_firings=3))
    machine.advance(state, BEGIN + 200)
    assert (state.counts.fired, state.planned) == (3, None)


def test_the_end() -> None:
    state = schedule(Schedule.every(10, overlap="allow", end=datetime.fromtimestamp(BEGIN + 25, UTC)))
    machine.advance(state, BEGIN + 100)
    assert (state.counts.fired, state.planned, state.alarm) == (2, None, None)


def test_a_pause_skips_and_says_so() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN)
    machine.pause(state, BEGIN, "holidays")
    machine.ring(state, 1)
    machine.advance(state, BEGIN + 35)
    assert state.counts.fired == 0
    sent(state)
    machine.resume(state, BEGIN + 35)
    machine.advance(state, BEGIN + 35)
    assert (state.counts.skipped, state.recent[-1].reason) == (3, "paused: holidays (3 firings from here)")
    assert state.outbox == [SetAlarm(2, BEGIN + 40)]
    assert state.revision == 3


def test_a_trigger_starts_one_run_per_nonce_also_in_a_pause() -> None:
    state = schedule(Schedule.every(10))
    machine.pause(state, BEGIN, "")
    run = machine.trigger(state, BEGIN + 1, "nonce")
    assert machine.trigger(state, BEGIN + 2, "nonce") == run
    assert sent(state) == [run]
    assert state.counts.triggered == 1


def test_an_update_forgets_what_the_old_schedule_had_planned() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN)
    machine.update(state, BEGIN + 5, schedule=Schedule.every(7, anchor=datetime.fromtimestamp(BEGIN, UTC)), payload=b"1", payload_hash=b"h")
    machine.advance(state, BEGIN + 5)
    assert (state.planned, state.payload, state.revision) == (BEGIN + 7, b"1", 2)
    machine.advance(state, BEGIN + 7)
    assert state.counts.fired == 1


def test_a_backfill_goes_in_parts() -> None:
    state = schedule(Schedule.every(10))
    machine.backfill(state, 0.0, 1199.0, "nonce")
    runs = []
    for number in (50, 50, 20):
        machine.advance(state, BEGIN)
        runs += (some := sent(state))
        assert len(some) == number
    assert len(set(runs)) == state.counts.backfilled == 120
    assert state.backfills == []
    assert state.running == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 200)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("pause"), st.none()),
        st.tuples(st.just("resume"), st.none()),
    ),
    max_size=40,
)
RULES = st.builds(
    Schedule.every,
    st.sampled_from([1, 7, 60]),
    overlap=st.sampled_from(get_args(Overlap)),
    jitter=st.sampled_from([0, 5]),
    catch_up=st.sampled_from([0, 30, 3600]),
    max_firings=st.none() | st.integers(1, 5),
)


@settings(deadline=None)
@given(RULES, STEPS)
def test_every_planned_instant_has_one_outcome(rule: Schedule, steps: list[tuple[str, Any]]) -> None:
    state, now = schedule(rule), BEGIN
    started: list[str] = []
    for step, argument in steps:
        state = decode_schedule(encode_schedule(state))
        if step == "advance":
            now += argument
        elif step == "end" and len(state.running) > argument:
            machine.end_run(state, state.running[argument])
        elif step == "pause":
            machine.pause(state, now, "")
        elif step == "resume":
            machine.resume(state, now)
        for _ in range(20):  # one commit takes a limited number of firings
            before = encode_schedule(state)
            machine.advance(state, now)
            started += sent(state)
            if encode_schedule(state) == before:
                break
        again = decode_schedule(encode_schedule(state))
        machine.advance(again, now)
        assert encode_schedule(again) == encode_schedule(state)
        assert len(started) == len(set(started)) == state.counts.fired
        assert len(state.running) <= (0 if rule.overlap == "allow" else 1)
        assert rule.max_firings is None or state.counts.fired <= rule.max_firings
        decided = state.counts.fired + state.counts.missed + state.counts.overlapping + state.counts.skipped + (state.buffered is not None)
        if state.planned is not None:
            assert rule.interval is not None
            assert BEGIN // rule.interval + 1 + decided == round(state.planned / rule.interval)
        if state.planned is not None and not state.paused:
            assert state.alarm is not None
            assert state.alarm.due > now


def test_a_firing_that_was_decided_ahead_is_taken_back_by_a_pause() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN)
    sent(state)
    assert state.alarm is not None and machine.can_decide(state, state.alarm.serial)
    machine.ring(state, state.alarm.serial)
    machine.advance(state, BEGIN + 10)  # two seconds early, say
    (run,) = sent(state)
    assert state.counts.fired == 1

    machine.pause(state, BEGIN + 9, "wait")
    assert (state.counts.fired, state.planned, state.running) == (0, BEGIN + 10, [run])
    assert state.outbox == [OutRecall(run)]
    state.outbox = []
    machine.advance(state, BEGIN + 9)
    machine.resume(state, BEGIN + 9.5)
    machine.advance(state, BEGIN + 9.5)
    assert isinstance(state.outbox[-1], SetAlarm) and state.outbox[-1].due == BEGIN + 10
    state.outbox = []
    machine.end_run(state, run)  # nobody has ever heard of it
    machine.advance(state, BEGIN + 10)
    again = next(owed for owed in state.outbox if isinstance(owed, OutStart))
    assert (again.run_id, state.counts.fired) == (run, 1)


def test_nothing_is_decided_ahead_while_a_run_goes_on_that_may_end_in_time() -> None:
    state = schedule(Schedule.every(10))
    machine.advance(state, BEGIN + 10)
    sent(state)
    assert state.running and state.alarm is not None
    assert not machine.can_decide(state, state.alarm.serial)
    allowed = schedule(Schedule.every(10, overlap="allow"))
    machine.advance(allowed, BEGIN + 10)
    assert allowed.alarm is not None
    assert machine.can_decide(allowed, allowed.alarm.serial)
    assert not machine.can_decide(allowed, allowed.alarm.serial - 1)
