"""How far a gate fills the work queue ahead of the workers.

What is in the work queue is past all fairness: who comes last waits for it. So no more is let in than the workers take up until the keeper
looks again, and that is measured: when they have emptied the queue meanwhile, it was too little; when half of it is still there, too much.
"""

__all__ = ["Window"]

LEAST, FIRST, MOST = 2, 8, 256
FIRST_PAUSE, LAST_PAUSE = 0.002, 0.25


class Window:
    """Of one keeper. It also holds when that has last counted what is at work, and read its waiting room (the loop's time)."""

    def __init__(self) -> None:
        self.counted_at = 0.0
        self.room_read_at = 0.0
        self.size = FIRST
        self._filled = False
        self._pause = FIRST_PAUSE

    def room(self, ahead: int) -> int:
        """How many may be let in while so many are ahead in the queue."""
        if self._filled:
            if ahead == 0:
                self.size = min(self.size * 2, MOST)
            elif ahead * 2 > self.size:
                self.size = max(self.size // 2, LEAST)
            self._filled = False
        return self.size - ahead

    def let_in(self, count: int) -> None:
        """So many were let in."""
        self._filled = count * 2 >= self.size
        self._pause = FIRST_PAUSE

    def pause(self) -> float:
        """Seconds to wait for the queue to empty: longer each time."""
        pause, self._pause = self._pause, min(self._pause * 2, LAST_PAUSE)
        return pause

    def hurry(self) -> None:
        """Something has changed."""
        self._pause = FIRST_PAUSE
