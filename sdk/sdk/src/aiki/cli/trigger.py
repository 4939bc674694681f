"""When a run that is started from the command line is to begin."""

from datetime import datetime

from aiki.types.errors import DefinitionError
from aiki.types.trigger import Trigger

__all__ = ["read_trigger"]


def read_trigger(at: str | None, after: float | None) -> Trigger | None:
    """From `--at` (ISO 8601, with a time zone) or `--after` (seconds); None: at once."""
    if at is not None and after is not None:
        raise DefinitionError("--at and --after exclude each other", what="trigger")
    if after is not None:
        return Trigger.after(after)
    if at is None:
        return None
    try:
        instant = datetime.fromisoformat(at)
    except ValueError as error:
        raise DefinitionError(f"--at takes an instant such as 2030-01-31T09:00:00+01:00, not {at!r}", what="trigger") from error
    return Trigger.at(instant)
