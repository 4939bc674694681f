"""Runs that are held by a worker which cannot read them.

The sealed value goes on as it is, beside a public part that says so; whoever has the key opens the value and goes on with the run. A run
that has only been started has no value yet: there its sealed start goes on.
"""

import msgspec

from aiki.journal import RunState, decode_state, encode_state, new_run
from aiki.types.errors import AikiError, Tampered
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Start, decode_start, peek_mail
from aiki.types.sealed import Carried, carry, is_sealed, parse, public_part

__all__ = ["held_run", "held_start", "inner_place", "released"]


def held_run(stored: bytes, subject: str, error: AikiError, worker: str, now: float) -> bytes | None:
    """The new value of a run whose sealed value stands on `subject`; None when it is held already, or can be read."""
    if not is_sealed(stored):
        return None
    parts = parse(stored)
    state = decode_state(parts.public)
    if isinstance(parts, Carried):
        return None
    return carry(encode_state(_held(state, error, worker, now)), subject, stored)


def held_start(start: bytes, subject: str, error: AikiError, worker: str, now: float) -> bytes | None:
    """The first value of a run whose sealed start stands on `subject`; None when it can be read, or is no start."""
    if not is_sealed(start) or not public_part(start):
        return None
    message = peek_mail(start)
    return carry(encode_state(_held(new_run(message, now), error, worker, now)), subject, start) if isinstance(message, Start) else None


def _held(state: RunState, error: AikiError, worker: str, now: float) -> RunState:
    info = msgspec.structs.replace(ErrorInfo.of(error), traceback=None, cause=None)
    return msgspec.structs.replace(state, status="stalled", held=info, worker=worker, updated_at=now)


def inner_place(subject: str, public: bytes, context: str) -> None:
    """`Tampered` unless what is carried at a run's place belongs to that run: its value, or its start."""
    state = decode_state(public)
    own = subject.rpartition(".")[2]
    if state.run_id != own or (context != subject and context.split(".")[-2:] != [own, "start"]):
        raise Tampered(f"the value of run {own} carries what belongs somewhere else", context=subject)


def released(public: bytes, plain: bytes, subject: str, context: str) -> bytes:
    """The value of a run that was held, for whoever can read it."""
    outside = decode_state(public)
    state = decode_state(plain) if context == subject else new_run(decode_start(plain), outside.started_at)
    if state.run_id != outside.run_id:
        raise Tampered(f"the value of run {outside.run_id} carries what belongs to run {state.run_id}", context=subject)
    return encode_state(msgspec.structs.replace(state, status="stalled", held=outside.held))
