"""Runs that were recorded by earlier releases replay, from each of their states, to where they stood and on to where they ended."""

from typing import Any, get_args

import msgspec
import pytest

from aiki.journal import Entry, RecordedStep, Retried, Tick, decode_entries, decode_state, encode_state
from aiki.types.messages import Wake
from tests.replay.record import HISTORIES, begin, load
from tests.replay.workflows import WORKFLOWS, changed

NAMES = sorted(path.stem for path in HISTORIES.glob("*.msgpack"))

OUTCOMES: dict[str, Any] = {
    "order": {
        "receipt": "charged 1300",
        "shipped": "task 'ship' failed: ValueError: no room for order 7",
        "note": "CHARGED 1300",
        "again": "charged 1300",
    },
    "again": 400,
    "talk": [7, True, 900, True, "CLEAN", [5]],
    "rounds": [111, "SAME IN EVERY GENERATION", 0.4510426514011412],
}


def test_there_are_histories() -> None:
    assert set(NAMES) >= {"again", "back", "order", "races", "rounds", "talk"}
    assert set(NAMES) == set(WORKFLOWS)


@pytest.mark.parametrize("name", NAMES)
def test_each_state_can_be_read_and_replays_to_itself(name: str) -> None:
    definition, _ = WORKFLOWS[name]
    journal = (0, 0)
    for value in load(name).states:
        state = decode_state(value)
        machine = begin(definition, value, state.updated_at)
        last = decode_entries(state.entries)[-1:]
        if (last and isinstance(last[0], Retried)) or (state.generation, state.resets) != journal:
            journal = (state.generation, state.resets)
            machine.evict()
            continue  # written between two attempts or generations of the workflow: the second one has only just begun
        # As this release writes it: a field that was appended since has its default.
        assert encode_state(machine.snapshot(state.updated_at)) == encode_state(decode_state(value))
        machine.evict()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_from_each_state_to_its_recorded_outcome(name: str) -> None:
    definition, _ = WORKFLOWS[name]
    states = load(name).states
    final = decode_state(states[-1])
    assert final.status == "completed"
    if name in OUTCOMES:
        assert msgspec.json.decode(final.result or b"") == OUTCOMES[name]
    for value in states[:-1]:
        state = decode_state(value)
        if state.generation != final.generation:
            continue  # of another journal
        # The whole journal, but not the end: the code itself must come to it.
        state.entries, state.pending, state.attempt, state.retry_at = final.entries, final.pending, final.attempt, None
        state.paused, state.cancelled = None, final.cancelled
        machine = begin(definition, encode_state(state), final.updated_at)
        assert (machine.state.status, machine.state.result) == ("completed", final.result)
        machine.evict()


def test_the_histories_hold_every_kind_of_entry() -> None:
    found = {type(entry) for name in NAMES for value in load(name).states for entry in decode_entries(decode_state(value).entries)}
    assert found == set(get_args(Entry))


def test_an_alarm_of_a_recorded_run_still_wakes_it() -> None:
    definition, _ = WORKFLOWS["again"]
    sleeping = next(value for value in load("again").states if decode_state(value).status == "sleeping")
    (alarm,) = decode_state(sleeping).alarms
    machine = begin(definition, sleeping, decode_state(sleeping).updated_at)
    machine.apply(Wake(alarm.serial, alarm.due), alarm.due)
    assert isinstance(decode_entries(machine.snapshot(alarm.due).entries)[-1], Tick)
    machine.evict()


def test_changed_code_is_found_out() -> None:
    for value in load("order").states[:-1]:
        state = decode_state(value)
        machine = begin(changed, value, state.updated_at)
        if any(isinstance(entry, RecordedStep) for entry in decode_entries(state.entries)):
            assert machine.state.status == "failed"
            assert machine.state.error is not None and machine.state.error.code == "non_determinism"
        machine.evict()
