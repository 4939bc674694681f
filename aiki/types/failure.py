"""What remains of an exception when it crosses processes: text, never a pickle."""

import traceback

import msgspec

from aiki.types.errors import AikiError

__all__ = ["ErrorInfo"]

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 8_000
MAX_CAUSES = 3
BRIEF_MESSAGE = 500
BRIEF_TRACEBACK = 2_000


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception as data. `type` is its qualified name, `code` Aiki's own code when it has one, `traceback` its text (the end of it).

    `limit` names the limit of an error that says that something took too long.
    """

    type: str
    message: str = ""
    code: str | None = None
    traceback: str | None = None
    cause: "ErrorInfo | None" = None
    limit: str | None = None

    @classmethod
    def of(cls, error: BaseException, *, depth: int = 0) -> "ErrorInfo":
        """Describe any exception, also one whose `__str__` raises or that cannot be formatted."""
        cause: BaseException | ErrorInfo | None = error.__cause__ or _told(error)
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        return cls(
            type=_plain(type_name(type(error))),
            message=_text(error)[:MAX_MESSAGE],
            code=_plain(error.code) if isinstance(error, AikiError) else None,
            traceback=_format(error)[-MAX_TRACEBACK:],
            cause=None if cause is None or depth >= MAX_CAUSES else _cause(cause, depth + 1),
            limit=_limit(error),
        )

    def brief(self) -> "ErrorInfo":
        """Without its causes, and shortened: for failures that were followed by another attempt, of which there may be many."""
        text = self.traceback
        return ErrorInfo(
            type=self.type,
            message=self.message[:BRIEF_MESSAGE],
            code=self.code,
            traceback=text if text is None else text[-BRIEF_TRACEBACK:],
            limit=self.limit,
        )

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def type_name(kind: type) -> str:
    """The name that identifies an exception class across processes: bare for built-ins, else qualified by its module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _told(error: BaseException) -> ErrorInfo | None:
    """What a task, sub-workflow or actor failed with in another process, in the error that says so here."""
    told = error.fields.get("error") if isinstance(error, AikiError) else None
    return told if isinstance(told, ErrorInfo) else None


def _cause(cause: BaseException | ErrorInfo, depth: int) -> ErrorInfo:
    if not isinstance(cause, ErrorInfo):
        return ErrorInfo.of(cause, depth=depth)
    further = cause.cause
    return msgspec.structs.replace(cause, cause=None if further is None or depth >= MAX_CAUSES else _cause(further, depth + 1))


def _limit(error: BaseException) -> str | None:
    limit = error.fields.get("limit") if isinstance(error, AikiError) else None
    return _plain(limit) if isinstance(limit, str) else None


def _text(error: BaseException) -> str:
    try:
        return _plain(str(error))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as failure:
        return f"<unprintable: its __str__ raised {type(failure).__name__}>"


def _format(error: BaseException) -> str:
    try:
        return _plain("".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False)))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:
        return _plain("".join(traceback.format_tb(error.__traceback__)) + type_name(type(error)))


def _plain(text: object) -> str:
    """A string of exactly that type that UTF-8 can hold: file names may bring lone surrogates, and classes their own kind of string."""
    return str.encode(text if isinstance(text, str) else repr(text), "utf-8", "backslashreplace").decode()
