"""Who is next: the gate's rules, with no I/O and no clock.

Dispatches wait in groups: what the keys of all limits make of their payloads, so a group is let in or held back as a whole. Turns are taken
between the fair keys of the highest priority, and then between the groups of a fair key; in a group, the oldest is first. A group that a
limit holds back is put aside under that limit's key until a place there is free or time has come, so that a turn costs the same whether ten
groups wait or a hundred thousand.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from aiki.gates.state import Move
from aiki.types.admission import NO_KEY, SEPARATOR, Concurrency, Rate

__all__ = ["GateMachine", "split"]

GRAINS = 64
"""Into so many parts the period of a rate is divided: what is let in within one part counts together, up to the latest end."""

GRACE = 1e-6
"""Seconds: instants are floats, and sums of them differ."""

Counter = tuple[int, str]
"""A limit, by its number, and a key of it."""


def split(place: str, id: str) -> tuple[str, str]:
    """The group (with its priority) of a place, and the rest, by which a group's members are ordered."""
    priority, group, stamp = place.split(".")
    return f"{priority}.{group}", f"{stamp}.{id}"


class _Group:
    """Dispatches that are all let in or held back alike."""

    __slots__ = ("aside", "counters", "fair", "members", "name", "own", "priority", "size")

    def __init__(self, name: str, limits: Sequence[Concurrency | Rate]) -> None:
        self.name = name
        self.priority, _, tokens = name.partition(".")
        self.fair, *keys = tokens.split(SEPARATOR)
        keys += [NO_KEY] * (len(limits) - len(keys))  # of callers that know of fewer limits
        self.counters: list[Counter] = [
            (number, NO_KEY if limit.key is None else key) for number, (limit, key) in enumerate(zip(limits, keys, strict=False))
        ]
        self.own = [counter for counter in self.counters if limits[counter[0]].key is not None]
        """Those of limits that have a key."""
        self.members: list[str] = []
        self.size = 0
        self.aside = False


