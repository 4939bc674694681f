"""A worker process, `python -m tests.chaos.worker URL REGION NAME [talk|tasks|all|sagas|poison|gates|places]`: "ready" once it serves.

It serves the journey, or runs that are talked to, or the saga, or the tasks that have limits, those with their workflows, what kills
it, or the task that has a gate, or the workflow whose runs have places.
"""

import asyncio
import sys

from aiki.sdk import Client, Worker
from tests.chaos.gates import haul, hold
from tests.chaos.limits import bounded, climb, climber, stuck
from tests.chaos.places import occupied, stay
from tests.chaos.poison import POISON
from tests.chaos.program import flaky, journey, local, remote
from tests.chaos.sagas import pack, trip, unpack
from tests.chaos.talk import TALK


async def serve(url: str, region: str, name: str, what: str = "journey") -> None:
    async with await Client.connect(url, region=region, timeout=20) as client:
        worker = Worker(client, id=name)
        if what == "journey":
            worker.registry.add(journey).add(local).add(remote).add(flaky)
        elif what == "sagas":
            worker.registry.add(trip).add(pack).add(unpack)
        elif what == "poison":
            for deadly in POISON:
                worker.registry.add(deadly)
        elif what == "gates":
            worker.registry.add(haul).add(hold)
        elif what == "places":
            worker.registry.add(occupied).add(stay)
        elif what == "talk":
            for definition in TALK:
                worker.registry.add(definition)
        else:
            worker.registry.add(climb).add(stuck)
        if what == "all":
            worker.registry.add(climber).add(bounded)
        async with worker:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:5]))
