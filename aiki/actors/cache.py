"""The activation cache: runs that wait for messages stay in memory, the least recently used ones go first."""

from collections import OrderedDict

from aiki.actors.activation import Activation

__all__ = ["ActivationCache"]


class ActivationCache:
    """At most `capacity` idle activations; busy ones are not counted and never evicted."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._idle: OrderedDict[str, Activation] = OrderedDict()
        self._busy: dict[str, Activation] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def get(self, run_id: str) -> Activation | None:
        """The run's activation, if it is here."""
        return self._busy.get(run_id) or self._idle.get(run_id)

    def begin(self, activation: Activation) -> None:
        """A turn begins."""
        self._idle.pop(activation.run_id, None)
        self._busy[activation.run_id] = activation

    def end(self, activation: Activation) -> None:
        """A turn has ended; an activation with nothing in it is dropped."""
        self._busy.pop(activation.run_id, None)
        if activation.worth_keeping:
            self._idle[activation.run_id] = activation
            while len(self._idle) > self.capacity:
                self._idle.popitem(last=False)[1].evict()

    def busy(self) -> list[Activation]:
        """Those in a turn."""
        return list(self._busy.values())

    def clear(self) -> list[Activation]:
        """Forget all; answers them."""
        all_of_them = [*self._busy.values(), *self._idle.values()]
        self._busy.clear()
        self._idle.clear()
        return all_of_them
