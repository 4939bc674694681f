"""Declaring tasks, calling them as the plain functions that they are, and running one attempt."""

import asyncio
import functools
import threading
from typing import Any

import msgspec
import pytest

from aiki.task import Retry, Task, TaskContext, task
from aiki.types.errors import DefinitionError, InvalidName, PayloadError
from aiki.worker.registry import Registry


class Order(msgspec.Struct):
    id: int
    lines: list[str] = []


@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=1), timeout=5, queue="money")
async def charge(order: Order) -> str:
    """Charge it."""
    return f"charged {order.id}"


def attempt(what: Task[Any, Any, ..., Any], payload: bytes = b"null") -> Any:
    return msgspec.json.decode(asyncio.run(what.execute(payload, run_id="r", attempt=2, key="k")))


def test_a_declaration() -> None:
    assert (charge.name, charge.timeout, charge.queue, charge.local) == ("charge", 5.0, "money", False)
    assert charge.retry == Retry.fixed(max_attempts=3, delay=1)
    assert (charge.__doc__, repr(charge)) == ("Charge it.", "<task 'charge'>")


def test_called_directly_it_is_the_plain_function() -> None:
    assert asyncio.run(charge(Order(5))) == "charged 5"  # type: ignore[arg-type]
    marker = object()

    @task()
    def identity(value: Any, more: Any = None) -> Any:
        return value, more

    assert identity(marker) == (marker, None)
    assert identity(marker, more=1) == (marker, 1)
    assert identity.__wrapped__ is identity.function


def test_an_attempt_validates_both_ways() -> None:
    assert attempt(charge, b'{"id":7}') == "charged 7"
    with pytest.raises(PayloadError, match=r"input of task 'charge' does not fit its type at \$\.id"):
        attempt(charge, b'{"id":"x"}')

    @task()
    async def lies() -> int:
        return "no number"  # type: ignore[return-value]

    with pytest.raises(PayloadError, match="result of task 'lies'"):
        attempt(lies)


def test_a_plain_function_runs_in_a_thread() -> None:
    @task()
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert attempt(where) is False


def test_the_second_parameter_tells_of_the_call() -> None:
    @task(name="told")
    async def told(payload: int, call: TaskContext) -> list[Any]:
        return [payload, call.task, call.attempt, call.run_id, call.idempotency_key]

    assert attempt(told, b"1") == [1, "told", 2, "r", "k"]


def test_the_name_defaults_to_the_function_s() -> None:
    @task()
    async def mine() -> None: ...

    assert mine.name == "mine"


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 300, 5, b"a"])
def test_bad_names(name: Any) -> None:
    async def function() -> None: ...

    with pytest.raises(InvalidName):
        task(name=name)(function)


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


async def keyword_only(*, payload: int) -> None: ...
async def variadic(*payload: int) -> None: ...
async def many(a: int, b: int, c: int) -> None: ...
async def unsendable(payload: threading.Lock) -> None: ...
async def unsendable_result() -> threading.Thread:
    raise NotImplementedError


async def unresolved(payload: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def no_attribute(payload: "msgspec.Missing") -> None: ...  # type: ignore[name-defined]
async def no_syntax(payload: "int[") -> None: ...  # type: ignore[valid-type]  # noqa: F722


class Callable:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        generator, async_generator, keyword_only, variadic, many, unsendable, unsendable_result, unresolved, no_attribute, no_syntax,
        functools.partial(many, 1), Callable(), print, dict, 5, None,
    ],
)  # fmt: skip
def test_bad_functions(function: Any) -> None:
    with pytest.raises(DefinitionError, match="task 'x'"):
        task(name="x")(function)


@pytest.mark.parametrize("function", [lambda: None, 5])
def test_a_nameless_function_needs_a_name(function: Any) -> None:
    if callable(function):
        assert task()(function).name == "<lambda>"
    else:
        with pytest.raises(InvalidName):
            task()(function)


@pytest.mark.parametrize(
    "options", [{"retry": 3}, {"timeout": 0}, {"timeout": -1}, {"timeout": "1"}, {"timeout": float("inf")}, {"queue": ""}, {"queue": 5}]
)
def test_bad_options(options: Any) -> None:
    async def function() -> None: ...

    with pytest.raises(DefinitionError):
        task(name="x", **options)(function)


def test_payload_types_of_a_function_s_own_scope() -> None:
    class Local(msgspec.Struct):
        value: int

    @task()
    async def takes(payload: "Local") -> "Local":
        return payload

    assert attempt(takes, b'{"value":1}') == {"value": 1}


def test_methods_are_functions() -> None:
    class Service:
        async def ship(self, order: Order) -> int:
            return order.id

    assert attempt(task(name="ship")(Service().ship), b'{"id":3}') == 3


def test_a_name_is_registered_once() -> None:
    @task(name="charge")
    async def other() -> None: ...

    registry = Registry().add(charge).add(charge)
    with pytest.raises(DefinitionError, match="task 'charge' is registered twice"):
        registry.add(other)
    assert registry.tasks == {"charge": charge}


def test_only_definitions_are_registered() -> None:
    with pytest.raises(DefinitionError, match="decorator"):
        Registry().add(test_a_declaration)  # type: ignore[arg-type]
