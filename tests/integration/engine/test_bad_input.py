"""Bad input: refused at the edge with an error that says what is wrong, or contained in the run that it belongs to."""

import asyncio
import dataclasses
import logging
import threading
import time
from typing import Any

import msgspec
import pytest

from aiki.actors import init
from aiki.sdk import (
    Client,
    Context,
    DefinitionError,
    InvalidName,
    PayloadError,
    PayloadTooLarge,
    Retry,
    RunNotFound,
    TaskContext,
    TaskFailed,
    TaskTimedOut,
    UnknownWorkflow,
    Worker,
    WorkflowFailed,
    task,
    workflow,
)
from aiki.types.errors import ResultTimeout, StreamMissing, TopologyMismatch
from tests.integration.engine.place import Place, eventually

SOON = 20.0
BIG = 10 * 1024 * 1024


class Order(msgspec.Struct):
    id: str
    amount: int


@dataclasses.dataclass
class Lines:
    values: list[float]


@task(name="price", local=True)
async def price(order: Order) -> int:
    return order.amount


@task(name="ship")
async def ship(order: Order) -> str:
    return order.id


# For what type checkers refuse as well.
any_task: Any = task
any_workflow: Any = workflow
any_retry: Any = Retry
any_ship: Any = ship


# -- payloads


@workflow(name="buy")
async def buy(ctx: Context, order: Order) -> int:
    return await price.run(ctx, order)


@pytest.mark.parametrize(
    ("payload", "path"),
    [("no order", "$"), (None, "$"), ({"id": "a", "amount": 1}, "$"), (Order("a", "1"), "$.amount"), (Order("a", None), "$.amount")],  # type: ignore[arg-type]
)
async def test_a_workflow_s_payload_of_the_wrong_type_is_refused_and_nothing_stored(place: Place, payload: Any, path: str) -> None:
    before = await place.sequences()
    with pytest.raises(PayloadError) as caught:
        await buy.enqueue(place.client, payload)
    assert "input of workflow 'buy'" in str(caught.value)
    assert caught.value.fields["path"] == path
    assert await place.sequences() == before


async def test_a_payload_where_none_is_taken_is_refused(place: Place) -> None:
    @workflow(name="bare")
    async def bare(ctx: Context) -> int:
        return 1

    with pytest.raises(PayloadError, match="bare"):
        await bare.enqueue(place.client, 5)  # type: ignore[call-overload]


@pytest.mark.parametrize("local", [True, False])
async def test_a_task_s_payload_of_the_wrong_type_is_refused_and_nothing_dispatched(place: Place, local: bool) -> None:
    started = []

    @task(name="taking")
    async def taking(order: Order) -> int:
        started.append(order)
        return 1

    @workflow(name="giving")
    async def giving(ctx: Context) -> str:
        try:
            await taking.run(ctx, Order("a", "many"), local=local)  # type: ignore[arg-type]
        except PayloadError as error:
            return f"{error.fields['where']} {error.fields['path']}"
        return "taken"

    await place.worker(giving, taking)
    before = await place.sequences()
    handle = await giving.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == "input of task 'taking' $.amount"
    after = await place.sequences()
    assert after[place.client.subjects.task_stream] == before[place.client.subjects.task_stream]
    assert not started and (await handle.describe()).steps == ()


@pytest.mark.parametrize("payload", [object(), {1j: 2}, lambda: None, {"a": {"b": object()}}, float("nan"), [float("inf")], "\ud800"])
async def test_what_cannot_be_encoded_is_refused_and_nothing_stored(place: Place, payload: Any) -> None:
    @workflow(name="anything")
    async def anything(ctx: Context, value: Any) -> None:
        return None

    before = await place.sequences()
    with pytest.raises(PayloadError, match="input of workflow 'anything'"):
        await anything.enqueue(place.client, payload)
    assert await place.sequences() == before


async def test_what_contains_itself_is_refused(place: Place) -> None:
    @workflow(name="anything")
    async def anything(ctx: Context, value: Any) -> None:
        return None

    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(PayloadError):
        await anything.enqueue(place.client, ring)


async def test_not_a_number_inside_a_dataclass_is_refused(place: Place) -> None:
    @workflow(name="mean")
    async def mean(ctx: Context, lines: Lines) -> float:
        return sum(lines.values)

    with pytest.raises(PayloadError) as caught:
        await mean.enqueue(place.client, Lines([1.0, float("nan")]))
    assert "nan" in str(caught.value) and "values" in caught.value.fields["path"]


async def test_ten_megabytes_of_input_are_refused_and_nothing_stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_MAX_PAYLOAD", str(BIG // 2))

    @workflow(name="large")
    async def large(ctx: Context, text: str) -> None:
        return None

    before = await place.sequences()
    with pytest.raises(PayloadTooLarge) as caught:
        await large.enqueue(place.client, "x" * BIG)
    assert caught.value.fields["size"] == BIG + 2 and caught.value.fields["limit"] < BIG
    assert "reference" in str(caught.value)
    assert await place.sequences() == before


