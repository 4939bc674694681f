"""What remains of an exception when it crosses processes: text, never a pickle."""

import traceback

import msgspec

from aiki.types.errors import AikiError

__all__ = ["ErrorInfo"]

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 8_000
MAX_CAUSES = 3
MAX_BRIEF = 500


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception as data. `type` is its qualified name, `code` Aiki's own code when it has one, `traceback` its text (the end of it)."""

    type: str
    message: str = ""
    code: str | None = None
    traceback: str | None = None
    cause: "ErrorInfo | None" = None

    @classmethod
    def of(cls, error: BaseException, *, depth: int = 0) -> "ErrorInfo":
        """Describe any exception, also one whose `__str__` raises or that cannot be formatted."""
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return cls(
            type=_sendable(type_name(type(error))),
            message=_text(error)[:MAX_MESSAGE],
            code=_sendable(str(error.code)) if isinstance(error, AikiError) else None,
            traceback=_format(error)[-MAX_TRACEBACK:],
            cause=cls.of(cause, depth=depth + 1) if cause is not None and depth < MAX_CAUSES else None,
        )

    def brief(self) -> "ErrorInfo":
        """Without its traceback and causes: many failed attempts must fit into one state."""
        return ErrorInfo(type=self.type, message=self.message[:MAX_BRIEF], code=self.code)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def type_name(kind: type) -> str:
    """The name that identifies an exception class across processes: bare for built-ins, else qualified by its module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _sendable(text: str) -> str:
    """A plain string: lone surrogates (file names that are no UTF-8, for example) have no encoding, nor have subclasses of `str`."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return _sendable(str(error))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as failure:
        return f"<unprintable: its __str__ raised {type(failure).__name__}>"


def _format(error: BaseException) -> str:
    try:
        return _sendable("".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False)))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:
        return _sendable("".join(traceback.format_tb(error.__traceback__)) + type_name(type(error)))
