"""Messaging: the port, JetStream, and the in-memory twin.

Importing this package does not import nats-py; using `JetStreamTransport` does.
"""

from typing import TYPE_CHECKING, Any

from aiki.transport.port import (
    Ack,
    Connector,
    ConsumerInfo,
    ConsumerSpec,
    Consumption,
    Delivery,
    Headers,
    Message,
    ServerInfo,
    Stored,
    StreamSpec,
    Subscription,
    Transport,
)

if TYPE_CHECKING:
    from aiki.transport.embedded import EmbeddedNats
    from aiki.transport.jetstream import JetStreamTransport
    from aiki.transport.memory import Faults, MemoryServer, MemoryTransport

__all__ = [
    "Ack",
    "Connector",
    "ConsumerInfo",
    "ConsumerSpec",
    "Consumption",
    "Delivery",
    "EmbeddedNats",
    "Faults",
    "Headers",
    "JetStreamTransport",
    "MemoryServer",
    "MemoryTransport",
    "Message",
    "ServerInfo",
    "Stored",
    "StreamSpec",
    "Subscription",
    "Transport",
]

_LAZY = {
    "EmbeddedNats": "aiki.transport.embedded",
    "Faults": "aiki.transport.memory",
    "JetStreamTransport": "aiki.transport.jetstream",
    "MemoryServer": "aiki.transport.memory",
    "MemoryTransport": "aiki.transport.memory",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
