"""The secret store: the keys of a region in a JetStream KV bucket, changed only by compare-and-set."""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.types.subjects import Subjects

__all__ = ["WEBHOOK_KEYS", "SecretStore"]

WEBHOOK_KEYS = "webhooks"
"""Where the keys are that sign webhooks' URLs."""


class SecretStore(ActorStore):
    """The secrets of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.secrets_stream, subjects.secrets_prefix)
