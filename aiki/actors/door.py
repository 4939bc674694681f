"""The way into the waiting room of a gate: store what is to wait, see that somebody keeps the gate, and tell whoever does.

Behind everything that waits stands the gate's baton, a message that its keeper never acknowledges while something waits: whoever enters the
room puts one there unless there is one. The nudge is a courtesy; a keeper that misses it looks into the room by itself.
"""

import contextlib

from aiki.transport.port import Headers, Transport
from aiki.types.errors import Conflict
from aiki.types.subjects import Subjects

__all__ = ["enter", "leave", "nudge_subject", "ring"]


async def enter(
    transport: Transport,
    subjects: Subjects,
    gate: str,
    place: str,
    id: str,
    data: bytes,
    *,
    headers: Headers | None,
    message_id: str,
    again: bool,
) -> None:
    """Have a dispatch wait at a gate. `again`: it may have been done before. Errors as for `Transport.publish`."""
    with contextlib.suppress(Conflict):  # it waits there
        subject = f"{subjects.waiting_room(gate)}{place}.{id}"
        await transport.publish(subject, data, headers=headers, message_id=message_id, expect=0 if again else None)
    await ring(transport, subjects, gate)
    transport.send(nudge_subject(subjects, gate), f"+{place} {id}".encode())


async def ring(transport: Transport, subjects: Subjects, gate: str) -> None:
    """Put a baton there, unless there is one. Errors as for `Transport.publish`."""
    with contextlib.suppress(Conflict):
        await transport.publish(subjects.baton(gate), b"", expect=0)


def leave(transport: Transport, subjects: Subjects, gate: str, id: str) -> None:
    """Tell the keeper that a dispatch is at work no more, or waits no more."""
    transport.send(nudge_subject(subjects, gate), f"-{id}".encode())


def nudge_subject(subjects: Subjects, gate: str) -> str:
    """Where the keeper of a gate listens."""
    return subjects.nudge_prefix + gate
