"""The outbox: what a run's commits owe to others, sent after the commit and before its trigger is acknowledged.

An entry is sent with a message id, so that sending it again is harmless; a host that loads a state sends its outbox again. The entry leaves
the state with a later commit, once this host has itself seen its publish acknowledged.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from aiki import telemetry
from aiki.actors import door
from aiki.actors.versions import RetiredVersions
from aiki.journal import (
    ChildRun,
    OutAlarm,
    OutChild,
    OutClose,
    OutDiscard,
    OutDispatch,
    Outgoing,
    OutMail,
    OutWithdrawal,
    PendingStep,
    RunState,
    StepId,
)
from aiki.kv import RunStore
from aiki.schema import payload_hash
from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, OutcomeUnknown, RequestTimeout, VersionRetired
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Cancel, Dispatch, Ended, Start, Wake, attempts_made, encode
from aiki.types.subjects import Subjects

__all__ = ["AGAIN_HEADER", "DEFAULT_QUEUE", "EARLY", "Outbox"]

EARLY = 4.0
"""Seconds by which alarms are set ahead of their instants, for the host to wait for the rest.

The server fires dense schedules up to 0.25 s late, and a run that was evicted must be read and replayed before its instant, of which one
worker does some ten thousand a second at best.
"""

AGAIN_HEADER = "Aiki-Again"
"""On a dispatch that may have been sent before: its worker looks for evidence against it, though it is delivered for the first time."""

DEFAULT_QUEUE = "default"
PAUSE = 0.05
"""Seconds before what has no answer is sent again."""


Lookup = Callable[[StepId], PendingStep | None]
"""A run's outstanding steps."""


