"""Restate as an `Engine`: starts go to its HTTP ingress, and results are fetched by attaching to the invocation."""

# mypy: disable-error-code="import-not-found"

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from benchmarks.child import Child
from benchmarks.engine import Run, Step, Trees, Workflow
from benchmarks.options import Options
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.home import MissingPeer
from benchmarks.port import answers, free_ports
from benchmarks.steplog import StepLog

__all__ = ["ENGINE"]

ACCEPTED = (200, 201, 202)
ATTEMPTS = 100


class Invocation:
    """A run, by the id of its invocation. Attaching outlives the worker: the server holds the answer back."""

    def __init__(self, engine: "Restate", id: str) -> None:
        self._engine = engine
        self._id = id

    async def result(self) -> int:
        return int(await self._engine.ask("GET", f"{self._engine.ingress}/restate/invocation/{self._id}/attach"))


class Restate:
    """Server, granian and an HTTP client."""

    def __init__(self, options: Options, folder: Path, log: StepLog) -> None:
        self.log = log
        self._options = options
        self._folder = folder
        ingress, self._admin, self._node, self._service = free_ports(4)
        self._ingress_port = ingress
        self.ingress = f"http://127.0.0.1:{ingress}"

    async def __aenter__(self) -> "Restate":
        scratch = self._folder / "scratch"
        scratch.mkdir()
        environment = {
            "TMPDIR": str(scratch),
            "RESTATE_BASE_DIR": str(self._folder / "data"),
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(self._node),
            "RESTATE_INGRESS__BIND_PORT": str(self._ingress_port),
            "RESTATE_ADMIN__BIND_PORT": str(self._admin),
            "RESTATE_NODE_NAME": "bench",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_LOG_FILTER": "warn",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            "NO_COLOR": "1",
        }
        self._server = Child("server", [_server_binary()], self._folder, environment=environment)
        await self._server.until(lambda: answers(self._admin) and answers(self._ingress_port))
        self._worker = self._spawn()
        await self._worker.until(lambda: answers(self._service))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=300))
        await self._patiently("POST", f"http://127.0.0.1:{self._admin}/deployments", {"uri": f"http://127.0.0.1:{self._service}"})
        await self._patiently("POST", f"{self.ingress}/Bench/chain", {"label": "first", "steps": 1})
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()
        await self._worker.stop()
        await self._server.stop()

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        answer = await self.ask("POST", f"{self.ingress}/Bench/{workflow}/send", {"label": label, "steps": steps})
        return Invocation(self, answer["invocationId"])

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        return int(await self.ask("POST", f"{self.ingress}/Bench/{workflow}", {"label": label, "steps": steps}))

    def trees(self) -> Trees:
        return Trees(server=[self._server.pid], worker=[self._worker.pid])

    def kill_worker(self) -> None:
        self._worker.kill()

    async def restart_worker(self) -> None:
        self._worker = self._spawn()

    async def durable_writes(self) -> int | None:
        return None

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        return None

    async def ask(self, method: str, url: str, body: object = None) -> Any:
        """One HTTP exchange; the decoded answer, or `RuntimeError` with the server's words."""
        async with self._session.request(method, url, json=body) as response:
            if response.status not in ACCEPTED:
                raise RuntimeError(f"{method} {url}: {response.status} {await response.text()}")
            return await response.json(content_type=None)

    async def _patiently(self, method: str, url: str, body: object) -> None:
        """Ask until the answer is good: the server accepts connections a moment before its partitions have leaders."""
        for attempt in range(ATTEMPTS):
            try:
                await self.ask(method, url, body)
                return
            except (RuntimeError, aiohttp.ClientError):
                if attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(0.2)

    def _spawn(self) -> Child:
        granian: list[str | Path] = [Path(sys.executable).parent / "granian", "--interface", "asgi", "benchmarks.peers.restate.program:app"]
        where = ["--host", "127.0.0.1", "--port", str(self._service), "--http", "2", "--workers", str(self._options.workers)]
        return Child("worker", [*granian, *where], self._folder, environment=self.log.environment())


def _server_binary() -> Path:
    binaries = PEERS["restate"].folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
    found = next(iter(binaries), None)
    if found is None:
        raise MissingPeer("restate's server is not installed or not made for this platform: `python -m benchmarks peers install restate`")
    return found


ENGINE = Restate