@pytest.mark.parametrize("kind", ["task", "local", "step", "input", "result"])
async def test_ten_megabytes_fail_the_run_once(place: Place, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_MAX_PAYLOAD", str(BIG // 2))
    attempts: list[int] = []

    @task(name="flood", retry=Retry.fixed(max_attempts=5, delay=0.01))
    async def flood(context: None, info: TaskContext) -> str:
        attempts.append(info.attempt)
        return "x" * BIG

    @task(name="swallow")
    async def swallow(text: str) -> None:
        return None

    @workflow(name="large")
    async def large(ctx: Context, kind: str) -> str:
        if kind in ("task", "local"):
            return await flood.run(ctx, None, local=kind == "local")
        if kind == "step":
            return await ctx.step("flood", lambda: "x" * BIG)
        if kind == "input":
            await swallow.run(ctx, "x" * BIG)
        return "x" * BIG

    await place.worker(large, flood, swallow)
    handle = await large.enqueue(place.client, kind)
    with pytest.raises(WorkflowFailed) as caught:
        await handle.wait_for_completion(timeout=SOON)
    error = caught.value.fields["error"]
    if kind in ("task", "local", "step"):
        assert error.code == TaskFailed.code
        assert "PayloadTooLarge" in error.message
    else:
        assert error.code == PayloadTooLarge.code
    assert "10,485,762 bytes" in error.message
    assert attempts == ([1] if kind in ("task", "local") else [])
    assert (await handle.get_status()).state == "failed"


@pytest.mark.parametrize("how", ["local at once", "remote at once", "one after another"])
async def test_results_that_do_not_fit_into_one_message_together_are_recorded_one_after_another(place: Place, how: str) -> None:
    """Each result travels as it is; at once they do not fit into one message of the server."""

    @task(name="part")
    async def part(number: int) -> str:
        return "x" * 60_000

    @workflow(name="parts")
    async def parts(ctx: Context, how: str) -> int:
        if how == "one after another":
            return sum([len(await part.run(ctx, number, local=True)) for number in range(27)])
        return sum(map(len, await asyncio.gather(*(part.run(ctx, number, local=how.startswith("local")) for number in range(27)))))

    await place.worker(parts, part)
    handle = await parts.enqueue(place.client, how)
    assert await handle.wait_for_completion(timeout=SOON) == 27 * 60_000


async def test_too_large_a_fan_out_of_inputs_fails_the_run(place: Place) -> None:
    @task(name="sink")
    async def sink(text: str) -> int:
        return len(text)

    @workflow(name="wide")
    async def wide(ctx: Context) -> int:
        return sum(await asyncio.gather(*(sink.run(ctx, f"{number:02}" * 30_000) for number in range(27))))

    await place.worker(wide, sink)
    handle = await wide.enqueue(place.client)
    with pytest.raises(WorkflowFailed) as caught:
        await handle.wait_for_completion(timeout=SOON)
    assert caught.value.fields["error"].code == PayloadTooLarge.code


@pytest.mark.parametrize("result", ["text", None, {"id": "a"}, object(), float("nan")])
async def test_a_workflow_that_returns_the_wrong_type_fails(place: Place, result: Any) -> None:
    @workflow(name="wrong")
    async def wrong(ctx: Context) -> int:
        return result  # type: ignore[no-any-return]

    await place.worker(wrong)
    handle = await wrong.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="result of workflow 'wrong'") as caught:
        await handle.wait_for_completion(timeout=SOON)
    assert caught.value.fields["error"].code == PayloadError.code


@pytest.mark.parametrize("local", [True, False])
async def test_a_task_that_returns_the_wrong_type_fails_and_is_not_tried_again(place: Place, local: bool) -> None:
    ran = []

    @task(name="wrong", retry=Retry.fixed(max_attempts=5, delay=0))
    async def wrong(number: int) -> int:
        ran.append(number)
        return "text"  # type: ignore[return-value]

    @workflow(name="calls")
    async def calls(ctx: Context) -> int:
        return await wrong.run(ctx, 1, local=local)

    await place.worker(calls, wrong)
    handle = await calls.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="result of task 'wrong'"):
        await handle.wait_for_completion(timeout=SOON)
    assert ran == [1]


async def test_a_client_with_another_result_type_is_told_so(place: Place) -> None:
    @workflow(name="typed")
    async def typed(ctx: Context) -> int:
        return 5

    def other() -> Any:
        @workflow(name="typed")
        async def typed(ctx: Context) -> Order:
            return Order("a", 1)

        return typed

    await place.worker(typed)
    handle = await other().enqueue(place.client)
    with pytest.raises(PayloadError, match="result of workflow 'typed'"):
        await handle.wait_for_completion(timeout=SOON)


# -- what nobody serves


