"""Annotations that are strings, as `from __future__ import annotations` makes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiki.task import task
from aiki.types.errors import DefinitionError
from aiki.workflow import Context, workflow

if TYPE_CHECKING:
    from fractions import Fraction


class Order(msgspec.Struct):
    id: int


@task()
async def module_level(order: Order) -> list[Order]:
    return [order]


def run(what: Any, payload: bytes) -> bytes:
    answer: bytes = asyncio.run(what.execute(payload, run_id="r", attempt=1, key="k"))
    return answer


def test_types_of_the_module() -> None:
    assert run(module_level, b'{"id":1}') == b'[{"id":1}]'


def test_types_of_the_scope() -> None:
    class Local(msgspec.Struct):
        value: int

    @task()
    async def local(payload: Local) -> Local | None:
        return payload

    @workflow()
    async def local_flow(ctx: Context, payload: Local) -> Local:
        return payload

    assert run(local, b'{"value":1}') == b'{"value":1}'
    assert local_flow.input_schema.decode(b'{"value":1}', "x") == Local(1)


def test_types_that_only_checkers_see_are_refused_with_the_reason() -> None:
    with pytest.raises(DefinitionError, match="TYPE_CHECKING"):

        @task()
        async def hidden(payload: Fraction) -> None: ...
