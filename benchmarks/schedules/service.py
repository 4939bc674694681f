"""The process of the timer service."""

from aiki.services.timer import TimerService
from benchmarks.serving import main

if __name__ == "__main__":
    main(TimerService)