async def test_an_unknown_workflow_or_version_is_named_with_what_is_served(place: Place) -> None:
    with pytest.raises(UnknownWorkflow, match="no live worker"):
        await place.client.find_workflow("buy")
    await place.worker(buy, id="one")
    await _served(place, 1)
    assert await place.client.find_workflow("buy") == ("buy", "1.0.0")
    assert await place.client.find_workflow("buy", "1.0.0") == ("buy", "1.0.0")
    with pytest.raises(UnknownWorkflow, match=r"'sell'.*buy 1\.0\.0") as caught:
        await place.client.find_workflow("sell")
    assert caught.value.fields["known"] == [("buy", "1.0.0")]
    with pytest.raises(UnknownWorkflow, match=r"version '2\.0\.0'"):
        await place.client.find_workflow("buy", "2.0.0")


async def test_the_newest_version_is_found(place: Place) -> None:
    def version(number: str) -> Any:
        @workflow(name="buy", version=number)
        async def buy(ctx: Context) -> str:
            return number

        return buy

    await place.worker(version("1.9.0"), version("1.10.0"), version("1.10.0-rc1"), version("1.2.0"))
    await _served(place, 1)
    assert await place.client.find_workflow("buy") == ("buy", "1.10.0")


async def _served(place: Place, workers: int) -> None:
    async def reported() -> bool:
        return len(await place.client.workers()) >= workers

    await eventually(reported)


async def test_a_run_that_nobody_serves_waits_and_says_for_what(place: Place) -> None:
    handle = await buy.enqueue(place.client, Order("a", 7))
    status = await handle.get_status()
    assert status.state == "queued"
    assert status.waiting_on == ("a worker with workflow 'buy' version '1.0.0'",)
    with pytest.raises(ResultTimeout):
        await handle.wait_for_completion(timeout=0.05)
    await place.worker(buy)
    assert await handle.wait_for_completion(timeout=SOON) == 7


@pytest.mark.parametrize("run_id", ["0" * 26, "", "*", ">", "a b", "a\r\nPUB x 0\r\n\r\n", "é", "a.b", "x" * 5000, 7, None])
async def test_an_id_that_no_run_has(place: Place, run_id: Any) -> None:
    await place.worker(buy)
    other = await buy.enqueue(place.client, Order("a", 7))
    await other.wait_for_completion(timeout=SOON)
    handle = buy.handle(place.client, run_id)
    for method in (handle.get_status, handle.describe, handle.wait_for_completion):
        with pytest.raises(RunNotFound):
            await asyncio.wait_for(method(), SOON)
    with pytest.raises(RunNotFound):
        await (await place.client.handle(run_id)).get_status()
    assert (await other.get_status()).state == "completed"


async def test_runs_in_a_state_that_there_is_not(place: Place) -> None:
    with pytest.raises(DefinitionError, match=r"'done'.*completed"):
        async for _ in place.client.runs(state="done"):
            pass


# -- definitions


async def test_a_duplicate_registration_is_refused(place: Place) -> None:
    @task(name="price")
    async def another(order: Order) -> int:
        return 0

    @workflow(name="buy")
    async def rebuy(ctx: Context) -> None:
        return None

    @workflow(name="buy", version="2")
    async def second(ctx: Context) -> None:
        return None

    registry = Worker(place.client).registry
    registry.add(price).add(price).add(buy).add(buy).add(second)
    with pytest.raises(DefinitionError, match="task 'price' is registered twice"):
        registry.add(another)
    with pytest.raises(DefinitionError, match=r"workflow 'buy' version '1\.0\.0' is registered twice"):
        registry.add(rebuy)
    for wrong in (print, "buy", None, Worker, buy.function):
        with pytest.raises(DefinitionError, match="only workflows, tasks and actors"):
            registry.add(wrong)  # type: ignore[arg-type]


async def test_a_worker_without_anything_to_serve_or_started_twice(place: Place) -> None:
    with pytest.raises(DefinitionError, match="nothing to serve"):
        await Worker(place.client).start()
    worker = await place.worker(buy)
    with pytest.raises(DefinitionError, match="started already"):
        await worker.start()


@pytest.mark.parametrize(
    "name", ["a.b.c", "two words", "*", ">", "a.*.>", "naïve-Ünïcode-名前-🚀", "$JS.API", "=2E", "~", "名" * 40, "a" * 120, "%s{0}"]
)
async def test_strange_names_work_end_to_end(place: Place, name: str) -> None:
    @task(name=name, queue=name)
    async def strange(text: str) -> str:
        return text + "!"

    @workflow(name=name, version=name)
    async def odd(ctx: Context, text: str) -> str:
        async def plain() -> str:
            return "+"

        return await strange.run(ctx, text) + await strange.run(ctx, text, local=True, idempotency_key=name) + await ctx.step(name, plain)

    await place.worker(odd, strange, id=name, queue=name)
    handle = await odd.enqueue(place.client, name, idempotency_key=name)
    assert await handle.wait_for_completion(timeout=SOON) == f"{name}!{name}!+"
    again = await odd.enqueue(place.client, name, idempotency_key=name)
    assert again.id == handle.id
    view = await handle.describe()
    assert [step.name for step in view.steps] == [name] * 3 and view.status.workflow == view.status.version == name
    await _served(place, 1)
    assert [(each.id, each.workflows, each.tasks) for each in await place.client.workers()] == [(name, ((name, name),), (name,))]
    assert await place.client.find_workflow(name) == (name, name)


