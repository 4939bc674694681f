"""What the server itself says it has stored."""

import json
from typing import Any

from aiki.transport import Transport

__all__ = ["stored_messages"]


async def stored_messages(transport: Transport) -> int:
    """The number of messages that all streams ever stored: the sum of their last sequences, by JetStream's own API.

    A timer counts twice, as it is written: the schedule, and the message that the server makes of it.
    """
    total, offset = 0, 0
    while True:
        answer = await transport.request("$JS.API.STREAM.LIST", json.dumps({"offset": offset}).encode())
        page: dict[str, Any] = json.loads(answer.data)
        total += sum(int(stream["state"]["last_seq"]) for stream in page["streams"])
        offset += len(page["streams"])
        if not page["streams"] or offset >= page["total"]:
            return total
