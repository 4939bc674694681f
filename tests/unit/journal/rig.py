"""One run without a host: the machine, driven as `Activation` drives it, with its committed value kept as bytes."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec

from aiki.journal import (
    CLEANUP,
    ChildRun,
    Entry,
    OutDispatch,
    ParentClose,
    PendingStep,
    RunMachine,
    RunState,
    StepOptions,
    decode_entries,
    decode_state,
    encode_state,
)
from aiki.schema import content_hash
from aiki.types.failure import ErrorInfo
from aiki.types.limits import NO_LIMITS, Limits
from aiki.types.messages import Attempt, Mail, StepFailedOnce, StepResult
from aiki.types.pulse import Pulse
from aiki.types.retry import Retry
from aiki.types.states import is_final

T0 = 1_700_000_000.0


class StepError(Exception):
    """What a failed step raises in the code of these tests."""


class Steps:
    """How the code of these tests issues steps."""

    def __init__(self, machine: RunMachine) -> None:
        self.machine = machine

    @property
    def now(self) -> float:
        return self.machine.now - T0

    async def call(
        self,
        name: str,
        value: Any = None,
        *,
        key: str | None = None,
        local: bool = False,
        retry: Retry | None = None,
        limits: Limits = NO_LIMITS,
    ) -> Any:
        data = msgspec.json.encode(value)
        content = content_hash(data) if key is None else ""
        options = StepOptions(None, retry, None, key, limits)
        outcome = await self.machine.issue("local" if local else "task", name, data, content, options, _no_body)
        if outcome.error is not None:
            raise StepError(outcome.error.limit or outcome.error.message)
        return msgspec.json.decode(outcome.value)

    async def event(self, *names: str) -> Any:
        return msgspec.json.decode((await self.machine.inbox.take(names)).payload)

    async def child(self, workflow: str, value: Any = None, *, close: ParentClose = "cancel", key: str | None = None) -> Any:
        data = msgspec.json.encode(value)
        made = ChildRun("", workflow, "1", close, key)
        outcome = await self.machine.issue_child(made, data, content_hash(data), None if key is None else f"child/{key}")[1]
        if outcome.error is not None:
            raise StepError(outcome.error.code)
        return msgspec.json.decode(outcome.value)


Code = Callable[[Steps], Awaitable[Any]]


async def _no_body(key: str, attempt: int, pulse: Pulse | None) -> bytes:
    raise AssertionError("a step's body never runs in the machine")


class Rig:
    """A run and the one host that has it. `value` is what is committed; `sent` every dispatch that was sent, by serial."""

    def __init__(
        self,
        code: Code,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        cleanup: float = CLEANUP,
        run_id: str = "run-1",
    ) -> None:
        Rig.open.append(self)
        self.code = code
        self.retry = retry
        self.timeout = timeout
        self.deadline = deadline
        self.cleanup = cleanup
        self.now = T0
        self.sent: dict[int, PendingStep] = {}
        self.started: list[tuple[str, int]] = []
        """Local steps handed out, in order."""
        state = RunState(
            run_id=run_id, workflow="w", version="1", input=b"null", input_hash=b"", created_at=T0, started_at=T0, updated_at=T0
        )
        self.value = encode_state(state)
        self.machine = self._begin()
        self.commit()

    open: ClassVar[list["Rig"]] = []
    """Those of the present test; its end evicts them, so that no abandoned code is left to the garbage collector."""

    @classmethod
    def evict_all(cls) -> None:
        while cls.open:
            cls.open.pop().machine.evict()

    # -- a host's work

    def _begin(self, *, advance: bool = True) -> RunMachine:
        state = decode_state(self.value)

        async def program(machine: RunMachine) -> bytes:
            return msgspec.json.encode(await self.code(Steps(machine)))

        machine = RunMachine(
            state,
            program,
            history=decode_entries(state.entries),
            retry=self.retry,
            timeout=self.timeout,
            deadline=self.deadline,
            cleanup=self.cleanup,
        )
        machine.begin(self.now)
        if advance:
            machine.advance(self.now)
        return machine

    def reload(self, code: Code | None = None, *, advance: bool = True) -> "Rig":
        """The host has died (what was not committed is lost), another one takes over; `code`: after a deployment.

        `advance`: time is looked at before any message comes.
        """
        self.code = code or self.code
        self.machine.evict()
        self.machine = self._begin(advance=advance)
        self.commit()
        return self

    def replayed(self) -> bytes:
        """What another host makes of the committed value: the same, if replay is what it should be."""
        present, self.now = self.now, self.state.updated_at
        machine = self._begin(advance=False)
        try:
            return encode_state(machine.snapshot(self.now))
        finally:
            machine.evict()
            self.now = present

    def commit(self) -> None:
        while True:
            machine = self.machine
            ready = machine.take_local()
            self.started += [operation.id for operation in ready]
            if machine.deadline() is not None:
                machine.arm()
            if machine.dirty or machine.rung:
                state = machine.snapshot(self.now)
                state.operation = "rig"
                self.value = encode_state(state)
                machine.dirty = machine.rung = False
            for entry in machine.state.outbox:
                if (
                    isinstance(entry, OutDispatch)
                    and (step := machine.pending((entry.address, entry.ordinal)))
                    and step.serial == entry.serial
                ):
                    self.sent.setdefault(entry.serial, msgspec.structs.replace(step))
            if not machine.restart:
                return
            machine.evict()
            self.machine = self._begin()

    def turn(self, *messages: Mail, after: float = 0.0) -> "Rig":
        """Let `after` seconds pass, then one turn with these messages, and its commit."""
        self.now += after
        for message in messages:
            self.machine.apply(message, self.now)
        self.machine.advance(self.now)
        self.commit()
        return self

    # -- what others send

    def pending(self, name: str, index: int = 0) -> PendingStep:
        return [step for step in self.machine.snapshot(self.now).pending if step.name == name][index]

    def result(self, name: str, value: Any = None, *, error: str | None = None, index: int = 0) -> StepResult:
        step = self.pending(name, index)
        info = None if error is None else ErrorInfo(type="Boom", message=error)
        data = b"" if error is not None else msgspec.json.encode(value)
        return StepResult(step.address, step.ordinal, step.serial, data, info, self.now, self.now, "worker")

    def failed_once(self, name: str, delay: float) -> StepFailedOnce:
        step = self.pending(name)
        attempt = Attempt(len(step.failed) + 1, self.now, self.now, "worker", ErrorInfo(type="Boom", message="once"))
        return StepFailedOnce(step.address, step.ordinal, step.serial, (attempt,), delay)

    def answer(self, name: str, value: Any = None, *, error: str | None = None, index: int = 0, after: float = 0.0) -> "Rig":
        self.now += after
        return self.turn(self.result(name, value, error=error, index=index))

    # -- what came of it

    @property
    def state(self) -> RunState:
        """As committed."""
        return decode_state(self.value)

    @property
    def entries(self) -> list[Entry]:
        return decode_entries(self.state.entries)

    @property
    def status(self) -> str:
        return self.state.status

    @property
    def done(self) -> bool:
        return is_final(self.state.status)

    @property
    def output(self) -> Any:
        state = self.state
        assert state.status == "completed", (state.status, state.error)
        assert state.result is not None
        return msgspec.json.decode(state.result)

    @property
    def error(self) -> ErrorInfo:
        error = self.state.error
        assert error is not None
        return error

    @property
    def names(self) -> list[str]:
        """Of the pending steps."""
        return [step.name for step in self.state.pending]
