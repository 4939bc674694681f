"""Random programs under random worlds: however often a run is rebuilt from its committed bytes, it goes the same way.

A world is a seed: which of the outstanding messages come next, in which order, how many in one turn, which come twice or long
after they were superseded, how much time passes, which steps fail. The same world is played to three hosts: one that never forgets
a run, one that rebuilds it before every turn, one that does so now and then; the last two lose turns that they have not committed.
Their runs must be the same, byte by byte.

`pytest -m long tests/simulation` plays many more; HYPOTHESIS_PROFILE=long does so for the short test, too.
"""

import os
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiki.journal import OutAlarm, OutDispatch, RecordedStep, Retried, decode_state, encode_state
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt, StepFailedOnce, StepResult, Wake
from aiki.types.retry import Retry
from tests.simulation.programs import Node, code_of, programs
from tests.unit.journal.rig import Rig

SHORT = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=4_000, deadline=None, suppress_health_check=list(HealthCheck))
PROFILE = LONG if os.environ.get("HYPOTHESIS_PROFILE") == "long" else SHORT

MAX_TURNS = 200
AGAIN = Retry.fixed(max_attempts=2, delay=7)
Message = StepResult | StepFailedOnce | Wake
Forget = Callable[[random.Random], bool]


def outcome(chance: random.Random, rig: Rig, address: str, ordinal: int, serial: int, failed: int) -> Message:
    """What comes of a dispatch or a local step."""
    kind = chance.random()
    error = ErrorInfo(type="Boom", message=f"{address}/{ordinal}")
    if kind < 0.15 and failed < 2:
        return StepFailedOnce(address, ordinal, serial, (Attempt(failed + 1, rig.now, rig.now, "w", error),), 3.0)
    value = str(chance.randrange(10)).encode()
    return StepResult(address, ordinal, serial, b"" if kind < 0.3 else value, error if kind < 0.3 else None, rig.now, rig.now, "w")


