"""Instants as RFC 3339 text in UTC, which is how JetStream writes them."""

import math
from datetime import UTC, datetime

from aiki.types.errors import TransportError

__all__ = ["format_instant", "parse_instant"]


def format_instant(at: float) -> str:
    """Seconds since the epoch as text, rounded up to the microsecond so that nothing becomes early.

    An instant outside the years 1 to 9999 raises `TransportError`.
    """
    try:
        return datetime.fromtimestamp(math.ceil(at * 1e6) / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError) as error:
        raise TransportError(f"{at!r} is not an instant: {error}") from error


def parse_instant(text: str) -> float:
    """Text with up to nanoseconds as seconds since the epoch."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
