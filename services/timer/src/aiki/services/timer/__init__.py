"""The timer service: fires schedules."""

from aiki.services.timer.service import TimerService

__all__ = ["TimerService"]
