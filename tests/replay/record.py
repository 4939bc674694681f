"""`python -m tests.replay.record [name …]`: play the workflows of this folder and keep their histories.

A history is what a run's key held after each commit. Record a new workflow under a new name: to record an old one again is to
give up on runs that are out there.
"""

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

from aiki.journal import RunMachine, RunState, decode_entries, decode_state, encode_entry, encode_state
from aiki.task import Task
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt, Ended, Mail, StepFailedOnce, StepResult
from aiki.workflow import Workflow
from tests.replay import workflows
from tests.replay.workflows import WORDS, WORKFLOWS

__all__ = ["HISTORIES", "History", "load", "play"]

HISTORIES = Path(__file__).parent / "histories"
BEGIN = 1_760_000_000.0


class History(msgspec.Struct):
    """`states`: the committed values, oldest first; the last one is final."""

    states: list[bytes]


def load(name: str) -> History:
    return msgspec.msgpack.decode((HISTORIES / f"{name}.msgpack").read_bytes(), type=History)


def begin(definition: Workflow[Any, Any], value: bytes, now: float) -> RunMachine:
    """What a host does that loads a run."""
    state = decode_state(value)
    machine = RunMachine(state, definition.program, history=decode_entries(state.entries), retry=definition.retry)
    machine.begin(now)
    return machine


def play(definition: Workflow[Any, Any], payload: bytes) -> History:
    """Run a workflow to its end, with one message a turn, in an order of its own."""
    now, chance = BEGIN, random.Random(definition.name)
    tasks: dict[str, Task[Any, Any, ..., Any]] = {each.name: each for each in vars(workflows).values() if isinstance(each, Task)}
    state = RunState(
        run_id=f"golden-{definition.name}", workflow=definition.name, version=definition.version, input=payload, input_hash=b"",
        created_at=now, started_at=now, updated_at=now, trace={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )  # fmt: skip
    machine = begin(definition, encode_state(state), now)
    states: list[bytes] = []
    words = list(WORDS.get(definition.name, ()))
    while True:
        if machine.deadline() is not None:
            machine.arm()
        states.append(encode_state(machine.snapshot(now)))
        if machine.state.finished_at is not None:
            machine.evict()
            return History(states)
        if machine.restart:
            machine.evict()
            machine = begin(definition, states[-1], now)
            continue
        if words and machine.snapshot(now).status == words[0][0]:
            now += 0.125
            machine.apply(words.pop(0)[1], now)
            for word in machine.asked_back:
                made = machine.go_back(word, decode_entries(machine.state.entries), now)
                assert made is not None
                machine.state.entries = [encode_entry(entry) for entry in (*made.before, *made.after)]
            machine.advance(now)
            continue
        pending = [step for step in machine.snapshot(now).pending if step.due is None or step.due <= now]
        due = machine.deadline()
        if pending and (due is None or chance.random() < 0.8):
            step = chance.choice(pending)
            now += 0.125
            if step.child is not None:
                machine.apply(Ended(step.child.run_id, "completed", step.input, None), now)
            else:
                machine.apply(attempt(tasks[step.name], step, now), now)
        else:
            now = min([each.due for each in machine.snapshot(now).pending if each.due is not None] + ([due] if due is not None else []))
        machine.advance(now)
        if (error := machine.state.error) is not None:  # without its traceback, which names files of this machine
            machine.state.error = ErrorInfo(type=error.type, message=error.message, code=error.code)


def attempt(task: Task[Any, Any, ..., Any], step: Any, now: float) -> Mail:
    number = len(step.failed) + 1
    try:
        value = asyncio.run(task.execute(step.input, run_id="golden", attempt=number, key="key"))
    except Exception as error:
        info = ErrorInfo(type=type(error).__name__, message=str(error))
        delay = (step.retry or task.retry).next_delay(number, error, random.Random(0))
        if delay is not None:
            return StepFailedOnce(step.address, step.ordinal, step.serial, (Attempt(number, now, now, "golden", info),), delay)
        return StepResult(step.address, step.ordinal, step.serial, b"", info, now, now, "golden")
    return StepResult(step.address, step.ordinal, step.serial, value, None, now, now, "golden")


def main(names: list[str]) -> None:
    HISTORIES.mkdir(exist_ok=True)
    for name in names or WORKFLOWS:
        history = play(*WORKFLOWS[name])
        (HISTORIES / f"{name}.msgpack").write_bytes(msgspec.msgpack.encode(history))
        final = decode_state(history.states[-1])
        print(f"{name}: {len(history.states)} states, {final.status}: {(final.result or b'').decode()}")


if __name__ == "__main__":
    main(sys.argv[1:])