@pytest.mark.parametrize("region", ["eu.west 1", "*", "région-東", "b" * 120, "名" * 10])
async def test_strange_regions_work_end_to_end(place: Place, region: str) -> None:
    elsewhere = Place(place.server, region)
    await elsewhere.open()
    try:
        await elsewhere.worker(buy, price)
        handle = await buy.enqueue(elsewhere.client, Order("a", 3))
        assert await handle.wait_for_completion(timeout=SOON) == 3
        with pytest.raises(RunNotFound):
            await buy.handle(place.client, handle.id).get_status()
    finally:
        await elsewhere.close()


BAD_NAMES = [
    "n" * 300, "名" * 41, "", " ", " a", "a ", "a\nb", "a\tb", "a\0b", "\x7f", "a\r\nPUB x 0", "\u202e", "\ud800", "e\u0301",
    5, b"a", ("a",),
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_that_cannot_be_used_are_refused_before_anything_is_stored(place: Place, name: Any) -> None:
    async def work(value: int) -> int:
        return value

    async def flow(ctx: Context) -> int:
        return 1

    def declare(call: Any) -> InvalidName:
        with pytest.raises(InvalidName) as caught:
            call()
        str(caught.value).encode()  # can be printed
        return caught.value

    before = await place.sequences()
    assert declare(lambda: task(name=name)(work)).fields["what"] == "task"
    assert declare(lambda: workflow(name=name)(flow)).fields["what"] == "workflow"
    assert declare(lambda: workflow(name="w", version=name)(flow)).fields["what"] == "version"
    assert declare(lambda: task(name="t", queue=name)(work)).fields["what"] == "queue"
    assert declare(lambda: Worker(place.client, queue=name)).fields["what"] == "queue"
    assert declare(lambda: Worker(place.client, id=name)).fields["what"] == "worker"
    with pytest.raises(InvalidName):
        await Client.connect(place.server.url, region=name)
    with pytest.raises(InvalidName):
        await init(place.client.transport, region=name)
    with pytest.raises(InvalidName):
        await place.client.start_run(name, "1.0.0", b"null", buy.output_schema)
    with pytest.raises(InvalidName):
        await place.client.start_run("buy", name, b"null", buy.output_schema)
    assert await place.sequences() == before


@pytest.mark.parametrize("name", ["n" * 300, "a\nb", ""])
async def test_a_bad_name_of_a_step_or_queue_in_a_workflow(place: Place, name: str) -> None:
    @workflow(name="names")
    async def names(ctx: Context, name: str) -> list[str]:
        found = []
        for attempt in (lambda: ctx.step(name, lambda: 1), lambda: ship.run(ctx, Order("a", 1), queue=name)):
            try:
                await attempt()
            except InvalidName as error:
                found.append(error.fields["what"])
        return found

    await place.worker(names)
    handle = await names.enqueue(place.client, name)
    assert await handle.wait_for_completion(timeout=SOON) == ["step", "queue"]


async def test_names_that_look_alike_when_joined_are_told_apart(place: Place) -> None:
    """Workflow `a` version `b-c` and workflow `a-b` version `c`; the same with queues and tasks."""

    def flow(name: str, version: str) -> Any:
        @workflow(name=name, version=version)
        async def flow(ctx: Context) -> str:
            return f"{name}/{version}"

        return flow

    def work(name: str, queue: str) -> Any:
        @task(name=name, queue=queue)
        async def work() -> str:
            return f"{queue}/{name}"

        return work

    first, second = flow("a", "b-c"), flow("a-b", "c")
    third, fourth = work("b-c", "a"), work("c", "a-b")

    @workflow(name="caller")
    async def caller(ctx: Context) -> list[str]:
        return [await third.run(ctx), await fourth.run(ctx)]

    await place.worker(first, caller, third)
    await place.worker(second, fourth)
    handles = [await each.enqueue(place.client) for each in (first, second)]
    assert [await handle.wait_for_completion(timeout=SOON) for handle in handles] == ["a/b-c", "a-b/c"]
    handle = await caller.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == ["a/b-c", "a-b/c"]


# -- options of the wrong kind


@pytest.mark.parametrize(
    "make",
    [
        lambda: any_retry.fixed(max_attempts=0, delay=1),
        lambda: any_retry.fixed(max_attempts=True, delay=1),
        lambda: any_retry.fixed(max_attempts="3", delay=1),
        lambda: any_retry.fixed(max_attempts=3, delay="1"),
        lambda: any_retry.fixed(max_attempts=3, delay=-1),
        lambda: any_retry.fixed(max_attempts=3, delay=float("nan")),
        lambda: any_retry.fixed(max_attempts=3, delay=float("inf")),
        lambda: any_retry.fixed(max_attempts=3, delay=1, retry_on="ValueError"),
        lambda: any_retry.fixed(max_attempts=3, delay=1, retry_on=5),
        lambda: any_retry.fixed(max_attempts=3, delay=1, no_retry_on=[int]),
        lambda: any_retry.exponential(max_attempts=3, base_delay=1, factor=0.5),
        lambda: any_retry.exponential(max_attempts=3, base_delay=1, factor="2"),
        lambda: any_retry.exponential(max_attempts=3, base_delay=1, factor=float("inf")),
        lambda: any_retry.exponential(max_attempts=3, base_delay=1, max_delay=-1),
        lambda: any_retry.linear(max_attempts=3, base_delay=None),
        lambda: any_retry.jittered(max_attempts=3.0, base_delay=1),
        lambda: any_retry.schedule(5),
        lambda: any_retry.schedule([1, "2"]),
        lambda: any_retry.schedule([-1]),
        lambda: any_retry.never(on_crash="maybe"),
        lambda: any_retry.after("soon"),
        lambda: any_retry.after(-1),
        lambda: any_task(name="t", retry=3)(price.function),
        lambda: any_task(name="t", timeout=0)(price.function),
        lambda: any_task(name="t", timeout=-1)(price.function),
        lambda: any_task(name="t", timeout="5s")(price.function),
        lambda: any_workflow(name="w", retry="always")(buy.function),
        lambda: any_workflow(name="w")(lambda ctx: None),
        lambda: any_workflow(name="w")(price),
        lambda: any_task(name="t")(buy),
        lambda: any_task(name="t")(5),
    ],
)
def test_a_wrong_declaration_is_a_definition_error(make: Any) -> None:
    with pytest.raises(DefinitionError):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrent_tasks": 0},
        {"max_concurrent_tasks": "5"},
        {"max_concurrent_workflow_runs": -1},
        {"max_concurrent_workflow_runs": True},
        {"retention": 0},
        {"retention": "week"},
        {"retention": float("nan")},
        {"cached_runs": -1},
        {"cached_runs": "many"},
        {"queue": None},
    ],
)
async def test_a_worker_s_wrong_option_is_a_definition_error(place: Place, options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        Worker(place.client, **options)


@pytest.mark.parametrize(
    "options",
    [{"idempotency_key": ""}, {"idempotency_key": 5}, {"idempotency_key": "\ud800"}, {"on_conflict": "ignore"}, {"on_conflict": None}],
)
async def test_a_wrong_option_of_a_start_is_a_definition_error_and_nothing_stored(place: Place, options: dict[str, Any]) -> None:
    before = await place.sequences()
    with pytest.raises(DefinitionError):
        await buy.enqueue(place.client, Order("a", 1), **options)
    assert await place.sequences() == before


async def test_a_key_of_ten_megabytes_is_refused(place: Place) -> None:
    before = await place.sequences()
    with pytest.raises((DefinitionError, PayloadTooLarge)):
        await buy.enqueue(place.client, Order("a", 1), idempotency_key="k" * BIG)
    assert await place.sequences() == before


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"timeout": -1}, {"region": 5}])
async def test_a_client_s_wrong_option_is_a_definition_error(place: Place, options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        await Client.connect(place.server.url, **options)


async def test_wrong_options_of_a_call_fail_in_the_workflow_and_do_not_poison_the_run(place: Place) -> None:
    calls: list[Any] = [
        lambda ctx: any_ship.run(ctx, Order("a", 1), retry=3),
        lambda ctx: any_ship.run(ctx, Order("a", 1), retry="x", local=True),
        lambda ctx: any_ship.run(ctx, Order("a", 1), timeout=0),
        lambda ctx: any_ship.run(ctx, Order("a", 1), timeout="x"),
        lambda ctx: any_ship.run(ctx, Order("a", 1), idempotency_key=5),
        lambda ctx: any_ship.run(ctx, Order("a", 1), idempotency_key=""),
        lambda ctx: any_ship.run(ctx, Order("a", 1), idempotency_key="\ud800"),
        lambda ctx: any_ship.run(ctx, Order("a", 1), queue=5),
        lambda ctx: ctx.step("s", lambda: 1, retry=3),
        lambda ctx: ctx.step("s", lambda: 1, timeout=0),
        lambda ctx: ctx.step("s", lambda: 1, timeout=-1),
        lambda ctx: ctx.step(5, lambda: 1),
        lambda ctx: ctx.step("s", 5),
        lambda ctx: ctx.sleep(-1),
        lambda ctx: ctx.sleep(float("inf")),
        lambda ctx: ctx.sleep(float("nan")),
        lambda ctx: ctx.sleep("1"),
        lambda ctx: ctx.sleep(None),
    ]

    @workflow(name="careless")
    async def careless(ctx: Context, index: int) -> str:
        try:
            await calls[index](ctx)
        except DefinitionError as error:
            return error.code
        return "taken"

    await place.worker(careless, ship)
    handles = [await careless.enqueue(place.client, index) for index in range(len(calls))]
    results = await asyncio.gather(*(handle.wait_for_completion(timeout=SOON) for handle in handles))
    taken = [index for index, result in enumerate(results) if result not in (DefinitionError.code, InvalidName.code)]
    assert not taken


async def test_a_coroutine_instead_of_a_function_is_refused(place: Place) -> None:
    @workflow(name="eager")
    async def eager(ctx: Context) -> str:
        async def work() -> int:
            return 1

        coroutine = work()
        try:
            await ctx.step("work", coroutine)  # type: ignore[call-overload]
        except DefinitionError as error:
            return str(error)
        finally:
            coroutine.close()
        return "taken"

    await place.worker(eager)
    handle = await eager.enqueue(place.client)
    assert "function" in await handle.wait_for_completion(timeout=SOON)


async def test_a_negative_sleep_fails_the_run_and_says_so(place: Place) -> None:
    @workflow(name="backwards")
    async def backwards(ctx: Context) -> None:
        await ctx.sleep(-1)

    await place.worker(backwards)
    handle = await backwards.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="the duration of a sleep must be between 0") as caught:
        await handle.wait_for_completion(timeout=SOON)
    assert caught.value.fields["error"].code == DefinitionError.code


