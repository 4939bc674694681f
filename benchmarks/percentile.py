"""Percentiles of a few hundred samples."""

import math
from collections.abc import Sequence

__all__ = ["percentile"]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never an interpolated one."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
