"""When a schedule fires, as options of the command line and as words."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aiki.types.errors import InvalidSchedule

if TYPE_CHECKING:
    from aiki.client import ScheduleView
    from aiki.schedules import Schedule

__all__ = ["INSTANT", "local", "rule_options", "rule_text", "schedule_of"]

Function = TypeVar("Function", bound=Callable[..., Any])

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
INSTANT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


class _Span(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        unit = UNITS.get(value[-1:])
        try:
            return float(value) if unit is None else float(value[:-1]) * unit
        except ValueError:
            self.fail(f"{value!r} is no duration: give seconds, or 90s, 15m, 2h, 1d, 1w", param, ctx)


def rule_options(function: Function) -> Function:
    """The options that say when a schedule fires."""
    options = (
        click.option("--cron", default=None, help="A cron expression of 5 fields, or 6 (the sixth: seconds), or @daily and friends."),
        click.option("--every", type=_Span(), default=None, help="An interval: 90s, 15m, 2h, 1d."),
        click.option("--timezone", default="UTC", show_default=True, help="The IANA time zone of --cron."),
        click.option(
            "--overlap",
            type=click.Choice(["skip", "buffer_one", "allow", "cancel_previous", "terminate_previous"]),
            default="skip",
            show_default=True,
            help="What becomes of a firing while an earlier run goes on.",
        ),
        click.option("--catch-up", type=_Span(), default="1h", show_default=True, help="How late a firing may be made up for."),
        click.option("--jitter", type=_Span(), default="0s", show_default=True, help="Delay each firing by up to so much."),
        click.option("--start", type=INSTANT, default=None, help="No firing before this instant (UTC unless it says otherwise)."),
        click.option("--end", type=INSTANT, default=None, help="No firing after this instant."),
        click.option("--max-firings", type=click.IntRange(1), default=None, help="It is over after so many."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def schedule_of(
    *, cron: str | None, every: float | None, timezone: str, start: datetime | None, end: datetime | None, **more: Any
) -> "Schedule":
    """The schedule that the options mean. `InvalidSchedule`."""
    from aiki.schedules import Schedule

    if (cron is None) == (every is None):
        raise InvalidSchedule("give either --cron or --every", what="cron")
    bounds = {"start": _utc(start), "end": _utc(end), **more}
    return Schedule.cron(cron, timezone=timezone, **bounds) if cron is not None else Schedule.every(every or 0.0, **bounds)


def rule_text(view: "ScheduleView") -> str:
    """When it fires, in a few words."""
    if view.expression is not None:
        return f"{view.expression} ({view.timezone})"
    return f"every {view.interval:g} s"


def local(at: datetime) -> str:
    """An instant in this machine's time zone, which it names."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _utc(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)
