"""Webhook tokens: what a URL names, and the keys that sign it. No I/O."""

from aiki.webhooks.keyring import Keyring
from aiki.webhooks.ticket import Ticket

__all__ = ["Keyring", "Ticket"]