async def test_no_patience_at_all(place: Place) -> None:
    handle = await buy.enqueue(place.client, Order("a", 7))
    with pytest.raises(ResultTimeout):
        await handle.wait_for_completion(timeout=0)
    for wrong in (-1, float("nan"), "1"):
        with pytest.raises(DefinitionError):
            await handle.wait_for_completion(timeout=wrong)  # type: ignore[arg-type]


# -- streams


async def test_missing_streams_name_aiki_init(place: Place) -> None:
    async with await Client.connect(place.server.url, region="nowhere") as client:
        worker = Worker(client)
        worker.registry.add(buy)
        with pytest.raises(StreamMissing, match="aiki init --region nowhere"):
            await worker.start()
        with pytest.raises(StreamMissing, match="aiki init"):
            await buy.enqueue(client, Order("a", 1))
        with pytest.raises(StreamMissing, match="aiki init"):
            await buy.enqueue(client, Order("a", 1), idempotency_key="k")
        with pytest.raises(StreamMissing, match="aiki init"):
            await buy.handle(client, "0" * 26).get_status()
        with pytest.raises(StreamMissing, match="aiki init"):
            await client.workers()


@pytest.mark.parametrize("kind", ["mail", "runs", "task"])
async def test_a_stream_with_other_settings_names_the_differences(place: Place, kind: str) -> None:
    async with await Client.connect(place.server.url, region=f"other-{kind}") as client:
        import nats as nats_py

        subjects = client.subjects
        name = {"mail": subjects.mail_stream, "runs": subjects.runs_stream, "task": subjects.task_stream}[kind]
        prefix = {"mail": subjects.mail_prefix, "runs": subjects.runs_prefix, "task": subjects.task_prefix}[kind]
        connection = await nats_py.connect(place.server.url)
        await connection.jetstream().add_stream(name=name, subjects=[prefix + ">"], max_msgs_per_subject=5)
        try:
            with pytest.raises(TopologyMismatch) as caught:
                await init(client.transport, region=client.region)
            assert caught.value.fields["name"] == name
            different = caught.value.fields["differences"]
            assert different["max_msgs_per_subject"][0] == 5 and "allow_msg_ttl" in different
            assert "max_msgs_per_subject is 5" in str(caught.value)
            # The others are made by hand: a worker must not serve on a stream that loses or reorders what it is given.
            for each in ("mail", "runs", "task"):
                if each != kind:
                    await _make_stream(client, each)
            await _make_stream(client, "workers")
            worker = Worker(client)
            worker.registry.add(buy)
            with pytest.raises(TopologyMismatch, match=name):
                await worker.start()
        finally:
            await connection.jsm().delete_stream(name)
            await connection.close()


