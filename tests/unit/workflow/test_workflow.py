"""Declaring workflows, and what their code can do, on the machine alone."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from aiki.journal import RecordedStep, RunMachine, RunState, decode_entries, decode_state, encode_state
from aiki.task import Retry, task
from aiki.types.errors import DefinitionError, InvalidName, PayloadError, TaskFailed, TaskTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt, StepResult
from aiki.worker.registry import Registry
from aiki.workflow import Context, Workflow, workflow
from tests.unit.journal.rig import T0


class Order(msgspec.Struct):
    id: int


@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=1), timeout=7, queue="money")
async def charge(order: Order) -> Order:
    return order


class Play:
    """A run of a workflow, without a host: each turn is followed by a crash if `crash`."""

    def __init__(self, definition: Workflow[Any, Any], payload: bytes = b"null", *, crash: bool = True, run_id: str = "run-1") -> None:
        self.definition = definition
        self.crash = crash
        self.now = T0
        state = RunState(
            run_id=run_id, workflow=definition.name, version=definition.version, input=payload, input_hash=b"",
            created_at=T0, started_at=T0, updated_at=T0,
        )  # fmt: skip
        self.load(encode_state(state))

    def __del__(self) -> None:
        self.machine.evict()

    def load(self, value: bytes) -> None:
        state = decode_state(value)
        self.machine = RunMachine(state, self.definition.program, history=decode_entries(state.entries), retry=self.definition.retry)
        self.machine.begin(self.now)

    @property
    def state(self) -> RunState:
        return decode_state(encode_state(self.machine.snapshot(self.now)))

    def answer(self, value: bytes = b"null", error: ErrorInfo | None = None, failed: tuple[Attempt, ...] = ()) -> "Play":
        self.now += 1
        step = self.state.pending[0]
        self.machine.apply(StepResult(step.address, step.ordinal, step.serial, value, error, T0, T0, "w", failed), self.now)
        if self.crash:
            value = encode_state(self.machine.snapshot(self.now))
            self.machine.evict()
            self.load(value)
        return self

    @property
    def output(self) -> Any:
        assert self.state.result is not None, self.state.error
        return msgspec.json.decode(self.state.result)

    @property
    def error(self) -> ErrorInfo:
        assert self.state.error is not None
        return self.state.error


BOTH = pytest.mark.parametrize("crash", [False, True])


# -- declarations


def test_a_declaration() -> None:
    @workflow(name="order", version="2.0", retry=Retry.fixed(max_attempts=2, delay=1))
    async def flow(ctx: Context, order: Order) -> int:
        """Order it."""
        return order.id

    assert (flow.name, flow.version, flow.__doc__, repr(flow)) == ("order", "2.0", "Order it.", "<workflow 'order' version '2.0'>")
    assert asyncio.run(flow(None, Order(4))) == 4  # type: ignore[arg-type]


async def no_context() -> None: ...
async def many(ctx: Context, a: int, b: int) -> None: ...
async def keyword_only(ctx: Context, *, a: int) -> None: ...
async def unsendable(ctx: Context, a: object) -> None: ...
def plain(ctx: Context) -> None: ...
async def generator(ctx: Context) -> Any:
    yield 1


@pytest.mark.parametrize("function", [no_context, many, keyword_only, unsendable, plain, generator, 5])
def test_bad_functions(function: Any) -> None:
    with pytest.raises(DefinitionError, match="workflow 'x'"):
        workflow(name="x")(function)


@pytest.mark.parametrize("options", [{"name": ""}, {"name": "a\n"}, {"version": ""}, {"version": 1}, {"name": "x" * 300}])
def test_bad_names(options: Any) -> None:
    async def function(ctx: Context) -> None: ...

    with pytest.raises(InvalidName):
        workflow(**options)(function)


def test_bad_retry() -> None:
    async def function(ctx: Context) -> None: ...

    with pytest.raises(DefinitionError, match=r"Retry\.fixed"):
        workflow(retry=3)(function)  # type: ignore[arg-type]


def test_versions_are_registered_side_by_side() -> None:
    def declare(version: str) -> Workflow[None, None]:
        @workflow(name="order", version=version)
        async def flow(ctx: Context) -> None: ...

        return flow

    one = declare("1")
    registry = Registry().add(one).add(declare("2")).add(one)
    assert set(registry.workflows) == {("order", "1"), ("order", "2")}
    with pytest.raises(DefinitionError, match="workflow 'order' version '1' is registered twice"):
        registry.add(declare("1"))


# -- payloads


def test_the_payload_is_validated_and_so_is_the_result() -> None:
    @workflow()
    async def flow(ctx: Context, order: Order) -> int:
        return "no number"  # type: ignore[return-value]

    assert "result of workflow 'flow'" in Play(flow, b'{"id":1}').error.message
    assert "$.id" in Play(flow, b'{"id":"x"}').error.message


@BOTH
def test_a_task_is_a_step(crash: bool) -> None:
    @workflow()
    async def flow(ctx: Context, order: Order) -> int:
        charged = await charge.run(ctx, order)
        assert isinstance(charged, Order)
        return charged.id

    play = Play(flow, b'{"id":1}', crash=crash)
    (step,) = play.state.pending
    assert (step.name, step.input, step.kind, step.queue, step.retry, step.timeout) == ("charge", b'{"id":1}', "task", "money", None, None)
    assert play.answer(b'{"id":5}').output == 5


def test_options_of_a_call_override_the_task_s() -> None:
    @workflow()
    async def flow(ctx: Context) -> None:
        await charge.run(ctx, Order(1), queue="other", retry=Retry.never(), timeout=1, idempotency_key="k")

    (step,) = Play(flow).state.pending
    assert (step.queue, step.retry, step.timeout, step.key) == ("other", Retry.never(), 1.0, "k")


def test_a_local_call_takes_the_task_s_own_options() -> None:
    @workflow()
    async def flow(ctx: Context) -> None:
        await charge.run(ctx, Order(1), local=True)

    play = Play(flow)
    (operation,) = play.machine.take_local()
    assert (operation.kind, operation.options.retry, operation.options.timeout) == ("local", charge.retry, 7.0)
    assert operation.body is not None
    assert asyncio.run(operation.body("key", 1, None)) == b'{"id":1}'  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"retry": 3}, {"timeout": -1}, {"timeout": "x"}, {"queue": ""}, {"idempotency_key": 5}, {"idempotency_key": ""},
        {"idempotency_key": "\ud800"}, {"idempotency_key": "x" * 100_000}, {"idempotency_key": "a\nb"},
    ],
)  # fmt: skip
def test_options_that_nobody_could_read_again_are_refused(options: Any) -> None:
    @workflow()
    async def flow(ctx: Context) -> None:
        await charge.run(ctx, Order(1), **options)

    play = Play(flow)
    assert (play.state.status, play.error.code in ("definition", "invalid_name")) == ("failed", True)


def test_a_payload_that_does_not_fit_never_leaves() -> None:
    @workflow()
    async def flow(ctx: Context) -> str:
        try:
            await charge.run(ctx, {"id": "x"})  # type: ignore[arg-type]
        except PayloadError as error:
            return str(error)
        return "sent"

    assert "input of task 'charge'" in Play(flow).output


@BOTH
def test_a_failed_task_says_what_and_how_often(crash: bool) -> None:
    @workflow()
    async def flow(ctx: Context) -> list[Any]:
        try:
            await charge.run(ctx, Order(1))
        except TaskFailed as error:
            return [type(error).__name__, error.task, error.attempts, error.error.type, str(error)]
        return []

    boom = ErrorInfo(type="Boom", message="no")
    failed = (Attempt(1, T0, T0, "w", boom),)
    assert Play(flow, crash=crash).answer(error=boom, failed=failed).output == [
        "TaskFailed", "charge", 2, "Boom", "task 'charge' failed after 2 attempts: Boom: no",
    ]  # fmt: skip
    late = ErrorInfo(type="x", code=TaskTimedOut.code)
    assert Play(flow, crash=crash).answer(error=late).output[0] == "TaskTimedOut"


# -- steps


@BOTH
def test_a_step_records_what_its_function_returns(crash: bool) -> None:
    def typed() -> Order:
        return Order(3)

    async def asynchronous() -> tuple[int, int]:
        return 1, 2

    @workflow()
    async def flow(ctx: Context) -> list[Any]:
        first = await ctx.step("typed", typed)
        assert isinstance(first, Order)
        return [first.id, await ctx.step("async", asynchronous), await ctx.step("lambda", lambda: (1, 2))]

    play = Play(flow, crash=crash)
    bodies: list[bytes] = []
    for _ in range(3):
        (operation,) = play.machine.take_local()
        assert operation.body is not None
        bodies.append(asyncio.run(operation.body("k", 1, None)))  # type: ignore[arg-type]
        play.answer(bodies[-1])
    assert bodies == [b'{"id":3}', b"[1,2]", b"[1,2]"]
    assert play.output == [3, [1, 2], [1, 2]]


def test_a_step_refuses_bad_names_and_results() -> None:
    @workflow()
    async def flow(ctx: Context, name: str) -> None:
        await ctx.step(name, object)

    assert Play(flow, b'""').error.code == "invalid_name"
    play = Play(flow, b'"x"')
    (operation,) = play.machine.take_local()
    assert operation.body is not None
    with pytest.raises(PayloadError, match="result of step 'x'"):
        asyncio.run(operation.body("k", 1, None))  # type: ignore[arg-type]


# -- time, chance and ids


@workflow(name="chance")
async def chance(ctx: Context) -> list[Any]:
    seen: list[Any] = [ctx.now(), ctx.random(), ctx.uuid(), ctx.rng.randrange(10**9)]
    await charge.run(ctx, Order(1))
    seen += [ctx.now(), ctx.random(), ctx.uuid()]
    await charge.run(ctx, Order(2))
    return [*seen, ctx.run_id, ctx.workflow, ctx.version, ctx.attempt]


def test_time_chance_and_ids_are_the_same_at_each_replay() -> None:
    live, replayed = (Play(chance, crash=crash).answer(b'{"id":1}').answer(b'{"id":1}').output for crash in (False, True))
    assert live == replayed
    assert [datetime.fromisoformat(instant) for instant in (live[0], live[4])] == [datetime.fromtimestamp(T0 + n, UTC) for n in (0, 1)]
    assert 0 <= live[1] < 1 and live[1] != live[5]
    assert UUID(live[2]).version == 4 and live[2] != live[6]
    assert live[7:] == ["run-1", "chance", "1.0.0", 1]


def test_each_run_has_chances_of_its_own() -> None:
    one, other = (Play(chance, run_id=run_id).answer(b'{"id":1}').answer(b'{"id":1}').output for run_id in ("run-1", "run-2"))
    assert one[1] != other[1] and one[2] != other[2]


def test_each_attempt_has_chances_of_its_own() -> None:
    seen: list[float] = []

    @workflow(retry=Retry.fixed(max_attempts=2, delay=0))
    async def flow(ctx: Context) -> None:
        seen.append(ctx.random())
        raise ValueError

    play = Play(flow)
    play.machine.advance(T0)
    play.load(encode_state(play.machine.snapshot(T0)))
    assert len(set(seen)) == 2


@BOTH
@pytest.mark.parametrize("sleep", [lambda ctx: ctx.sleep(5), lambda ctx: asyncio.sleep(5)])
def test_sleep(sleep: Callable[[Context], Any], crash: bool) -> None:
    @workflow()
    async def flow(ctx: Context) -> datetime:
        await sleep(ctx)
        return ctx.now()

    play = Play(flow, crash=crash)
    assert (play.state.status, play.machine.deadline()) == ("sleeping", T0 + 5)
    play.machine.advance(T0 + 6)
    assert datetime.fromisoformat(play.output) == datetime.fromtimestamp(T0 + 5, UTC), "it sees the instant at which it was due"


@pytest.mark.parametrize("duration", [-1, float("nan"), float("inf"), 4e9, "5", None])
def test_bad_sleeps(duration: Any) -> None:
    @workflow()
    async def flow(ctx: Context) -> None:
        await ctx.sleep(duration)

    assert Play(flow).error.code == "definition"


# -- logging


@workflow()
async def talkative(ctx: Context) -> None:
    try:
        ctx.logger.info("begun", extra={"mine": 1})
        await charge.run(ctx, Order(1))
        ctx.logger.info("charged")
        await charge.run(ctx, Order(2))
        ctx.logger.info("done")
    finally:
        ctx.logger.info("cleaned up")


def test_the_logger_says_each_thing_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiki.workflow")
    Play(talkative, crash=True).answer(b'{"id":1}').answer(b'{"id":1}')
    assert [record.getMessage() for record in caplog.records] == ["begun", "charged", "done", "cleaned up"]
    record = caplog.records[0]
    assert (record.run_id, record.workflow, record.mine) == ("run-1", "talkative", 1)  # type: ignore[attr-defined]


def test_an_abandoned_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiki.workflow")
    Play(talkative).machine.evict()
    assert [record.getMessage() for record in caplog.records] == ["begun"]


def test_what_is_recorded_can_be_read() -> None:
    entries = decode_entries(Play(chance).answer(b'{"id":1}').state.entries)
    assert [(type(entry), entry.name) for entry in entries if isinstance(entry, RecordedStep)] == [(RecordedStep, "charge")]
