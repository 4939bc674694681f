"""Queries: views of a run's variables, answered from its live code or from a replay that leaves no trace."""

import logging

from aiki.actors import history
from aiki.actors.blobs import Blobs
from aiki.actors.bringing import Bringing
from aiki.actors.definitions import RunDefinition
from aiki.actors.held import is_held
from aiki.journal import Entry, RunMachine, RunState
from aiki.kv import RunStore
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Answer, Query
from aiki.types.states import is_final

__all__ = ["ask_code", "ask_stored", "machine_of"]

_log = logging.getLogger("aiki.actors")


def machine_of(definition: RunDefinition, state: RunState, journal: list[Entry], environment: object) -> RunMachine:
    """A machine for this state of a run; what its start has set takes the place of what the workflow declares."""
    return RunMachine(
        state,
        definition.program,
        history=journal,
        retry=state.retry if state.retry is not None else definition.retry,
        timeout=state.timeout if state.timeout is not None else definition.timeout,
        deadline=state.deadline if state.deadline is not None else definition.deadline,
        cleanup=definition.cleanup,
        environment=environment,
        hold=definition.on_nondeterminism == "hold",
    )


def ask_code(machine: RunMachine, query: Query) -> Answer:
    """Ask code that is in memory."""
    try:
        handler = machine.queries.get(query.name)
        if handler is None:
            there_are = ", ".join(machine.queries) or "none"
            raise LookupError(f"the workflow answers no query {query.name!r}; it has {there_are}")
        return Answer("", handler(query.payload))
    except Exception as error:
        return Answer("", b"", ErrorInfo.of(error))


async def ask_stored(store: RunStore, blobs: Blobs, definition: RunDefinition, run_id: str, query: Query, now: float) -> Answer:
    """Replay the run as it is stored, ask, and forget it."""
    try:
        found = await history.read(store, run_id)
        if found is None or is_final(found.state.status):
            raise LookupError("the run has no variables: it has not begun, or it has ended")
        if is_held(found.state):
            raise LookupError(f"the run is held: {found.state.held}")
        large = Bringing(run_id, blobs)
        await large.bring_journal(found.state, found.journal)
        machine = machine_of(definition, found.state, found.journal, None)
        machine.claims = large.claims
        try:
            machine.begin(now)
            return ask_code(machine, query)
        finally:
            machine.evict()
    except Exception as error:
        _log.debug("query %r of run %s: %s", query.name, run_id, error)
        return Answer("", b"", ErrorInfo.of(error))
