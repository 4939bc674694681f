"""The machine's clock."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The operating system's wall clock."""

    def now(self) -> float:
        return time.time()