class World:
    """All that happens to a run outside of it."""

    def __init__(self, node: Node, seed: int, forget: Forget) -> None:
        self.chance = random.Random(seed)
        self.host = random.Random(seed + 1)
        self.forget = forget
        self.rig = Rig(code_of(node), retry=AGAIN)
        self.outstanding: dict[tuple[str, int, int, int], Message] = {}
        self.old: list[Message] = []
        self.recorded: list[bytes] = []
        self.attempts: set[tuple[str, int, int, int]] = set()

    def play(self) -> "World":
        for _ in range(MAX_TURNS):
            self.check()
            if self.rig.done:
                break
            if self.forget(self.host):
                self.rig.reload(advance=False)
            self.turn()
        else:
            raise AssertionError(f"not done after {MAX_TURNS} turns: {self.rig.state}")
        self.after_the_end()
        return self

    def turn(self) -> None:
        chance, rig = self.chance, self.rig
        self.look()
        rig.now += chance.choice([0, 0, 0.5, 1, 2, 5])
        ready = [key for key, message in self.outstanding.items() if not isinstance(message, Wake) or message.due <= rig.now]
        chosen = chance.sample(ready, min(len(ready), chance.choice([0, 1, 1, 1, 2, 4])))
        if not chosen and not ready:
            rig.now = max([rig.now, *(message.due for message in self.outstanding.values() if isinstance(message, Wake))])
        messages = [self.outstanding.pop(key) for key in chosen]
        # Outcomes of local steps (serial 0) never leave their process, so there are no late copies of them.
        self.old += [message for message in messages if isinstance(message, Wake) or message.serial]
        if self.old and chance.random() < 0.3:
            messages.insert(chance.randrange(len(messages) + 1), chance.choice(self.old))
        if self.forget(self.host):  # a host applies them, and dies before it commits
            for message in messages[: self.host.randrange(len(messages) + 1)]:
                rig.machine.apply(message, rig.now)
            rig.reload(advance=False)
        rig.turn(*messages)
        if self.old and chance.random() < 0.3:
            before = rig.value
            assert rig.turn(chance.choice(self.old)).value == before, "a message that was applied or superseded has changed something"

    def look(self) -> None:
        """See what the run owes and does, in an order of no consequence: who answers what is a matter of the serials."""
        rig = self.rig
        for alarm in rig.state.alarms:
            self.outstanding.setdefault(("alarm", 0, alarm.serial, 0), Wake(alarm.serial, alarm.due))
        known = set(self.attempts)
        for step in sorted(rig.machine.snapshot(rig.now).pending, key=lambda step: (step.address, step.ordinal)):
            if step.kind == "local" and step.due is not None and step.due > rig.now:
                continue
            key = (step.address, step.ordinal, step.serial, len(step.failed) + 100 * rig.machine.state.attempt)
            if key not in known and (step.kind == "local" or step.serial in rig.sent):
                self.attempts.add(key)
                chance = random.Random(f"{self.rig.machine.state.run_id}{key}")
                self.outstanding[key] = outcome(chance, rig, step.address, step.ordinal, step.serial, len(step.failed))

    def check(self) -> None:
        """What must hold after every commit."""
        rig = self.rig
        state = rig.state
        assert encode_state(decode_state(rig.value)) == rig.value
        entries = [bytes(raw) for raw in state.entries]
        assert entries[: len(self.recorded)] == self.recorded, "a recorded entry has changed"
        self.recorded = entries
        outcomes: dict[tuple[str, int], RecordedStep] = {}
        for entry in rig.entries:
            if isinstance(entry, Retried):
                outcomes = {id: step for id, step in outcomes.items() if step.error is None}
            elif isinstance(entry, RecordedStep):
                assert (entry.address, entry.ordinal) not in outcomes, "recorded twice"
                outcomes[entry.address, entry.ordinal] = entry
        owed = {entry.serial for entry in state.outbox if isinstance(entry, OutDispatch)}
        for step in state.pending:
            assert (step.address, step.ordinal) not in outcomes, "pending and recorded"
            assert step.kind == "local" or step.serial in owed | set(rig.sent), "issued, and nobody was told"
        alarms = {entry.serial for entry in state.outbox if isinstance(entry, OutAlarm)}
        assert rig.done or {alarm.serial for alarm in state.alarms} <= alarms
        due = rig.machine.deadline()
        assert due is None or any(alarm.due <= due for alarm in state.alarms), "nobody will wake it"
        instants = [entry.at for entry in rig.entries]
        assert instants == sorted(instants)

    def after_the_end(self) -> None:
        before = self.rig.value
        assert self.rig.turn(*self.old[-5:], *self.outstanding.values(), after=1000).value == before
        assert self.rig.reload().value == before
        self.rig.machine.evict()

    @property
    def story(self) -> dict[str, object]:
        """All of the run that others can see. Operations are numbered by its serials, so these tell the order in which they were issued."""
        state = self.rig.state
        sent = {serial: (step.address, step.ordinal, step.input, step.issued_at) for serial, step in self.rig.sent.items()}
        # A local step is written with its outcome, not before: after a crash it is issued anew.
        entries = [
            msgspec.structs.replace(entry, issued_at=0.0) if isinstance(entry, RecordedStep) else entry for entry in self.rig.entries
        ]
        error = state.error and (state.error.type, state.error.message)
        return {"status": state.status, "result": state.result, "error": error, "entries": entries, "alarms": state.alarms, "sent": sent}


def never(chance: random.Random) -> bool:
    return False


def always(chance: random.Random) -> bool:
    return True


def sometimes(chance: random.Random) -> bool:
    return chance.random() < 0.3


def same_story(node: Node, seed: int) -> None:
    try:
        story = World(node, seed, never).play().story
        assert World(node, seed, always).play().story == story
        assert World(node, seed, sometimes).play().story == story
    finally:
        Rig.evict_all()


@PROFILE
@given(programs, st.integers(0, 2**32))
def test_a_run_goes_the_same_way_however_often_it_is_rebuilt(node: Node, seed: int) -> None:
    same_story(node, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@LONG
@given(programs, st.integers(0, 2**32))
def test_many_runs_go_the_same_way_however_often_they_are_rebuilt(node: Node, seed: int) -> None:
    same_story(node, seed)
