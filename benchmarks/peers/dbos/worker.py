"""Client and worker in one, as DBOS is used: takes starts as JSON lines on a Unix socket, and answers each when accepted and when done."""

# mypy: disable-error-code="import-not-found"

import argparse
import asyncio
import json
from contextlib import nullcontext
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks.loop import run
from benchmarks.peers.dbos.program import WORKFLOWS


async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until it ends."""
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(one(json.loads(line), writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def one(order: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    """One run. Only one that must be found again gets a name: a named start takes DBOS longer."""
    with SetWorkflowID(order["label"]) if order["named"] else nullcontext():
        handle = await DBOS.start_workflow_async(WORKFLOWS[order["workflow"]], order["label"], order["steps"])
    writer.write(json.dumps({"label": order["label"], "accepted": True}).encode() + b"\n")
    result = await handle.get_result()
    writer.write(json.dumps({"label": order["label"], "result": result}).encode() + b"\n")


async def serve(path: str) -> None:
    server = await asyncio.start_unix_server(connected, path)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--executor", required=True)
    parser.add_argument("--socket", required=True)
    options = parser.parse_args()
    DBOS(
        config={
            "name": "bench",
            "system_database_url": options.database,
            "executor_id": options.executor,
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    run(serve(options.socket))


if __name__ == "__main__":
    main()
