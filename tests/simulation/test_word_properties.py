"""Random conversations with random code: however often a run is rebuilt from its committed bytes, it goes the same way.

The same conversation is held with three hosts: one that never forgets the run, one that rebuilds it before every turn, one that does so now
and then. What they commit must be the same, byte by byte, and no update is answered differently.
"""

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiki.journal import RunMachine, Shield, decode_entries, decode_state, reopened
from aiki.types.messages import Cancel, CancelStep, Ended, EndSleep, Event, Mail, Pause, Unpause, Update
from aiki.types.retry import Retry
from tests.unit.journal.rig import Rig, StepError, Steps

EXAMPLES = 2_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 150
TURNS = 40

Forget = Callable[[random.Random], bool]


def code_of(seed: int) -> Callable[[Steps], Any]:
    """Code of a few parts, some side by side, that waits for everything one can wait for, and cleans up in one of several ways."""

    async def part(steps: Steps, chance: random.Random, log: list[Any]) -> None:
        kind = chance.randrange(7)
        try:
            if kind == 0:
                log.append(await steps.event("a"))
            elif kind == 1:
                log.append(await steps.event("a", "b"))
            elif kind == 2:
                log.append(await steps.call(chance.choice("xy"), len(log)))
            elif kind == 3:
                log.append(await steps.child("child", len(log), close=chance.choice(("cancel", "terminate", "abandon"))))
            elif kind == 4:
                await asyncio.sleep(chance.choice((1, 5, 50)))
            elif kind == 5:
                async with asyncio.timeout(5):
                    log.append(await steps.event("b"))
            else:
                async with Shield():
                    log.append(await steps.call("shielded", len(log)))
        except (StepError, TimeoutError) as error:
            log.append(type(error).__name__)

    async def code(steps: Steps) -> list[Any]:
        chance = random.Random(seed)
        log: list[Any] = []

        async def book(payload: bytes) -> bytes:
            if chance.random() < 0.3:
                log.append(await steps.call("book", msgspec.json.decode(payload)))
            log.append("booked")
            return msgspec.json.encode(len(log))

        steps.machine.updates.handlers = {"book": book}
        try:
            for _ in range(chance.randrange(1, 6)):
                await asyncio.gather(*(part(steps, chance, log) for _ in range(chance.randrange(1, 4))))
                if chance.random() < 0.1:
                    raise ValueError("an attempt that fails")
        except asyncio.CancelledError:
            if chance.random() < 0.5:
                log.append(await steps.call("clean"))
            if chance.random() < 0.7:
                raise
        return log

    return code


def talk(seed: int, forget: Forget) -> tuple[list[bytes], dict[str, bytes]]:
    """The committed values after each turn, and the answers of updates."""
    chance, host = random.Random(seed), random.Random(seed + 1)
    rig = Rig(code_of(seed), retry=Retry.fixed(max_attempts=3, delay=3), cleanup=20)
    values: list[bytes] = []
    answers: dict[str, bytes] = {}
    old: list[Mail] = []
    for number in range(TURNS):
        if rig.done:
            break
        if forget(host):
            rig.reload(advance=False)
        said = [say(chance, rig, f"{number}.{index}") for index in range(chance.randrange(4))]
        said += chance.choices(old, k=1) if old and chance.random() < 0.2 else []
        old += said
        rig.turn(*said, after=chance.choice((0.0, 0.0, 0.5, 3.0, 30.0)))
        values.append(rig.value)
        given = rig.machine.updates.answers
        answers.update((id, msgspec.msgpack.encode((each.value, each.error and each.error.message))) for id, each in given.items())
    return values, answers


def told(machine: RunMachine) -> dict[str, bytes]:
    """The answers of its updates so far."""
    return {id: msgspec.msgpack.encode((each.value, each.error and each.error.message)) for id, each in machine.updates.answers.items()}


def agree(one: dict[str, bytes], other: dict[str, bytes]) -> bool:
    """Replay may come to an answer whose handler was still at work when its attempt ended; it never comes to another one."""
    return all(one[id] == other[id] for id in one.keys() & other.keys())


def say(chance: random.Random, rig: Rig, id: str) -> Mail:
    """Something that somebody could send now."""
    pending = rig.state.pending
    if pending and chance.random() < 0.5:
        step = chance.choice(pending)
        if step.child is not None:
            return Ended(step.child.run_id, chance.choice(("completed", "failed", "cancelled")), b"1", None)
        return rig.result(step.name, chance.randrange(9), error="no" if chance.random() < 0.2 else None)
    words: list[Mail] = [
        Event(id=id, name=chance.choice("aab"), payload=b"%d" % chance.randrange(9)),
        Event(id=id, name=chance.choice("aab"), payload=b"0"),
        Update(id=id, name=chance.choice(("book", "book", "nope")), payload=b"1"),
        Pause(id=id),
        Unpause(id=id),
        Unpause(id=id),
        EndSleep(id=id),
        CancelStep(id=id, name=chance.choice(("x", "child", "shielded"))),
    ]
    if chance.random() < 0.1:
        words = [Cancel(id=id, reason="why", terminate=chance.random() < 0.3)]
    return chance.choice(words)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_a_conversation_goes_the_same_way_whoever_has_the_run(seed: int) -> None:
    try:
        steady = talk(seed, lambda host: False)
        for forget in (lambda host: True, lambda host: host.random() < 0.3):
            values, answers = talk(seed, forget)
            assert values == steady[0]
            assert agree(answers, steady[1])
    finally:
        Rig.evict_all()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_a_run_that_has_ended_comes_to_its_end_again(seed: int) -> None:
    """Its journal alone says how, and what the updates of its last attempt were answered."""
    try:
        values, answers = talk(seed, lambda host: False)
        state = decode_state(values[-1])
        if state.status != "completed":
            return
        code = code_of(seed)

        async def program(machine: RunMachine) -> bytes:
            return msgspec.json.encode(await code(Steps(machine)))

        machine = RunMachine(reopened(state), program, history=decode_entries(state.entries), retry=Retry.fixed(max_attempts=3, delay=3))
        machine.begin(state.updated_at)
        assert (machine.state.status, machine.state.result) == ("completed", state.result)
        if state.attempt == 1:
            assert agree(told(machine), answers)
        machine.evict()
    finally:
        Rig.evict_all()
