"""Logs without payloads: what users' code raises may quote them."""

import logging
import traceback

from aiki.types.errors import CodecError, TransportError
from aiki.types.failure import ErrorInfo, type_name

__all__ = ["be_discreet"]

_LOGGERS = ("actors", "archive", "client", "entities", "gates", "journal", "sealing", "timer", "worker", "workflow")
_SPEAKS_FREELY = (CodecError, TransportError)
"""Their texts are ours, and hold names alone."""


class _Discretion(logging.Filter):
    """Of errors, keeps their kind and where they were raised."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_kind(each) for each in record.args)
        if record.exc_info:
            _, error, trace = record.exc_info
            record.exc_text = "".join(traceback.format_tb(trace)) + (type_name(type(error)) if error is not None else "")
            record.exc_info = None
        return True


_discretion = _Discretion()


def be_discreet(*, discreet: bool = True) -> None:
    """From now on the engine's loggers in this process tell of errors their kind, and not their text. Once is enough.

    `discreet` False: as before, for tests.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(f"aiki.{name}")
        logger.addFilter(_discretion) if discreet else logger.removeFilter(_discretion)


def _kind(value: object) -> object:
    if isinstance(value, _SPEAKS_FREELY):
        return value
    if isinstance(value, BaseException):
        return type_name(type(value))
    return value.type if isinstance(value, ErrorInfo) else value
