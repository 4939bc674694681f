"""What may go wrong on the way between a connection and the server, and the dice that decide it."""

import random

import msgspec

__all__ = ["Dice", "Faults"]


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities (0 to 1) and delays.

    What NATS itself never does (lose an acknowledged write, break a compare-and-set) is not among them.
    """

    lose: float = 0.0
    """Of each core message, request, answer, delivery and acknowledgement: it does not arrive."""
    double: float = 0.0
    """Of each core message and delivery: it arrives twice."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Seconds on the way, each way, between these two."""
    reorder: float = 0.0
    """Of each core message and delivery: it does not keep its place in the order (needs a delay to show)."""
    unknown: float = 0.0
    """Of each durable write: the request or its answer is lost, so that it ends in `OutcomeUnknown`, with or without effect."""


class Dice:
    """Decisions under a seed. A fault that is off draws nothing, so the others' decisions stay the same when one is switched on or off."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def falls(self, probability: float) -> bool:
        """True with that probability."""
        return probability > 0 and self._random.random() < probability

    def between(self, bounds: tuple[float, float]) -> float:
        """A number between the two bounds."""
        low, high = bounds
        return low if high <= low else self._random.uniform(low, high)
