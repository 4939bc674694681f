"""The garbage collector of a worker's process.

Python looks for reference cycles anew after each few hundred allocations, at times over everything that lives. A worker holds thousands of
runs that wait, so with the interpreter's own thresholds more than half of its time went there when many runs went on at once.
"""

import gc

__all__ = ["calm_down"]

THRESHOLDS = (10_000, 20, 50)


def calm_down() -> None:
    """Have the collector of this process look less often; one that is off, or set to look more rarely, is left alone."""
    present = gc.get_threshold()
    if present[0]:
        gc.set_threshold(*map(max, present, THRESHOLDS))
