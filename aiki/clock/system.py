"""The machine's clock."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The operating system's wall clock."""

    now = staticmethod(time.time)
