"""Logs of what serves: to standard error, with an instant and a level."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["log_to_stderr", "with_log_level"]

Made = TypeVar("Made", bound=Callable[..., Any])
LEVELS = ("debug", "info", "warning", "error")


def with_log_level(function: Made) -> Made:
    """Add the option `--log-level`, which comes as `log_level`."""
    made: Made = click.option(
        "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="What to log, `ctx.logger` included."
    )(function)
    return made


def log_to_stderr(level: str) -> None:
    """Log from `level` on, unless logging is set up already (by the module that is served)."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
