"""Quantiles of durations in little room: a histogram whose bins grow geometrically, so that each quantile is right to within 2%.

It is what DDSketch is (Masson, Rim, Lee: "DDSketch", VLDB 2019) with a dictionary of bins. Sketches of several workers and days are merged
by addition.
"""

import math

import msgspec

__all__ = ["Sketch"]

GROWTH = 1.04
"""Each bin ends at so many times its beginning: the middle of a bin is within 2% of all that is in it."""
LEAST, MOST = 1e-6, 1e9
"""Seconds; what is beyond counts as these, so that there are some 900 bins at most."""

_SCALE = 1 / math.log(GROWTH)


class Sketch(msgspec.Struct, array_like=True, omit_defaults=True):
    """Durations in seconds. `count`, `total` and `longest` are exact; `bins` may hold a sample of them only."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    bins: dict[int, int] = {}

    def add(self, value: float) -> None:
        """One of the sample; `count` and the like are its owner's affair."""
        index = math.ceil(math.log(min(max(value, LEAST), MOST)) * _SCALE)
        self.bins[index] = self.bins.get(index, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Take up what another has seen. Samples weigh as much as what they stand for."""
        weight = other.count / sampled if (sampled := sum(other.bins.values())) else 0.0
        own = sum(self.bins.values())
        if own and self.count > own:  # a sample, too: make it weigh what it stands for
            self._scale(self.count / own)
        for index, number in other.bins.items():
            self.bins[index] = self.bins.get(index, 0) + max(round(number * weight), 1)
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def _scale(self, factor: float) -> None:
        self.bins = {index: max(round(number * factor), 1) for index, number in self.bins.items()}

    @property
    def mean(self) -> float:
        """Seconds; 0 when there is nothing."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The duration that this share (0 to 1) does not exceed, to within 2% and never beyond the longest; 0 when there is nothing."""
        number = sum(self.bins.values())
        if not number:
            return 0.0
        rank = share * (number - 1)
        seen = 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen > rank:
                middle: float = 2 * GROWTH**index / (GROWTH + 1)
                return min(middle, self.longest) if self.longest else middle
        return self.longest
