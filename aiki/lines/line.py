"""A line's state as stored, and what changes it: a run enters, a run leaves, and who is first of those that wait moves in.

MessagePack arrays: fields may be appended with a default, never moved or removed. Instants are seconds since the epoch.
"""

import msgspec

__all__ = ["MOST_WAITING", "LineState", "Place", "decode_line", "encode_line", "enter", "leave", "older"]

MOST_WAITING = 5_000
"""Runs that wait in one line: its state must fit into one message. Further starts wait in their mailbox."""


class Place(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A run in a line. `since`: when it was asked for. `stay` counts how often the run was under way: one that is retried comes once more.

    `reserved`: its start has not been stored yet.
    """

    run_id: str
    version: str
    since: float
    priority: int = 0
    stay: int = 1
    reserved: bool = False


class LineState(msgspec.Struct, array_like=True, kw_only=True, omit_defaults=True):
    """One line: of a workflow, or of one key of it."""

    workflow: str
    count: int = 1
    inside: list[Place] = []
    waiting: list[Place] = []
    """By priority, then by age."""
    untold: list[str] = []
    """Those inside who waited before, and may not know yet that they need not any more."""

    @property
    def empty(self) -> bool:
        """Nobody is there."""
        return not self.inside and not self.waiting

    def has_inside(self, run_id: str) -> bool:
        """Whether that run has its place."""
        return any(place.run_id == run_id for place in self.inside)


def enter(line: LineState, place: Place, count: int, *, waits: bool = True, forced: bool = False) -> bool:
    """A run comes, perhaps not for the first time; answers whether it is inside. `waits`: if there is no place, it stays in the line.

    `forced`: it moves in even if there is no place. The state is changed in place.
    """
    line.count = count
    for index, known in enumerate(line.inside):
        if known.run_id == place.run_id:
            if known.stay < place.stay or (known.reserved and not place.reserved):
                line.inside[index] = place
            break
    else:
        others = [each for each in line.waiting if each.run_id != place.run_id]
        if forced:
            line.waiting = others
            line.inside.append(place)
        elif not waits and len(line.inside) >= count:
            line.waiting = others
        elif len(others) == len(line.waiting):
            line.waiting.append(place)
    _move_up(line)
    line.untold = [run_id for run_id in line.untold if run_id != place.run_id]  # it is about to know
    return line.has_inside(place.run_id)


def leave(line: LineState, run_id: str, stay: int | None = None) -> None:
    """A run is not under way any more. `stay`: which time that was; None: whichever."""

    def remains(place: Place) -> bool:
        return place.run_id != run_id or (stay is not None and place.stay > stay)

    line.inside = [place for place in line.inside if remains(place)]
    line.waiting = [place for place in line.waiting if remains(place)]
    _move_up(line)


def older(line: LineState, run_id: str) -> list[Place]:
    """Those that were asked for before that run, but for so many as may stay beside it: of these, the newest."""
    everybody = sorted((*line.inside, *line.waiting), key=_age)
    own = next((place for place in everybody if place.run_id == run_id), None)
    if own is None:
        return []
    before = [place for place in everybody if _age(place) < _age(own)]
    return before[: max(0, len(before) - (line.count - 1))]


def _move_up(line: LineState) -> None:
    line.waiting.sort(key=lambda place: (-place.priority, place.since))
    free = max(0, line.count - len(line.inside))
    moved, line.waiting = line.waiting[:free], line.waiting[free:]
    line.inside += moved
    line.untold = [run_id for run_id in line.untold if line.has_inside(run_id)] + [place.run_id for place in moved]


def _age(place: Place) -> tuple[float, str]:
    return place.since, place.run_id


encode_line = msgspec.msgpack.Encoder().encode
decode_line = msgspec.msgpack.Decoder(LineState).decode