async def _make_stream(client: Client, kind: str) -> None:
    from aiki.actors import streams

    [spec] = [spec for spec in streams(client.subjects) if kind in spec.name.lower()]
    await client.transport.ensure_stream(spec)


async def test_init_twice_changes_nothing(place: Place) -> None:
    assert set((await init(place.client.transport, region=place.region)).values()) == {"unchanged"}


# -- exceptions


class Unpicklable(Exception):
    def __init__(self, first: object, second: object) -> None:
        super().__init__("unpicklable")
        self.lock = threading.Lock()


class RaisingText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NotText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class HugeText(Exception):
    def __str__(self) -> str:
        return "h" * 50_000_000


class SubText(Exception):
    def __str__(self) -> str:
        return _Text("sub")


class _Text(str):
    def __getitem__(self, key: object) -> str:
        raise LookupError


class Raw(BaseException):
    pass


def _group() -> BaseException:
    return ExceptionGroup("many", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])


def _chain() -> BaseException:
    error: BaseException = ValueError("root")
    for number in range(50):
        outer = ValueError(f"level {number} " + "x" * 5000)
        outer.__cause__ = error
        error = outer
    return error


def _circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


class NumberedCode(DefinitionError):
    code = 42  # type: ignore[assignment]


STRANGE: dict[str, Any] = {
    "Unpicklable": lambda: Unpicklable(1, 2),
    "RaisingText": RaisingText,
    "ExitingText": ExitingText,
    "NotText": NotText,
    "HugeText": HugeText,
    "SubText": SubText,
    "Surrogate": lambda: FileNotFoundError(2, "No such file", b"caf\xe9".decode("utf-8", "surrogateescape")),
    "Control": lambda: ValueError("\0\x1b[31m\r\n"),
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "TimeoutError": TimeoutError,
    "Raw": Raw,
    "Group": _group,
    "Chain": _chain,
    "Circle": _circle,
    "NumberedCode": lambda: NumberedCode("numbered"),
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "Local": lambda: type("Löcal", (Exception,), {"__module__": None})("local"),
}


