"""The actor runtime: mailboxes, activations, turns, the outbox, task workers, and the streams they live on."""

from aiki.actors.host import Host
from aiki.actors.tasks import TaskWorker
from aiki.actors.topology import check, init, streams

__all__ = ["Host", "TaskWorker", "check", "init", "streams"]
