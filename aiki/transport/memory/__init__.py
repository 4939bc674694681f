"""The in-memory twin of JetStream: one `MemoryServer`, any number of `MemoryTransport` connections to it, and faults under a seed."""

from aiki.transport.memory.faults import Faults
from aiki.transport.memory.server import MemoryServer
from aiki.transport.memory.transport import MemoryTransport

__all__ = ["Faults", "MemoryServer", "MemoryTransport"]
