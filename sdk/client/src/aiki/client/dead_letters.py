"""The dead-letter list, as clients see it: what was given up, to look at, to try again, or to let go."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from aiki.actors.held import is_held
from aiki.actors.outbox import AGAIN_HEADER
from aiki.journal import RunState, decode_state, encode_state
from aiki.kv import DeadStore, KeptMessage
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, DefinitionError, LetterNotFound, NotRetryable, Tampered, TaskPoisoned
from aiki.types.failure import ErrorInfo
from aiki.types.letters import DeadLetter, LetterKind
from aiki.types.messages import Cancel, Dispatch, Resume, StepResult, decode_dispatch, encode
from aiki.types.sealed import is_sealed, missing
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["DeadLetterView", "DeadLetters"]

AT_A_TIME = 64
KINDS = ("task", "run", "message")
SHOWN = 2_000
"""Bytes of a message that are shown."""


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was given up. `kind`: "task" (a call of one), "run", or "message" (one that cannot be read).

    `code` and `reason` say why. `deliveries`: how often its message was handed out; `workers`: those that are proven to have died with it
    in hand, between `first_at` and `last_at`. `subject`: where its message came from. `run_id`, `workflow`, `version` and `task` are ""
    where there is none, or where that is not known.
    """

    id: str
    kind: LetterKind
    reason: str
    code: str
    deliveries: int
    workers: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    subject: str
    run_id: str = ""
    workflow: str = ""
    version: str = ""
    task: str = ""