class Outbox:
    """Sends what runs owe."""

    def __init__(self, transport: Transport, subjects: Subjects, host_subject: str) -> None:
        self._transport = transport
        self._subjects = subjects
        self._host_subject = host_subject
        self._retired: dict[str, RetiredVersions] = {}
        """By region."""

    async def flush(self, state: RunState, pending: Lookup, sent: set[int], *, again: bool) -> None:
        """Send the entries whose serial is not in `sent`, and add them to it. `again`: a predecessor may have sent them."""
        owed = [entry for entry in state.outbox if entry.serial not in sent]
        if not owed:
            return
        while owed:
            refused = await self._refused(owed, pending) if any(isinstance(entry, OutChild) for entry in owed) else {}
            # A sub-workflow is told to end when its start is stored for certain: it would not be there to hear it otherwise.
            starts = {(entry.address, entry.ordinal) for entry in owed if isinstance(entry, OutChild)}
            later = [entry for entry in owed if isinstance(entry, OutClose) and (entry.address, entry.ordinal) in starts] if starts else []
            answers = [(entry, self._publish(entry, state, pending, again, refused)) for entry in owed if entry not in later]
            if len(answers) > 1:  # each is looked at, also when one of them raises
                await asyncio.gather(*(answer for _, answer in answers if answer is not None), return_exceptions=True)
            owed = []
            for entry, answer in answers:
                try:
                    if answer is not None:
                        await answer
                    sent.add(entry.serial)
                except Conflict:
                    sent.add(entry.serial)  # its message is still in the stream
                except OutcomeUnknown:
                    owed.append(entry)
            if owed:
                await asyncio.sleep(PAUSE)
            owed += later

    def _publish(
        self, entry: Outgoing, state: RunState, pending: Lookup, again: bool, refused: Mapping[int, VersionRetired]
    ) -> "asyncio.Future[Any] | None":
        message_id = f"{state.run_id}/{entry.serial}"
        match entry:
            case OutDispatch():
                step = pending((entry.address, entry.ordinal))
                if step is None or step.serial != entry.serial:
                    return None  # answered or superseded already
                return self._dispatch(entry, step, state, message_id, again)
            case OutAlarm():
                return self._transport.schedule(
                    f"{self._subjects.timer_prefix}{state.run_id}.{entry.serial}",
                    entry.due - EARLY,
                    self._mailbox(state),
                    encode(Wake(entry.serial, entry.due)),
                    message_id=message_id,
                )
            case OutWithdrawal():
                return asyncio.ensure_future(self._withdraw(entry, state))
            case OutChild():
                step = pending((entry.address, entry.ordinal))
                if step is None or step.child is None:
                    return None
                if (error := refused.get(entry.serial)) is not None:
                    ended = Ended(step.child.run_id, "failed", None, ErrorInfo.of(error))
                    return self._transport.publish(self._mailbox(state), encode(ended), message_id=f"{message_id}/refused")
                return self._start_child(step, step.child, state, message_id)
            case OutClose():
                child = entry.child
                word = Cancel(
                    id=f"{message_id}/close",
                    reason=f"its parent, run {state.run_id}, needs it no more",
                    terminate=child.close == "terminate",
                )
                mailbox = self._of(child).run_words(child.workflow, child.version, child.run_id)
                return self._transport.publish(mailbox, encode(word), message_id=message_id)
            case OutDiscard():
                segment = f"{self._subjects.runs_prefix}{state.run_id}.s{entry.begin}-{entry.end}"
                return asyncio.ensure_future(self._purge(self._subjects.runs_stream, segment))
            case OutMail():
                return self._transport.publish(entry.mailbox, entry.data, message_id=message_id)

    def _of(self, child: ChildRun) -> Subjects:
        return Subjects(child.region) if child.region else self._subjects

    def _mailbox(self, state: RunState) -> str:
        return f"{self._subjects.run_mail(state.workflow, state.version)}{state.run_id}"

    def _dispatch(self, entry: OutDispatch, step: PendingStep, state: RunState, message_id: str, again: bool) -> "asyncio.Future[Any]":
        data = encode(
            Dispatch(
                state.run_id,
                state.workflow,
                step.address,
                step.ordinal,
                step.serial,
                step.name,
                step.input,
                attempts_made(step.failed) + 1,
                self._host_subject,
                self._mailbox(state),
                step.retry,
                step.timeout,
                step.key,
                step.deadline_at,
                step.start_by,
                step.heartbeat,
                step.details,
                step.first_began_at,
                step.cache,
                step.place,
            )
        )
        subject = self._task_subject(state, step.queue, step.name, entry.serial)
        headers = telemetry.outgoing(state.trace)
        if again:
            headers = {**(headers or {}), AGAIN_HEADER: "1"}
        if entry.due is not None:
            delay = f"{self._subjects.delay_prefix}{state.run_id}.{entry.serial}"
            return self._transport.schedule(delay, entry.due, subject, data, headers=headers, message_id=message_id)
        if step.place:
            gate = self._subjects.gate_key(step.queue or state.queue or DEFAULT_QUEUE, step.name)
            id = f"{state.run_id}.{entry.serial}"
            coming = door.enter(
                self._transport, self._subjects, gate, step.place, id, data, headers=headers, message_id=message_id, again=again
            )
            return asyncio.ensure_future(coming)
        # While the first copy of a dispatch is in the stream, a second is refused; the id alone would do so for the dedupe window only.
        return self._transport.publish(subject, data, headers=headers, message_id=message_id, expect=0 if again else None)

    def _task_subject(self, state: RunState, queue: str | None, name: str, serial: int) -> str:
        return f"{self._subjects.task_mail(queue or state.queue or DEFAULT_QUEUE, name)}{state.run_id}.{serial}"

    async def _withdraw(self, entry: OutWithdrawal, state: RunState) -> None:
        """Take a dispatch out of its queue, or out of its delay, and tell the worker that has it, if one has."""
        stream = self._subjects.task_stream
        self._transport.send(self._subjects.withdrawn_prefix + state.run_id, encode([entry.dispatch]))
        await asyncio.gather(
            self._purge(stream, f"{self._subjects.delay_prefix}{state.run_id}.{entry.dispatch}"),
            self._purge(stream, self._task_subject(state, entry.queue, entry.name, entry.dispatch)),
        )
        if entry.place:
            gate = self._subjects.gate_key(entry.queue or state.queue or DEFAULT_QUEUE, entry.name)
            id = f"{state.run_id}.{entry.dispatch}"
            # The waiting room first: its keeper stores a dispatch in the queue before it takes it from there.
            await self._purge(stream, f"{self._subjects.waiting_room(gate)}{entry.place}.{id}")
            await self._purge(stream, f"{self._subjects.task_prefix}{gate}.{id}.{entry.place}")
            door.leave(self._transport, self._subjects, gate, id)

    async def _purge(self, stream: str, subject: str) -> None:
        try:
            await self._transport.purge(stream, subject)
        except RequestTimeout as error:
            raise OutcomeUnknown(f"no answer came to the deletion of {subject}", subject=subject) from error

    def _start_child(self, step: PendingStep, child: ChildRun, state: RunState, message_id: str) -> "asyncio.Future[Ack]":
        start = Start(
            child.run_id,
            child.workflow,
            child.version,
            step.input,
            payload_hash(step.input),
            step.issued_at,
            child.key,
            state.trace,
            notify=self._mailbox(state),
            parent=state.run_id,
            retry=child.retry,
            timeout=child.timeout,
            deadline=child.deadline,
            queue=child.queue,
            shares=child.shares,
            salt=blake2b(child.run_id.encode(), key=state.salt, digest_size=16).digest() if state.salt else b"",
        )
        target = self._of(child).run_start(child.workflow, child.version, child.run_id)
        return self._transport.publish(target, encode(start), headers=state.trace or None, message_id=message_id)

    async def _refused(self, owed: Sequence[Outgoing], pending: Lookup) -> dict[int, VersionRetired]:
        """The starts of children whose version takes no new runs. One that exists already goes on, and its end is waited for."""
        refused: dict[int, VersionRetired] = {}
        for entry in owed:
            step = pending((entry.address, entry.ordinal)) if isinstance(entry, OutChild) else None
            if step is not None and (child := step.child) is not None:
                subjects = self._of(child)
                retired = self._retired.setdefault(subjects.region, RetiredVersions(self._transport, subjects))
                if await retired.has(child.workflow, child.version) and not await self._exists(child, subjects):
                    try:
                        await retired.check(child.workflow, child.version)
                    except VersionRetired as error:
                        refused[entry.serial] = error
        return refused

    async def _exists(self, child: ChildRun, subjects: Subjects) -> bool:
        store = RunStore(self._transport, subjects)
        waiting = await store.start(subjects.run_start(child.workflow, child.version, child.run_id))
        return waiting is not None or (await surely(lambda: store.read(child.run_id))).answer is not None

    async def notify(self, mailbox: str, data: bytes, message_id: str) -> None:
        """Put a message into somebody's mailbox; returns when it is stored."""
        await surely(lambda: self._transport.publish(mailbox, data, message_id=message_id))

    def forget_alarms(self, state: RunState) -> None:
        """A run has ended: cancel the alarms that are still set, as far as that can be done without waiting."""
        for alarm in state.alarms:
            subject = f"{self._subjects.timer_prefix}{state.run_id}.{alarm.serial}"
            task = asyncio.ensure_future(self._transport.cancel_schedule(self._subjects.mail_stream, subject))
            task.add_done_callback(_swallow)

    async def forget_start(self, run_id: str) -> None:
        """Cancel the start that waits for its instant: the run exists already, so its own alarm stands for it."""
        await surely(lambda: self._transport.cancel_schedule(self._subjects.mail_stream, self._subjects.delayed_start(run_id)))


def _swallow(task: "asyncio.Future[None]") -> None:
    # An alarm that is not cancelled wakes a finished run, which does nothing.
    if not task.cancelled():
        task.exception()
