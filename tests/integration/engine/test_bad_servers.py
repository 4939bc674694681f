"""Servers that cannot be used: each is named with what is wrong, in time, and without credentials."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiki.sdk import Client
from aiki.transport import EmbeddedNats
from aiki.transport.embedded import find_binary
from aiki.types.errors import DefinitionError, JetStreamDisabled, NotConnected, ServerTooOld
from tests.integration.engine.place import eventually

Greeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def fake(serve: Greeting) -> AsyncIterator[int]:
    """A TCP server that answers each connection in its own way; its port."""
    writers = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


def speaks(version: str) -> Greeting:
    """Just enough of NATS to be connected to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "FAKE", "version": version, "proto": 1, "headers": True, "max_payload": 1 << 20, "jetstream": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return None


async def refuse(url: str, **options: Any) -> NotConnected:
    began = time.monotonic()
    with pytest.raises(NotConnected) as caught:
        await Client.connect(url, timeout=0.5, **options)
    assert time.monotonic() - began < 3
    return caught.value


async def test_nobody_listens(unused_tcp_port: int) -> None:
    error = await refuse(f"nats://somebody:hunter2@127.0.0.1:{unused_tcp_port}")
    assert f"127.0.0.1:{unused_tcp_port}" in str(error)
    assert "hunter2" not in str(error) and "somebody" not in str(error)
    assert "hunter2" not in str(error.fields) and "hunter2" not in repr(error.__cause__)


@pytest.mark.parametrize("serve", [silent, hangs_up, web])
async def test_something_else_listens(serve: Greeting) -> None:
    async with fake(serve) as port:
        assert "127.0.0.1" in str(await refuse(f"nats://token@127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "url", ["nats://no-such-host.invalid:4222", "nats://127.0.0.1:port", "ftp://127.0.0.1", "nats://", "a b", "nats://[::1"]
)
async def test_not_an_address(url: str) -> None:
    await refuse(url)


async def test_an_address_of_the_wrong_kind() -> None:
    with pytest.raises((DefinitionError, NotConnected)):
        await Client.connect(5, timeout=0.5)  # type: ignore[arg-type]


async def test_wrong_credentials(tmp_path: Path) -> None:
    config = tmp_path / "auth.conf"
    config.write_text('authorization { user: "somebody", password: "right" }\n')
    async with EmbeddedNats(config=config) as server:
        address = server.url.removeprefix("nats://")
        error = await refuse(f"nats://somebody:wr0ng@{address}")
        assert "wr0ng" not in str(error)
        assert "uthoriz" in str(error) or "uthentic" in str(error)
        client = await Client.connect(f"nats://somebody:right@{address}")
        await client.close()


async def test_a_server_without_jetstream(tmp_path: Path) -> None:
    ports = tmp_path / "ports"
    ports.mkdir()
    server = await asyncio.create_subprocess_exec(
        str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(ports), stderr=asyncio.subprocess.DEVNULL
    )
    try:

        async def ready() -> bool:
            return any(file.read_text() for file in ports.glob("*.ports"))

        await eventually(ready)
        [file] = ports.glob("*.ports")
        url = json.loads(file.read_text())["nats"][0]
        with pytest.raises(JetStreamDisabled, match="-js"):
            await Client.connect(url, timeout=2)
    finally:
        server.terminate()
        await server.wait()


@pytest.mark.parametrize("version", ["2.10.0", "2.13.9", "1.4.1", "0.0.0-dev", "strange"])
async def test_a_server_that_is_too_old_is_named_with_what_is_needed(version: str) -> None:
    async with fake(speaks(version)) as port:
        with pytest.raises(ServerTooOld) as caught:
            await Client.connect(f"nats://127.0.0.1:{port}", timeout=2)
        assert version in str(caught.value) and "2.14.0" in str(caught.value)
        assert caught.value.fields == {"version": version, "required": "2.14.0"}


async def test_a_server_that_never_answers_jetstream() -> None:
    async with fake(speaks("2.15.1")) as port:
        began = time.monotonic()
        with pytest.raises((NotConnected, JetStreamDisabled, Exception)) as caught:
            await Client.connect(f"nats://127.0.0.1:{port}", timeout=0.5)
        assert time.monotonic() - began < 4
        assert getattr(caught.value, "code", None) is not None
