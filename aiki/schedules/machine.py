"""What happens to a schedule: changes of its state, by messages, commands and time. No I/O.

Each function changes the state that it is given, which its caller has decoded for itself and commits by compare-and-set. Whatever starts a
run goes through the outbox, under an id that the firing determines: however often a firing is decided and sent, it is one run.
"""

from aiki.schedules.calendar import between, due, following
from aiki.schedules.extent import count
from aiki.schedules.schedule import Overlap, Schedule
from aiki.schedules.state import Backfill, Ending, Firing, OutEnd, OutRecall, OutStart, ScheduleState, SetAlarm
from aiki.types.identifiers import RunId, scheduled_run_id

__all__ = [
    "CHUNK",
    "RECENT",
    "advance",
    "backfill",
    "can_decide",
    "end_run",
    "firing_is_due",
    "pause",
    "recall",
    "refuse",
    "resume",
    "ring",
    "trigger",
    "update",
]

RECENT = 10
CHUNK = 50
"""Starts in one commit, so that a state stays small however much is to be made up for."""
PASSED = 2000
"""Missed firings in one commit."""
ENDINGS: dict[Overlap, Ending] = {"cancel_previous": "cancelled", "terminate_previous": "terminated"}
"""The overlap policies that end the run before."""


def advance(state: ScheduleState, now: float) -> None:
    """Decide all firings that are due, as many as fit into one commit; set the alarm for the next when none is left. Idempotent."""
    if not _superseding(state, now):
        _run_buffered(state, now)
    more = _fill(state, now)
    if not state.paused:
        more = _fire(state, now) or more
    if more or state.paused or state.planned is None:
        return
    next_due = due(state.schedule, state.id, state.planned)
    if state.alarm is None or state.alarm.due != next_due:
        state.serial += 1
        state.alarm = SetAlarm(state.serial, next_due)
        state.outbox.append(state.alarm)


def ring(state: ScheduleState, serial: int) -> None:
    """An alarm has come: if it is the present one, the schedule has none any more."""
    if state.alarm is not None and state.alarm.serial == serial:
        state.alarm = None


def end_run(state: ScheduleState, run_id: str) -> None:
    """A run has ended."""
    if run_id in state.running:
        state.running.remove(run_id)
        state.told.pop(run_id, None)


def firing_is_due(state: ScheduleState, now: float) -> bool:
    """Whether `advance` will ask if runs are going on."""
    if state.buffered is not None:
        return True
    return not state.paused and _is_due(state, now)


def can_decide(state: ScheduleState, serial: int) -> bool:
    """Whether the firing whose alarm has come early can be decided at once: nothing that may still end stands in its way."""
    return (
        not state.paused
        and state.alarm is not None
        and state.alarm.serial == serial
        and (state.schedule.overlap == "allow" or (not state.running and state.buffered is None))
    )


def recall(state: ScheduleState, now: float) -> None:
    """Take back the firings that were decided ahead of their instants: their starts are on their way."""
    early = [firing for firing in state.recent if firing.outcome == "fired" and firing.at > now and firing.run_id is not None]
    for firing in early:
        assert firing.run_id is not None
        state.recent.remove(firing)
        state.counts.fired -= 1
        # It stays among those that may be going on: if it was too late, it does.
        state.outbox = [owed for owed in state.outbox if not (isinstance(owed, OutStart) and owed.run_id == firing.run_id)]
        state.outbox.append(OutRecall(firing.run_id))
    if early:
        state.planned = min(firing.planned for firing in early)
        state.alarm = None


def refuse(state: ScheduleState, now: float, reason: str) -> None:
    """Strike out the starts that are owed and cannot be: their firings are noted as refused, and nobody waits for their runs."""
    owed = {entry.run_id for entry in state.outbox if isinstance(entry, OutStart)}
    state.outbox = [entry for entry in state.outbox if not isinstance(entry, OutStart)]
    state.counts.refused += len(owed)
    for run_id in owed:
        end_run(state, run_id)
    for place, firing in enumerate(state.recent):
        if firing.run_id in owed:
            state.recent[place] = Firing(firing.planned, now, "refused", None, reason)
            state.counts.fired -= firing.outcome == "fired"
            state.counts.triggered -= firing.outcome == "triggered"
            state.counts.backfilled -= firing.outcome == "backfilled"


def pause(state: ScheduleState, now: float, reason: str) -> None:
    """No planned firing happens until `resume`."""
    recall(state, now)
    state.paused, state.pause_reason = True, reason
    state.revision += 1


def resume(state: ScheduleState, now: float) -> None:
    """Go on with the first firing after now; those in between are skipped, and counted."""
    if not state.paused:
        return
    reason = f"paused: {state.pause_reason}" if state.pause_reason else "paused"
    state.paused, state.pause_reason = False, ""
    state.revision += 1
    state.alarm = None
    if state.planned is None:
        return
    passed, _ = count(state.schedule, state.planned, now)
    if passed:
        state.counts.skipped += passed
        _note(state, Firing(state.planned, now, "skipped", None, reason if passed == 1 else f"{reason} ({passed} firings from here)"))
        state.planned = following(state.schedule, now)


def trigger(state: ScheduleState, now: float, nonce: str) -> RunId:
    """Start a run now, whatever the schedule says, also while it is paused or another run goes on. Once per `nonce`."""
    run_id = scheduled_run_id(state.id, state.born, f"trigger {nonce}", 0.0)
    if all(firing.run_id != run_id for firing in state.recent):
        state.counts.triggered += 1
        _start(state, Firing(now, now, "triggered", run_id), follow=state.schedule.overlap != "allow")
    return run_id