@pytest.mark.parametrize("where", ["remote", "local", "thread", "step"])
async def test_strange_exceptions_of_tasks_fail_them_and_nothing_else(place: Place, where: str) -> None:
    began: list[str] = []

    @task(name="explode")
    async def explode(kind: str) -> int:
        began.append(kind)
        raise STRANGE[kind]()

    @task(name="explode-in-thread")
    def explode_in_thread(kind: str) -> int:
        began.append(kind)
        raise STRANGE[kind]()

    @workflow(name="catching")
    async def catching(ctx: Context, kind: str) -> tuple[str, str]:
        def step() -> int:
            began.append(kind)
            raise STRANGE[kind]()

        try:
            if where == "step":
                await ctx.step("explode", step)
            elif where == "thread":
                await explode_in_thread.run(ctx, kind)
            else:
                await explode.run(ctx, kind, local=where == "local")
        except TaskFailed as error:
            return error.fields["error"].type, error.fields["error"].message
        return "none", ""

    await place.worker(catching, explode, explode_in_thread)
    handles = {kind: await catching.enqueue(place.client, kind) for kind in STRANGE}
    found = {}
    for kind, handle in handles.items():
        try:
            found[kind] = await handle.wait_for_completion(timeout=10)
        except Exception as error:
            error.add_note(kind)
            raise
    assert sorted(began) == sorted(STRANGE), "each body ran once"
    assert found["NotText"][1].startswith("<unprintable") and found["RaisingText"][1].startswith("<unprintable")
    assert len(found["HugeText"][1]) <= 4000
    assert "caf\\udce9" in found["Surrogate"][1]
    assert found["SystemExit"][0] == "SystemExit" and found["Raw"][0].endswith("Raw")
    for handle in handles.values():
        [step] = (await handle.describe()).steps
        assert step.state == "failed" and step.error is not None


async def test_strange_exceptions_of_workflows_fail_them_and_nothing_else(place: Place) -> None:
    @workflow(name="exploding")
    async def exploding(ctx: Context, kind: str) -> None:
        raise STRANGE[kind]()

    await place.worker(exploding)
    handles = {kind: await exploding.enqueue(place.client, kind) for kind in STRANGE}
    for kind, handle in handles.items():
        with pytest.raises(WorkflowFailed) as caught:
            await handle.wait_for_completion(timeout=10)
        assert caught.value.fields["error"] is not None, kind
        assert (await handle.get_status()).attempts == 1


async def test_a_keyboard_interrupt_in_a_thread_is_a_failed_attempt(place: Place) -> None:
    @task(name="interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    @workflow(name="calls")
    async def calls(ctx: Context) -> None:
        await interrupted.run(ctx)

    await place.worker(calls, interrupted)
    handle = await calls.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="KeyboardInterrupt"):
        await handle.wait_for_completion(timeout=SOON)


@pytest.mark.parametrize("local", [True, False])
async def test_thousands_of_failed_attempts_still_fit_into_the_run(place: Place, local: bool) -> None:
    ran = []

    @task(name="stubborn", retry=Retry.fixed(max_attempts=3000, delay=0))
    async def stubborn(_: None, context: TaskContext) -> int:
        ran.append(context.attempt)
        raise ValueError("no " * 500)

    @workflow(name="calls")
    async def calls(ctx: Context) -> int:
        try:
            await stubborn.run(ctx, None, local=local)
        except TaskFailed as error:
            return int(error.fields["attempts"])
        return 0

    await place.worker(calls, stubborn)
    handle = await calls.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 3000
    assert ran == list(range(1, 3001))
    [step] = (await handle.describe()).steps
    assert step.attempts == 3000 and step.failed_attempts[-1].number == 2999 and step.failed_attempts[0].number == 1


