"""The actor runtime: mailboxes, activations, turns, the outbox, task workers, and the streams they live on."""

from aiki.actors.host import Host
from aiki.actors.tasks import TaskWorker
from aiki.actors.topology import ACK_WAIT, check, init, streams

__all__ = ["ACK_WAIT", "Host", "TaskWorker", "check", "init", "streams"]