def backfill(state: ScheduleState, since: float, until: float, nonce: str) -> None:
    """Make up for the firings planned in a period: each starts a run of its own, once per `nonce`, whatever became of the firing before."""
    if all(part.nonce != nonce for part in state.backfills):
        state.backfills.append(Backfill(nonce, since, until))


def update(
    state: ScheduleState, now: float, *, schedule: Schedule | None = None, payload: bytes | None = None, payload_hash: bytes = b""
) -> None:
    """Change what is given; firings that are due by now follow the old schedule no more."""
    if payload is not None:
        state.payload, state.payload_hash = payload, payload_hash
    recall(state, now)
    if schedule is not None:
        state.schedule = schedule
        state.planned = None if _exhausted(state) else following(schedule, now)
        state.alarm = None
    state.revision += 1


def _fire(state: ScheduleState, now: float) -> bool:
    schedule = state.schedule
    started, missed, waited = 0, 0, state.buffered
    while state.planned is not None and due(schedule, state.id, state.planned) <= now:
        if started >= CHUNK or missed >= PASSED:
            return True
        planned = state.planned
        state.planned = following(schedule, planned)
        late = now - due(schedule, state.id, planned)
        if late > schedule.catch_up:
            missed += 1
            state.counts.missed += 1
            _note(state, Firing(planned, now, "missed", None, f"{late:.0f} s late; the catch-up window is {schedule.catch_up:g} s"))
        elif schedule.overlap in ENDINGS:
            _supersede(state, planned, now)
        elif state.running and schedule.overlap != "allow":
            _overlap(state, planned, now)
        else:
            started += 1
            _begin(state, planned, now)
            if _exhausted(state):
                state.planned = None
    if schedule.overlap in ENDINGS:
        if state.buffered is not None and state.buffered != waited:
            _make_place(state, state.buffered, ENDINGS[schedule.overlap], now)
        _run_buffered(state, now)
    return False


def _superseding(state: ScheduleState, now: float) -> bool:
    """Whether a firing is due that a waiting one must not start before: its run would be told to end before it has begun."""
    return state.schedule.overlap in ENDINGS and not state.paused and _is_due(state, now)


def _is_due(state: ScheduleState, now: float) -> bool:
    return state.planned is not None and due(state.schedule, state.id, state.planned) <= now


def _supersede(state: ScheduleState, planned: float, now: float) -> None:
    """Of the firings that wait for the end of a run, the newest counts."""
    if state.buffered is not None:
        state.counts.overlapping += 1
        _note(state, Firing(state.buffered, now, "overlapping", None, "a newer firing came due before it could start"))
    state.buffered = planned


def _make_place(state: ScheduleState, planned: float, ending: Ending, now: float) -> None:
    """Tell the runs that go on to end. One that was told to is not told again, unless what it was told was milder."""
    untold = [run_id for run_id in state.running if state.told.get(run_id) not in (ending, "terminated")]
    for run_id in untold:
        state.told[run_id] = ending
        state.outbox.append(OutEnd(run_id, ending, f"schedule {state.id}: the next firing is due"))
    if ending == "cancelled":
        state.counts.cancelled += len(untold)
    else:
        state.counts.terminated += len(untold)
    if untold:
        others = f" and {len(untold) - 1} more" if len(untold) > 1 else ""
        _note(state, Firing(planned, now, ending, None, f"run {untold[0]}{others} went on and is {ending}; the firing waits for its end"))
    elif state.running:
        _note(state, Firing(planned, now, "buffered", None, f"waits for the end of run {state.running[0]}, which was told to end"))


def _overlap(state: ScheduleState, planned: float, now: float) -> None:
    if state.schedule.overlap == "buffer_one" and state.buffered is None:
        state.buffered = planned
        _note(state, Firing(planned, now, "buffered", None, f"waits for the end of run {state.running[0]}"))
        return
    state.counts.overlapping += 1
    also = " and another firing waits" if state.buffered is not None else ""
    _note(state, Firing(planned, now, "overlapping", None, f"run {state.running[0]} goes on{also}"))


def _run_buffered(state: ScheduleState, now: float) -> None:
    if state.buffered is not None and not state.running:
        planned, state.buffered = state.buffered, None
        _begin(state, planned, now)
        if _exhausted(state):
            state.planned = None


def _begin(state: ScheduleState, planned: float, now: float) -> None:
    state.counts.fired += 1
    _start(state, Firing(planned, now, "fired", _run_id(state, "fire", planned)), follow=state.schedule.overlap != "allow")


def _fill(state: ScheduleState, now: float) -> bool:
    started = 0
    while state.backfills:
        part = state.backfills[0]
        for planned in between(state.schedule, part.since, part.until):
            if started >= CHUNK:
                state.backfills[0] = Backfill(part.nonce, planned, part.until)
                return True
            started += 1
            state.counts.backfilled += 1
            _start(state, Firing(planned, now, "backfilled", _run_id(state, f"backfill {part.nonce}", planned)), follow=False)
        del state.backfills[0]
    return False


def _start(state: ScheduleState, firing: Firing, *, follow: bool) -> None:
    assert firing.run_id is not None
    state.outbox.append(OutStart(firing.run_id, firing.planned, firing.at, state.serial))
    if follow:
        state.running.append(firing.run_id)
    _note(state, firing)


def _exhausted(state: ScheduleState) -> bool:
    return state.schedule.max_firings is not None and state.counts.fired >= state.schedule.max_firings


def _run_id(state: ScheduleState, kind: str, planned: float) -> RunId:
    return scheduled_run_id(state.id, state.born, kind, planned)


def _note(state: ScheduleState, firing: Firing) -> None:
    state.recent.append(firing)
    del state.recent[:-RECENT]
