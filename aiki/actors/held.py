"""What is given up: it goes into the dead-letter list, and its messages leave their queues without being lost.

It is marked and listed, what belongs to it is kept beside the letter, and only then is a message settled: whoever dies in between leaves
the message behind, and the next one repeats it. Nothing here runs any code of users.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from aiki.actors.envelope import Envelope, MailEnvelope
from aiki.actors.evidence import Poisoned
from aiki.actors.stored import StoredRun
from aiki.journal import RunState, decode_state
from aiki.kv import DeadStore, RunStore
from aiki.transport.port import Delivery, Transport
from aiki.types.errors import RunPoisoned, TaskPoisoned, TransportError
from aiki.types.letters import DeadLetter, encode_letter
from aiki.types.messages import Cancel, Dispatch
from aiki.types.states import is_final
from aiki.types.subjects import Subjects

__all__ = ["bury_dispatch", "bury_run", "bury_unreadable", "is_held", "is_terminated", "keep_mail", "poisoned_run", "poisoned_task"]

UNREADABLE_KEPT = 1000
"""Letters of each stream about messages that cannot be read: a stranger may publish any number of them, and the latest are kept."""

TRY_AGAIN = 5.0
"""Seconds after which a message comes again whose letter could not be written."""

_log = logging.getLogger("aiki.actors")


def poisoned_task(task: str, poisoned: Poisoned) -> TaskPoisoned:
    """The outcome of a step that is given up."""
    return TaskPoisoned(
        f"task {task!r} was given up: {len(poisoned.dead)} workers have died while they ran it ({', '.join(poisoned.workers)})",
        task=task,
        workers=poisoned.workers,
    )


def poisoned_run(run_id: str, poisoned: Poisoned) -> RunPoisoned:
    """Why a run is held."""
    return RunPoisoned(
        f"{len(poisoned.dead)} workers have died while they ran its code or its local steps ({', '.join(poisoned.workers)}); it goes on "
        f"after `aiki dlq retry {run_id}`",
        run_id=run_id,
        workers=poisoned.workers,
    )


def is_held(state: RunState) -> bool:
    """Whether the code of this run must not be run."""
    return state.held is not None and state.held.code == RunPoisoned.code and not is_final(state.status)


def is_terminated(envelopes: Iterable[Envelope]) -> bool:
    """Whether a run is told to end without being asked: that can be done without its code."""
    return any(isinstance(each.message, Cancel) and each.message.terminate for each in envelopes)


async def bury_dispatch(dead: DeadStore, dispatch: Dispatch, delivery: Delivery, poisoned: Poisoned) -> None:
    """A call of a task is given up: the step stays as it is, and waits. Afterwards the delivery may be settled."""
    id = f"{dispatch.run_id}-{dispatch.serial}"
    error = poisoned_task(dispatch.task, poisoned)
    _log.error("run %s: %s; it is held as dead letter %s", dispatch.run_id, error, id)
    letter = DeadLetter(
        id=id,
        kind="task",
        reason=str(error),
        code=error.code,
        deliveries=delivery.attempt,
        first_at=poisoned.dead[0].at,
        last_at=poisoned.dead[-1].at,
        subject=delivery.subject,
        run_id=dispatch.run_id,
        workflow=dispatch.workflow,
        task=dispatch.task,
        workers=poisoned.workers,
    )
    await dead.keep(id, 0, delivery.subject, delivery.data, delivery.headers)
    await dead.write(letter)


async def bury_run(
    dead: DeadStore, run: StoredRun, new: RunState | None, mailbox: str, envelopes: Sequence[Envelope], poisoned: Poisoned
) -> bool:
    """A run is given up: its state says so, it goes into the list, and then `keep_mail` may take its messages out of their queue.

    `new`: its state if it was not written yet. Who dies in between leaves the messages there, and the evidence: whoever gets them next
    comes here again. False when there is no such run, or it has ended; `Conflict` when somebody lives who goes on with it.
    """
    error = poisoned_run(run.run_id, poisoned)
    state = await run.hold(error, new)
    if state is None:
        return False
    _log.error("run %s is held, as a dead letter: %s", state.run_id, error)
    await dead.write(
        DeadLetter(
            id=state.run_id,
            kind="run",
            reason=str(error),
            code=error.code,
            deliveries=max((each.delivery.attempt for each in envelopes if isinstance(each, MailEnvelope)), default=1),
            first_at=poisoned.dead[0].at,
            last_at=poisoned.dead[-1].at,
            subject=mailbox,
            run_id=state.run_id,
            workflow=state.workflow,
            version=state.version,
            workers=poisoned.workers,
        )
    )
    return True


async def keep_mail(dead: DeadStore, store: RunStore, run_id: str, mailbox: str, envelopes: Sequence[Envelope]) -> None:
    """Keep what has come for a run that is held, and settle it; what is not settled is to be refused.

    Whoever lets the run go on first changes its state, and then looks at what is kept: so what was kept before the state was read once
    more is not overlooked, and what comes too late goes back to where it came from. So does the letter, which is written here if whoever
    held the run has died before it could do so.
    """
    written = await _write_anew(dead, store, run_id, mailbox)
    mail = [each for each in envelopes if isinstance(each, MailEnvelope)]
    keys = [
        await dead.keep(run_id, each.delivery.sequence, each.delivery.subject, each.delivery.data, each.delivery.headers) for each in mail
    ]
    stored = await store.read(run_id)
    if stored is not None and is_held(decode_state(stored.value)):
        for each in mail:
            each.done()
    else:
        for key in keys:
            await dead.forget(key)
        if written:
            await dead.unlist(run_id)


async def _write_anew(dead: DeadStore, store: RunStore, run_id: str, mailbox: str) -> bool:
    """Put a run that is held into the list, unless it is there."""
    stored = None if await dead.read(run_id) is not None else await store.read(run_id)
    state = None if stored is None else decode_state(stored.value)
    if state is None or not is_held(state):
        return False
    assert state.held is not None
    await dead.write(
        DeadLetter(
            id=run_id,
            kind="run",
            reason=state.held.message,
            code=RunPoisoned.code,
            deliveries=1,
            first_at=state.updated_at,
            last_at=state.updated_at,
            subject=mailbox,
            run_id=run_id,
            workflow=state.workflow,
            version=state.version,
        )
    )
    return True


def bury_unreadable(transport: Transport, subjects: Subjects, delivery: Delivery, stream: str, error: Exception) -> "asyncio.Task[None]":
    """A message that cannot be decoded leaves its queue, and the latest of them are listed."""
    return asyncio.create_task(_bury_unreadable(transport, subjects, delivery, stream, str(error)))


async def _bury_unreadable(transport: Transport, subjects: Subjects, delivery: Delivery, stream: str, reason: str) -> None:
    kind = "tasks" if stream == subjects.task_stream else "mail"
    id = f"{kind}-{delivery.sequence % UNREADABLE_KEPT:03d}"
    letter = DeadLetter(
        id=id,
        kind="message",
        reason=f"it cannot be read: {reason}",
        code="unreadable",
        deliveries=delivery.attempt,
        first_at=delivery.timestamp,
        last_at=delivery.timestamp,
        subject=delivery.subject,
    )
    dead = DeadStore(transport, subjects)
    try:
        await dead.keep(id, 0, delivery.subject, delivery.data, delivery.headers)
        await transport.publish(subjects.letter_prefix + letter.id, encode_letter(letter))
    except TransportError as failure:
        _log.error("a message on %s could not be put into the dead-letter list: %s", delivery.subject, failure)
        delivery.nak(TRY_AGAIN)
    else:
        delivery.term("cannot be decoded")
