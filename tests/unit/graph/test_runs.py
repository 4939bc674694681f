"""Graphs that run, on the engine in virtual time: skipping, joins, fan-out, failures, and how their runs are shown."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from aiki.graph import progress_of, render_run
from aiki.sdk import (
    Context,
    DefinitionError,
    Graph,
    Retry,
    TaskContext,
    WorkflowCancelled,
    WorkflowFailed,
    graph,
    inputs,
    item,
    node,
    ref,
    task,
    workflow,
)
from aiki.testing import TestEnvironment


class Order(msgspec.Struct, rename="camel"):
    is_large: bool
    line_items: list[int] = []


@task(name="echo", local=True)
async def echo(value: Any) -> Any:
    return value


@task(name="after")
async def after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def skipping(**last: Any) -> Graph[Any, Any]:
    return graph(
        name="g",
        input=Order,
        nodes=[
            node("left", echo, input="l", when=inputs.isLarge),
            node("right", echo, input="r", when=~inputs.isLarge),
            node("last", echo, **last),
        ],
        output={"last": ref("last")},
    )


SKIPPING: dict[str, tuple[dict[str, Any], Any]] = {
    "after what was skipped": ({"input": 1, "after": ["left", "right"]}, None),
    "after what completed": ({"input": 1, "after": "left"}, 1),
    "after either": ({"input": [ref("left"), ref("right")], "after": ["left", "right"], "join": "any"}, ["l", None]),
    "after any of what was skipped": ({"input": 1, "after": "right", "join": "any"}, None),
    "refers to what was skipped": ({"input": {"deep": [ref("right")]}}, None),
    "has a default": ({"input": ref("right").otherwise(ref("left"))}, "l"),
    "has a default within": ({"input": ref("right")["a"][0].otherwise(0)}, 0),
    "a condition on what was skipped": ({"input": 1, "when": ref("right") == "r"}, None),
    "a condition that need not look": ({"input": 1, "when": inputs.isLarge | (ref("right") == "r")}, 1),
    "items that were skipped": ({"each": ref("right")}, None),
    "any, and needs another": ({"input": ref("right"), "after": "left", "join": "any"}, None),
}


@pytest.mark.parametrize("case", SKIPPING)
async def test_skipping(case: str) -> None:
    options, expected = SKIPPING[case]
    made = skipping(**options)
    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(made, echo)
        handle = await made.enqueue(env.client, Order(is_large=True))
        assert await handle.wait_for_completion() == {"last": expected}
        states = {each.name: each.state for each in progress_of(made, await handle.describe())}
    assert states == {"left": "done", "right": "skipped", "last": "skipped" if expected is None else "done"}


async def test_fan_out_keeps_the_order_and_is_bounded() -> None:
    now, most = 0, 0

    @task(name="work")
    async def work(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(10 - number)
        now -= 1
        return 10 * number

    made = graph(
        name="fan",
        input=Order,
        nodes=[
            node("work", work, each=inputs.lineItems, concurrency=3),
            node("none", work, each=[]),
            node("two", echo, each=ref("work"), input={"of": item}),
        ],
        output=[ref("work"), ref("none"), ref("two")[-1].of],
    )
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, work, echo)
        numbers = list(range(10))
        assert await env.run(made, Order(is_large=True, line_items=numbers)) == [[10 * each for each in numbers], [], 90]
    assert most == 3


async def test_the_first_goes_on_and_the_rest_is_cancelled() -> None:
    made = graph(
        name="race",
        nodes=[
            node("slow", after, input=3600),
            node("slow too", after, input=ref("slow")),
            node("needed", after, input=20),
            node("fast", after, input=1),
            node(
                "first",
                echo,
                input=[ref("slow too"), ref("needed"), ref("fast")],
                after=["slow too", "needed", "fast"],
                join="any",
                cancel_rest=True,
            ),
        ],
        output=[ref("first"), ref("needed")],
    )
    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(made, after, echo)
        began = env.now()
        handle = await made.enqueue(env.client)
        assert await handle.wait_for_completion() == [[None, None, 1.0], 20.0]
        assert env.now() - began < timedelta(seconds=60)
        states = {each.name: each.state for each in progress_of(made, await handle.describe())}
    assert states == {"slow": "cancelled", "slow too": "cancelled", "needed": "done", "fast": "done", "first": "done"}


async def test_another_attempt_keeps_what_is_completed_and_who_won() -> None:
    attempts = 0

    @task(name="fails")
    async def fails(value: Any) -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ValueError("once")
        return "ok"

    made = graph(
        name="again",
        nodes=[
            node("slow", after, input=5),
            node("fast", after, input=1),
            node("first", echo, input=ref("slow").otherwise(ref("fast")), after=["slow", "fast"], join="any"),
            node("fails", fails, input=ref("first"), after=["slow"]),
        ],
        output=[ref("first"), ref("fails")],
        retry=Retry.fixed(max_attempts=2, delay=1),
    )
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, after, echo, fails)
        handle = await made.enqueue(env.client)
        first, last = await handle.wait_for_completion()
        assert (first, last) == (1.0, "ok")
        view = await handle.describe()
        assert {each.state for each in progress_of(made, view)} == {"done"}
        assert sum(step.name == "after" for step in view.steps) == 2


async def test_a_failure_ends_the_graph_and_is_shown() -> None:
    @task(name="bad")
    async def bad() -> int:
        raise ValueError("no <money>")

    @workflow(name="child")
    async def child(ctx: Context, number: int) -> int:
        return number + 1

    made = graph(
        name="order",
        nodes=[
            node("first", child, input=1),
            node("not now", echo, input=1, when=ref("first") > 5),
            node("bad", bad, after="first"),
            node('then "it"', echo, input=ref("bad")),
            node("long", after, input=3600, after="first"),
        ],
    )
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, bad, echo, after, child)
        handle = await made.enqueue(env.client)
        with pytest.raises(WorkflowFailed, match="no <money>"):
            await handle.wait_for_completion()
        view = await handle.describe()
        assert render_run(made, view).splitlines() == [
            "graph order 1.0.0",
            "  first      done       workflow child 1.0.0",
            "  not now    skipped    task echo             after first  when first > 5",
            "  bad        failed     task bad              after first",
            "  long       cancelled  task after            after first",
            '  then "it"  unreached  task echo             after bad',
        ]
        mermaid = render_run(made, view, "mermaid")
        assert '  n4["then #34;it#34;<br/>task echo<br/>unreached"]' in mermaid.splitlines()
        assert "  class n2 failed" in mermaid.splitlines()
        assert [each.error for each in progress_of(made, view) if each.error and each.state == "failed"] == ["ValueError: no <money>"]
        other = graph(name="order", version="2", nodes=[node("a", echo)])
        with pytest.raises(DefinitionError, match="not of <graph 'order' version '2'>"):
            render_run(other, view)
        with pytest.raises(DefinitionError, match="format"):
            made.render("dot")  # type: ignore[arg-type]


async def test_a_run_under_way_is_shown() -> None:
    made = graph(name="way", nodes=[node("many", after, each=[1, 100, 200], concurrency=2), node("end", echo, input=ref("many"))])
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, after, echo)
        handle = await made.enqueue(env.client)
        await env.advance(timedelta(seconds=50))
        found = progress_of(made, await handle.describe())
        assert [(each.state, each.done, each.total) for each in found] == [("running", 1, 3), ("waiting", 0, None)]
        assert "many  running 1/3" in render_run(made, await handle.describe())
        await handle.cancel("enough")
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion()


async def test_keys_are_the_runs_own() -> None:
    keys = []

    @task(name="look")
    async def look(value: Any, call: TaskContext) -> Any:
        keys.append(call.idempotency_key)

    made = graph(name="keys", nodes=[node("a", look), node("b", look, each=[1, 1])])
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, look)
        for _ in range(2):
            await env.run(made)
    assert len(set(keys)) == 6


async def test_what_an_expression_lacks_ends_the_run() -> None:
    made = graph(name="lacks", input=dict[str, Any], nodes=[node("a", echo, input=1, when=inputs.n > 3)])
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, echo)
        for payload, reason in (({}, "node 'a': there is no inputs.n"), ({"n": "x"}, "only numbers, and only texts, have an order")):
            with pytest.raises(WorkflowFailed, match=reason):
                await env.run(made, payload)


async def test_a_graph_within_a_graph() -> None:
    inner = graph(name="inner", input=list[int], nodes=[node("sum", echo, each=inputs)], output=ref("sum")[0], returns=int)
    outer = graph(name="outer", nodes=[node("inner", inner, input=[5]), node("out", echo, input=ref("inner"))])
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, outer, echo)
        assert await env.run(outer) == {"out": 5}


async def test_nodes_are_added_and_reordered_under_a_run() -> None:
    ran: list[Any] = []

    @task(name="note", local=True)
    async def note(value: Any) -> Any:
        ran.append(value)
        return value

    nodes = [node("first", note, input="first"), node("wait", after, input=100), node("last", note, input="last", after=["wait", "first"])]
    old = graph(name="edited", nodes=nodes, output=ref("last"))
    new = graph(name="edited", nodes=[node("new", note, input="new"), *reversed(nodes)], output=[ref("last"), ref("new")])
    async with TestEnvironment.in_memory() as env:
        await env.worker(old, after, note)
        handle = await old.enqueue(env.client)
        await env.advance(timedelta(seconds=50))
        await env.crash_worker()
        await env.worker(new, after, note)
        assert await new.handle(env.client, handle.id).wait_for_completion() == ["last", "new"]
    assert ran == ["first", "new", "last"]


async def test_a_long_chain_and_one_that_is_skipped() -> None:
    count = 1200
    chain = [node("n0", echo, input=0, when=inputs)]
    chain += [node(f"n{number}", echo, input=number, after=f"n{number - 1}") for number in range(1, count)]
    made = graph(name="chain", input=bool, nodes=chain)
    async with TestEnvironment.in_memory() as env:
        await env.worker(made, echo)
        assert await env.run(made, False) == {}
    wide = graph(name="wide", nodes=[node("many", echo, each=list(range(300)), concurrency=50)])
    async with TestEnvironment.in_memory() as env:
        await env.worker(wide, echo)
        handle = await wide.enqueue(env.client)
        assert await handle.wait_for_completion() == {"many": list(range(300))}
        assert "many  done 300/300" in render_run(wide, await handle.describe())


def test_the_definition_is_plain_data() -> None:
    made = skipping(input=ref("left").otherwise(3), after=["right"], timeout=3)
    data = msgspec.json.decode(msgspec.json.encode(made.to_dict()))
    assert data["nodes"][2] == {
        "name": "last",
        "runs": {"task": "echo"},
        "input": {
            "kind": "operation",
            "operator": "otherwise",
            "terms": [{"kind": "output", "node": "left"}, {"kind": "constant", "value": 3}],
        },
        "after": ["right"],
        "when": None,
        "each": None,
        "join": "all",
        "cancel_rest": False,
        "concurrency": 10,
        "options": {"timeout": 3},
    }
    assert made.render("text") == made.render()
