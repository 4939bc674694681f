"""Workflows that have a task take and return a payload, by the payload's kind."""

from typing import Any

from aiki.sdk import Context, Task, Workflow, task, workflow

__all__ = ["KINDS"]

Program = tuple[Workflow[Any, Any], Task[Any, Any, ..., Any]]


@task(name="echo-str")
async def echo_text(value: str) -> str:
    return value


@workflow(name="str")
async def text(ctx: Context, value: str) -> str:
    return await echo_text.run(ctx, value)


@task(name="echo-bytes")
async def echo_bytes(value: bytes) -> bytes:
    return value


@workflow(name="bytes")
async def raw(ctx: Context, value: bytes) -> bytes:
    return await echo_bytes.run(ctx, value)


@task(name="echo-list")
async def echo_list(value: list[str]) -> list[str]:
    return value


@workflow(name="list")
async def lines(ctx: Context, value: list[str]) -> list[str]:
    return await echo_list.run(ctx, value)


KINDS: dict[str, Program] = {"str": (text, echo_text), "bytes": (raw, echo_bytes), "list": (lines, echo_list)}
