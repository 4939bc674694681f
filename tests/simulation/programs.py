"""Random workflow programs: a small tree of things that workflows do, and the code that does them."""

import asyncio
import random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.unit.journal.rig import StepError, Steps

__all__ = ["Node", "code_of", "programs"]


class Node(NamedTuple):
    """`kind` with its parts: steps have a name, delays a length."""

    kind: str
    name: str = ""
    value: int = 0
    flag: bool = False
    parts: "tuple[Node, ...]" = ()


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.builds(Node, st.just("step"), NAMES, st.integers(0, 1), st.booleans())
"""Few names and inputs, so that identical calls are frequent; `flag`: local."""
LEAVES = st.one_of(
    STEPS,
    STEPS,
    st.builds(Node, st.just("keyed"), NAMES, st.integers(0, 1)),
    st.builds(Node, st.just("sleep"), value=st.integers(0, 6)),
    st.builds(Node, st.just("chance"), NAMES),
    st.builds(Node, st.just("now"), NAMES),
)


def _inner(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    some = st.lists(parts, min_size=1, max_size=3).map(tuple)
    one = st.tuples(parts)
    return st.one_of(
        st.builds(Node, st.sampled_from(["sequence", "gather", "group", "first", "queue", "completed"]), parts=some),
        st.builds(Node, st.just("timeout"), value=st.integers(1, 5), parts=one),
        st.builds(Node, st.sampled_from(["guarded", "locked", "cancelled"]), parts=one),
        st.builds(Node, st.just("shielded"), value=st.integers(1, 5), parts=one),
    )


programs = st.lists(st.recursive(LEAVES, _inner, max_leaves=8), min_size=1, max_size=3).map(
    lambda parts: Node("sequence", parts=tuple(parts))
)


def code_of(node: Node) -> Any:
    """The workflow. Its result holds everything that it saw, in the order in which it saw it."""

    async def code(run: Steps) -> Any:
        seen: list[Any] = []
        chance = random.Random(f"{run.machine.state.run_id}/{run.machine.state.attempt}")
        lock = asyncio.Lock()

        async def do(node: Node) -> Any:
            result = await KINDS[node.kind](node)
            seen.append([node.kind, result, run.now])
            return result

        async def step(node: Node) -> Any:
            return await run.call(node.name, node.value, local=node.flag)

        async def keyed(node: Node) -> Any:
            return await run.call(node.name, 0, key=f"k{node.value}")

        async def sleep(node: Node) -> Any:
            await asyncio.sleep(node.value)

        async def draw(node: Node) -> Any:
            return await run.call(node.name, chance.randrange(3))

        async def instant(node: Node) -> Any:
            return await run.call(node.name, run.now)

        async def sequence(node: Node) -> Any:
            return [await do(part) for part in node.parts]

        async def gather(node: Node) -> Any:
            results = await asyncio.gather(*(do(part) for part in node.parts), return_exceptions=True)
            return [str(result) if isinstance(result, BaseException) else result for result in results]

        async def group(node: Node) -> Any:
            async with asyncio.TaskGroup() as tasks:
                all_of_them = [tasks.create_task(do(part)) for part in node.parts]
            return [task.result() for task in all_of_them]

        async def first(node: Node) -> Any:
            tasks = [asyncio.create_task(do(part), name=str(number)) for number, part in enumerate(node.parts)]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            winners = [task.get_name() for task in done]
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return [winners, [task.get_name() for task in pending]]

        async def completed(node: Node) -> Any:
            tasks = [asyncio.create_task(do(part)) for part in node.parts]
            results = []
            for each in asyncio.as_completed(tasks):
                try:
                    results.append(await each)
                except StepError as error:
                    results.append(str(error))
            return results

        async def queue(node: Node) -> Any:
            items: asyncio.Queue[Any] = asyncio.Queue(1)

            async def produce(part: Node) -> None:
                try:
                    await items.put(await do(part))
                except (StepError, TimeoutError, ExceptionGroup) as error:
                    await items.put(type(error).__name__)

            async with asyncio.TaskGroup() as tasks:
                for part in node.parts:
                    tasks.create_task(produce(part))
                return [await items.get() for _ in node.parts]

        async def timeout(node: Node) -> Any:
            try:
                async with asyncio.timeout(node.value):
                    return await do(node.parts[0])
            except TimeoutError:
                return "late"

        async def shielded(node: Node) -> Any:
            inner = asyncio.create_task(do(node.parts[0]))
            try:
                return await asyncio.wait_for(asyncio.shield(inner), node.value)
            except TimeoutError:
                return ["after all", await inner]

        async def guarded(node: Node) -> Any:
            try:
                return await do(node.parts[0])
            except (StepError, TimeoutError, ExceptionGroup) as error:
                return ["caught", type(error).__name__, await run.call("repair")]

        async def locked(node: Node) -> Any:
            if lock.locked():
                return await do(node.parts[0])
            async with lock:
                return await do(node.parts[0])

        async def cancelled(node: Node) -> Any:
            task = asyncio.create_task(do(node.parts[0]))
            await run.call("c", 1)
            task.cancel()
            return [type(result).__name__ for result in await asyncio.gather(task, return_exceptions=True)]

        KINDS = {
            "step": step, "keyed": keyed, "sleep": sleep, "chance": draw, "now": instant, "sequence": sequence, "gather": gather,
            "group": group, "first": first, "completed": completed, "queue": queue, "timeout": timeout, "shielded": shielded,
            "guarded": guarded, "locked": locked, "cancelled": cancelled,
        }  # fmt: skip
        await do(node)
        return seen

    return code