class GateMachine:
    """What one keeper knows of its gate. `taken` (see `GateState`) is read and changed in place."""

    def __init__(self, limits: Sequence[Concurrency | Rate], taken: dict[str, list[tuple[float, int]]]) -> None:
        self._limits = tuple(limits)
        self._periods = [limit.period if isinstance(limit, Rate) else 0.0 for limit in limits]
        self._taken = taken
        self._shared: list[Counter] = [(number, NO_KEY) for number, limit in enumerate(limits) if limit.key is None]
        """Limits without a key hold everybody back alike: groups need not be put aside for them."""
        self._shut_until: float | None = None
        self._groups: dict[str, _Group] = {}
        self._rings: dict[str, OrderedDict[str, OrderedDict[str, _Group]]] = {}
        """By priority: the fair keys in the order of their turns, each with its groups in theirs."""
        self._known: dict[str, tuple[str, str]] = {}
        """What waits: group and place in it, by id."""
        self._counting = any(isinstance(limit, Concurrency) for limit in limits)
        self._inside: dict[str, str] = {}
        """What is at work: groups by id. Rates need not know."""
        self._counts: dict[Counter, int] = {}
        self._aside: dict[Counter, list[_Group]] = {}
        self._alarms: list[tuple[float, Counter]] = []

    # -- what is told

    def hear(self, place: str, id: str) -> None:
        """A dispatch waits; said twice, or of one that has been let in, it means nothing."""
        if id in self._known or id in self._inside:
            return
        name, member = split(place, id)
        self._known[id] = (name, member)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(name, self._limits)
            self._queue(group)
        heapq.heappush(group.members, member)
        group.size += 1

    def gone(self, id: str) -> None:
        """A dispatch does not wait any more, though it was not let in; or it never did."""
        known = self._known.pop(id, None)
        if known is not None:
            group = self._groups[known[0]]
            group.size -= 1  # its place in the heap is found out later
            if not group.size:
                self._drop(group)

    def enter(self, place: str, id: str) -> None:
        """A dispatch is at work: it was let in before we came."""
        self.gone(id)
        if self._counting and id not in self._inside:
            name, _ = split(place, id)
            self._inside[id] = name
            for counter in self._concurrent(self._counters(name)):
                self._counts[counter] = self._counts.get(counter, 0) + 1

    def release(self, id: str) -> None:
        """A dispatch is at work no more; said twice, or of one that was not, it means nothing."""
        name = self._inside.pop(id, None)
        if name is None:
            return
        for counter in self._concurrent(self._counters(name)):
            left = self._counts[counter] - 1
            if left:
                self._counts[counter] = left
            else:
                del self._counts[counter]
            self._take_up(counter)

    def keep(self, ids: Iterable[str]) -> None:
        """Of those that we took to be at work, only these are."""
        present = set(ids)
        for id in [id for id in self._inside if id not in present]:
            self.release(id)

    def keep_waiting(self, ids: Iterable[str], before: Iterable[str]) -> None:
        """Of those that waited `before`, only these do."""
        present = set(ids)
        for id in before:
            if id not in present:
                self.gone(id)

    # -- what is asked

    @property
    def waiting_ids(self) -> list[str]:
        """Who waits."""
        return list(self._known)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._known)

    @property
    def inside(self) -> dict[str, str]:
        """What is at work, as far as we know: priority and group, by id."""
        return self._inside

    @property
    def next_instant(self) -> float | None:
        """When a rate may let somebody in again; None when no rate stands in the way."""
        instants = [each for each in (self._shut_until, self._alarms[0][0] if self._alarms else None) if each is not None]
        return min(instants, default=None)

    def admit(self, now: float) -> Move | None:
        """Let the next one in, or None when nobody may come in now."""
        while self._alarms and self._alarms[0][0] <= now:
            self._take_up(heapq.heappop(self._alarms)[1])
        self._shut_until = None
        if (shut := next((counter for counter in self._shared if not self._has_room(counter, now)), None)) is not None:
            self._shut_until = self._opens(shut) if self._rings else None
            return None
        for priority in sorted(self._rings, reverse=True):
            ring = self._rings[priority]
            while ring:
                fair, groups = next(iter(ring.items()))
                group = next(iter(groups.values()))
                obstacle = next((counter for counter in group.own if not self._has_room(counter, now)), None)
                if obstacle is None:
                    groups.move_to_end(group.name)
                    ring.move_to_end(fair)
                    return self._admit(group, now)
                self._put_aside(group, obstacle)
        return None

    def _admit(self, group: _Group, now: float) -> Move:
        while True:
            stamp, _, id = heapq.heappop(group.members).partition(".")
            if self._known.get(id) == (group.name, f"{stamp}.{id}"):
                break
        for counter in group.counters:
            if isinstance(self._limits[counter[0]], Rate):
                self._count(counter, now)
        place = f"{group.name}.{stamp}"
        self.enter(place, id)
        return Move(place, id)

    # -- limits

    def _counters(self, name: str) -> list[Counter]:
        group = self._groups.get(name)
        return group.counters if group is not None else _Group(name, self._limits).counters

    def _concurrent(self, counters: Iterable[Counter]) -> Iterable[Counter]:
        return (counter for counter in counters if isinstance(self._limits[counter[0]], Concurrency))

    def _has_room(self, counter: Counter, now: float) -> bool:
        limit = self._limits[counter[0]]
        if isinstance(limit, Concurrency):
            return self._counts.get(counter, 0) < limit.count
        return sum(number for _, number in self._current(counter, now)) < limit.count

    def _opens(self, counter: Counter) -> float | None:
        """When a rate lets somebody in again; None of a limit of concurrency, which does not know."""
        return self._taken[_taken_key(counter)][0][0] if isinstance(self._limits[counter[0]], Rate) else None

    def _current(self, counter: Counter, now: float) -> list[tuple[float, int]]:
        key = _taken_key(counter)
        entries = [(until, number) for until, number in self._taken.get(key, ()) if until > now]
        if entries:
            self._taken[key] = entries
        else:
            self._taken.pop(key, None)
        return entries

    def _count(self, counter: Counter, now: float) -> None:
        entries = self._current(counter, now)
        until = now + self._periods[counter[0]]
        grain = self._periods[counter[0]] / GRAINS
        # What is counted together counts no more at the latest of its ends, so never too early.
        if entries and until - entries[-1][0] < grain and len(entries) > 1 and until - entries[-2][0] < 2 * grain:
            entries[-1] = (max(until, entries[-1][0]), entries[-1][1] + 1)
        elif entries and until <= entries[-1][0]:
            entries[-1] = (entries[-1][0], entries[-1][1] + 1)
        else:
            entries.append((until, 1))
        self._taken[_taken_key(counter)] = entries

    def delay(self, decided_at: float, now: float) -> None:
        """What was decided to be let in at that instant, or later, has really been let in by `now`: the rates count from here."""
        for key, entries in self._taken.items():
            number = int(key.partition(SEPARATOR)[0])
            period = self._periods[number] if number < len(self._periods) else 0.0
            after = decided_at + period - GRACE
            self._taken[key] = [(max(until, now + period) if until >= after else until, count) for until, count in entries]

    def forget_old(self, now: float) -> None:
        """Drop what counts no more."""
        for key in list(self._taken):
            self._taken[key] = [each for each in self._taken[key] if each[0] > now]
            if not self._taken[key]:
                del self._taken[key]

    # -- rings

    def _queue(self, group: _Group) -> None:
        self._rings.setdefault(group.priority, OrderedDict()).setdefault(group.fair, OrderedDict())[group.name] = group

    def _unqueue(self, group: _Group) -> None:
        ring = self._rings[group.priority]
        groups = ring[group.fair]
        groups.pop(group.name, None)
        if not groups:
            del ring[group.fair]
            if not ring:
                del self._rings[group.priority]

    def _put_aside(self, group: _Group, obstacle: Counter) -> None:
        self._unqueue(group)
        group.aside = True
        self._aside.setdefault(obstacle, []).append(group)
        opens = self._opens(obstacle)
        if opens is not None and len(self._aside[obstacle]) == 1:
            heapq.heappush(self._alarms, (opens, obstacle))

    def _take_up(self, counter: Counter) -> None:
        for group in self._aside.pop(counter, ()):
            group.aside = False
            if group.size and self._groups.get(group.name) is group:
                self._queue(group)

    def _drop(self, group: _Group) -> None:
        if self._groups.pop(group.name, None) is not None and not group.aside:
            self._unqueue(group)


def _taken_key(counter: Counter) -> str:
    return f"{counter[0]}{SEPARATOR}{counter[1]}"
