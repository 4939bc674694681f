"""Where the peers are installed."""

import os
import tempfile
from pathlib import Path

__all__ = ["MissingPeer", "home"]


class MissingPeer(Exception):
    """A peer, or something it needs, is not installed; the message says what to do."""


def home() -> Path:
    """`$PEERS_HOME`, by default a folder in the temporary directory."""
    return Path(os.environ.get("PEERS_HOME") or Path(tempfile.gettempdir()) / "aiki-peers")