# -- code that does not give way


async def test_a_workflow_that_blocks_the_loop_is_reported_with_its_stack(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    @workflow(name="blocking")
    async def blocking(ctx: Context) -> int:
        time.sleep(1.7)  # noqa: ASYNC251  # what must not be done
        return 1

    await place.worker(blocking)
    with caplog.at_level(logging.WARNING, logger="aiki.workflow"):
        handle = await blocking.enqueue(place.client)
        assert await handle.wait_for_completion(timeout=SOON) == 1
    [record] = [record for record in caplog.records if record.name == "aiki.workflow"]
    assert handle.id in record.getMessage()
    assert "time.sleep(1.7)" in record.getMessage() and "in blocking" in record.getMessage()


async def test_a_workflow_that_spins_fails_and_others_go_on(place: Place) -> None:
    @workflow(name="spinning")
    async def spinning(ctx: Context) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    await place.worker(spinning, buy)
    handle = await spinning.enqueue(place.client)
    other = await buy.enqueue(place.client, Order("a", 2))
    with pytest.raises(WorkflowFailed, match="seems to spin"):
        await handle.wait_for_completion(timeout=SOON)
    assert await other.wait_for_completion(timeout=SOON) == 2


async def test_a_workflow_that_waits_for_nothing_fails(place: Place) -> None:
    @workflow(name="stuck")
    async def stuck(ctx: Context) -> None:
        await asyncio.Event().wait()

    await place.worker(stuck)
    handle = await stuck.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="can never come") as caught:
        await handle.wait_for_completion(timeout=SOON)
    assert caught.value.fields["error"].code == "workflow_stuck"


async def test_real_input_and_output_in_a_workflow_fail_with_the_call_s_name(place: Place) -> None:
    port = place.server.url.rpartition(":")[2]
    calls: dict[str, Any] = {
        "create_connection": lambda: asyncio.open_connection("127.0.0.1", int(port)),
        "run_in_executor": lambda: asyncio.to_thread(print),
        "subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
        "subprocess_shell": lambda: asyncio.create_subprocess_shell("true"),
        "create_server": lambda: asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0),
        "getaddrinfo": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
        "add_signal_handler": lambda: asyncio.get_running_loop().add_signal_handler(2, print),
        "call_soon_threadsafe": lambda: asyncio.get_running_loop().call_soon_threadsafe(print),
    }

    @workflow(name="outgoing")
    async def outgoing(ctx: Context, name: str) -> None:
        await calls[name]()

    await place.worker(outgoing)
    for name in calls:
        handle = await outgoing.enqueue(place.client, name)
        with pytest.raises(WorkflowFailed, match=rf"loop\.{name}\(\)") as caught:
            await handle.wait_for_completion(timeout=SOON)
        assert caught.value.fields["error"].code == "durable_loop"
        assert "ctx.step" in caught.value.fields["error"].message


async def test_bodies_that_block_run_in_threads_and_others_go_on(place: Place) -> None:
    """More of them than a default thread pool has threads."""
    release = threading.Event()
    blocked = threading.Semaphore(0)

    @task(name="blocks")
    def blocks(number: int) -> int:
        blocked.release()
        assert release.wait(SOON)
        return number

    @task(name="quick")
    def quick() -> str:
        return threading.current_thread().name

    @workflow(name="blocking")
    async def blocking(ctx: Context) -> int:
        return sum(await asyncio.gather(*(blocks.run(ctx, number, local=number % 2 == 0) for number in range(40))))

    @workflow(name="passing")
    async def passing(ctx: Context) -> str:
        return await quick.run(ctx)

    await place.worker(blocking, passing, blocks, quick)
    first = await blocking.enqueue(place.client)
    try:
        second = await passing.enqueue(place.client)
        assert await second.wait_for_completion(timeout=SOON) != threading.main_thread().name
        for _ in range(40):
            assert await asyncio.to_thread(blocked.acquire, timeout=SOON)
    finally:
        release.set()
    assert await first.wait_for_completion(timeout=SOON) == sum(range(40))


@pytest.mark.parametrize("local", [True, False])
async def test_a_blocking_body_that_takes_too_long_fails_in_time(place: Place, local: bool) -> None:
    release = threading.Event()

    @task(name="slow", timeout=0.1)
    def slow() -> None:
        release.wait(SOON)

    @workflow(name="calls")
    async def calls(ctx: Context) -> str:
        try:
            await slow.run(ctx, local=local)
        except TaskTimedOut as error:
            return str(error.fields["error"].message)
        return ""

    await place.worker(calls, slow)
    handle = await calls.enqueue(place.client)
    try:
        assert "longer than 0.1 s" in await handle.wait_for_completion(timeout=SOON)
    finally:
        release.set()
