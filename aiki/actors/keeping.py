"""What becomes of a run's record after its end: how long it is kept, and whether it is archived before."""

from typing import NamedTuple, Protocol

from aiki.actors.definitions import RunDefinition
from aiki.journal import Archival, RunState
from aiki.types.retention import Retention, kept_for
from aiki.types.states import is_final

__all__ = ["Keeping", "keeping_of"]


class Keeper(Protocol):
    """What a host says about runs whose workflows say nothing."""

    retention: Retention
    archive: bool


class Keeping(NamedTuple):
    """Of one run. The first of `rules` that says something about its end holds."""

    rules: tuple[Retention, ...] = ()
    archive: bool = False

    def end(self, state: RunState) -> float | None:
        """Seconds after which the commit of this state expires; None: never, or not before an archiver has it, as the state then says."""
        if not is_final(state.status):
            return None
        retention = kept_for(state.status, *self.rules)
        if self.archive and state.archival is None:
            state.archival = Archival(retention)
        return None if state.awaits_archive else retention


def keeping_of(host: Keeper, definition: RunDefinition) -> Keeping:
    """What the workflow says, else its worker."""
    return Keeping((definition.retention, host.retention), host.archive if definition.archive is None else definition.archive)
