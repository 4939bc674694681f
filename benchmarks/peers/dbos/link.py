"""The benchmark's end of a DBOS worker's socket."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

__all__ = ["Link"]


class Link:
    """Starts runs in a worker; its futures fail with `ConnectionError` when the worker dies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._accepted: dict[str, asyncio.Future[None]] = defaultdict(asyncio.get_running_loop().create_future)
        self._results: dict[str, asyncio.Future[int]] = defaultdict(asyncio.get_running_loop().create_future)
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def to(cls, path: Path) -> "Link":
        return cls(*await asyncio.open_unix_connection(path))

    async def start(self, workflow: str, label: str, steps: int, *, named: bool) -> None:
        """Returns when the worker says that the run is accepted. `named`: the label is the workflow's id in the database, too."""
        order = {"workflow": workflow, "label": label, "steps": steps, "named": named}
        self._writer.write(json.dumps(order).encode() + b"\n")
        await self._accepted[label]

    async def result(self, label: str) -> int:
        """The run's output."""
        return await self._results[label]

    async def close(self) -> None:
        self._writer.close()
        self._reading.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                answer = json.loads(line)
                if "result" in answer:
                    self._results[answer["label"]].set_result(answer["result"])
                else:
                    self._accepted[answer["label"]].set_result(None)
        except ConnectionError:
            pass
        gone = ConnectionError("the worker is gone")
        for accepted in self._accepted.values():
            if not accepted.done():
                accepted.set_exception(gone)
        for result in self._results.values():
            if not result.done():
                result.set_exception(gone)