class DeadLetters:
    """`client.dead_letters()`: iterate over it, or `get`, `retry` and `drop` one by its id. The filters are for iterating."""

    def __init__(self, client: "Client", *, kind: str | None = None, workflow: str | None = None, run_id: str | None = None) -> None:
        if kind is not None and kind not in KINDS:
            raise DefinitionError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}", what="kind")
        self._client = client
        self._store = DeadStore(client.transport, client.subjects)
        self._kind = kind
        self._workflow = workflow
        self._run_id = run_id

    def __aiter__(self) -> AsyncIterator[DeadLetterView]:
        """The letters, by id: those of a run stand together."""
        return self._all()

    async def _all(self) -> AsyncGenerator[DeadLetterView, None]:
        ids = await self._store.ids()
        for begin in range(0, len(ids), AT_A_TIME):
            for letter in await asyncio.gather(*(self._store.read(id) for id in ids[begin : begin + AT_A_TIME])):
                if letter is not None and self._is_meant(letter):
                    yield _view(letter)

    def _is_meant(self, letter: DeadLetter) -> bool:
        return self._kind in (None, letter.kind) and self._workflow in (None, letter.workflow) and self._run_id in (None, letter.run_id)

    async def get(self, id: str) -> DeadLetterView:
        """One letter. `LetterNotFound` when there is none."""
        return _view(await self._read(id))

    async def messages(self, id: str) -> list[tuple[str, bytes]]:
        """The messages that wait with a letter, oldest first: where each came from, and the beginning of its bytes."""
        return [(kept.subject, kept.data[:SHOWN]) for kept in await self._store.kept((await self._read(id)).id)]

    async def retry(self, id: str) -> None:
        """Try again, from where it stood: a task is sent once more, a run goes on with all that has come for it meanwhile.

        What counts against it is forgotten, and the limits of its task hold for it anew. `LetterNotFound`, `NotRetryable` when nobody waits
        for it any more (drop it), and `KeyMissing`.
        """
        letter = await self._read(id)
        kept = await self._store.kept(id)
        if letter.kind == "task":
            await self._check_awaited(letter, kept)
        elif letter.kind == "run":
            await self._let_go_on(letter)
            kept = await self._store.kept(id)  # what was kept until the very end
        _check_opened(kept)
        nonce = secrets.token_hex(6)
        for number, message in enumerate(kept):
            await self._send(message, f"{id}/retried/{nonce}/{number}", is_task=letter.kind == "task")
        if letter.kind == "run":
            word = encode(Resume("its dead letter is retried"))
            publish = partial(self._client.transport.publish, letter.subject, word, message_id=f"{id}/retried/{nonce}")
            await surely(publish)
        await self._store.remove(id)

    async def drop(self, id: str) -> None:
        """Let it go: the step of a task fails with `TaskPoisoned`, a run is terminated, a message is forgotten. `LetterNotFound`."""
        letter = await self._read(id)
        transport = self._client.transport
        if letter.kind == "task":
            kept = await self._store.kept(id)
            dispatch = decode_dispatch(kept[0].data) if kept else None
            if dispatch is not None and await self._awaited(dispatch):
                data = encode(await self._failure(letter, dispatch))
                await surely(partial(transport.publish, dispatch.mailbox, data, message_id=f"{id}/dropped"))
            await self._forget_evidence(letter)
        elif letter.kind == "run" and not await self._has_ended(letter.run_id):
            word = Cancel(id=f"{id}/dropped/{secrets.token_hex(6)}", reason="its dead letter was dropped", terminate=True)
            mailbox = self._client.subjects.run_words(letter.workflow, letter.version, letter.run_id)
            await surely(partial(transport.publish, mailbox, encode(word), message_id=f"{letter.run_id}/{word.id}"))
        await self._store.remove(id)

    async def _read(self, id: str) -> DeadLetter:
        # What is not an id must not become part of a subject.
        found = await self._store.read(id) if id and all(each.isalnum() or each == "-" for each in id) else None
        if found is None:
            raise LetterNotFound(f"there is no dead letter {id!r} in region {self._client.region!r}", id=id)
        return found

    # -- tasks

    async def _check_awaited(self, letter: DeadLetter, kept: list[KeptMessage]) -> None:
        if not kept or not await self._awaited(decode_dispatch(kept[0].data)):
            raise NotRetryable(
                f"run {letter.run_id} does not wait for this call of task {letter.task!r} any more: `aiki dlq drop {letter.id}`",
                run_id=letter.run_id,
            )
        await self._forget_evidence(letter)

    async def _awaited(self, dispatch: Dispatch) -> bool:
        state = await self._state(dispatch.run_id)
        return (
            state is not None
            and not is_final(state.status)
            and any(
                (step.address, step.ordinal, step.serial) == (dispatch.address, dispatch.ordinal, dispatch.serial) for step in state.pending
            )
        )

    async def _failure(self, letter: DeadLetter, dispatch: Dispatch) -> StepResult:
        now = await self._client.now()
        error = ErrorInfo.of(TaskPoisoned(f"its dead letter was dropped: {letter.reason}", task=letter.task))
        return StepResult(dispatch.address, dispatch.ordinal, dispatch.serial, b"", error, letter.last_at, now, "")

    async def _forget_evidence(self, letter: DeadLetter) -> None:
        subjects = self._client.subjects
        serial = None if letter.kind == "run" else int(letter.id.rpartition("-")[2])
        await self._client.transport.purge(subjects.dead_stream, subjects.taken(letter.run_id, serial))

    # -- runs

    async def _let_go_on(self, letter: DeadLetter) -> None:
        """Take the mark off the run's state. Workers look at it once more after they have kept a message: so none is overlooked."""
        await self._forget_evidence(letter)
        tried = False
        while True:
            stored = await self._client.store.read(letter.run_id)
            state = None if stored is None else decode_state(stored.value)
            if tried and state is not None and not is_held(state):
                return  # the mark was off, though no answer came, and the run has gone on
            if stored is None or state is None or is_final(state.status):
                raise NotRetryable(f"run {letter.run_id} has ended: `aiki dlq drop {letter.id}`", run_id=letter.run_id)
            if not is_held(state):
                return
            state.held, state.status, state.operation, tried = None, "running", secrets.token_hex(8), True
            try:
                await self._client.store.commit(
                    letter.run_id, encode_state(state), stored.revision, state=state.status, operation=state.operation
                )
            except Conflict:
                continue
            return

    async def _state(self, run_id: str) -> RunState | None:
        stored = await self._client.store.read(run_id)
        return None if stored is None else decode_state(stored.value)

    async def _has_ended(self, run_id: str) -> bool:
        state = await self._state(run_id)
        return state is None or is_final(state.status)

    async def _send(self, message: KeptMessage, message_id: str, *, is_task: bool) -> None:
        transport, subjects = self._client.transport, self._client.subjects
        subject, headers = subjects.before_gate(message.subject), dict(message.headers)
        if is_task:
            # Whoever gave it up may be about to acknowledge the first copy. With it, this one would go, or not be taken.
            for each in {message.subject, subject}:
                await surely(partial(transport.purge, subjects.task_stream, each))
            headers[AGAIN_HEADER] = "1"
        await surely(lambda: transport.publish(subject, message.data, headers=headers or None, message_id=message_id))


def _check_opened(kept: list[KeptMessage]) -> None:
    """`KeyMissing` for what was sealed for where it lies, and would open nowhere else."""
    for message in kept:
        with contextlib.suppress(Tampered):  # it merely begins like something sealed
            if is_sealed(message.data):
                raise missing(message.data)


def _view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        kind=letter.kind,
        reason=letter.reason,
        code=letter.code,
        deliveries=letter.deliveries,
        workers=letter.workers,
        first_at=datetime.fromtimestamp(letter.first_at, UTC),
        last_at=datetime.fromtimestamp(letter.last_at, UTC),
        subject=letter.subject,
        run_id=letter.run_id,
        workflow=letter.workflow,
        version=letter.version,
        task=letter.task,
    )
