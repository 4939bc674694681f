"""Errors as data: whatever was raised can be recorded, and Aiki's own errors travel."""

import copy
import inspect
import pickle
from typing import Any

import msgspec
import pytest

from aiki.types import errors
from aiki.types.errors import AikiError, PayloadError, TaskFailed
from aiki.types.failure import MAX_CAUSES, MAX_MESSAGE, MAX_TRACEBACK, ErrorInfo


def travelled(error: BaseException) -> ErrorInfo:
    """What is left of a raised error after it was written and read again."""
    try:
        raise error
    except BaseException as caught:
        info = ErrorInfo.of(caught)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(info), type=ErrorInfo)


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class NotText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Unpicklable(Exception):
    def __init__(self, one: object, two: object) -> None:
        self.lock = lambda: (one, two)


class Coded(AikiError):
    code = 42  # type: ignore[assignment]


def test_an_exception_as_data() -> None:
    info = travelled(ValueError("wrong"))
    assert (info.type, info.message, info.code, str(info)) == ("ValueError", "wrong", None, "ValueError: wrong")
    assert info.traceback is not None and "in travelled" in info.traceback


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Silent(), "<unprintable: its __str__ raised RuntimeError>"),
        (NotText(), "<unprintable: its __str__ raised TypeError>"),
        (Unpicklable(1, 2), "(1, 2)"),
        (ValueError(), ""),
        (ValueError("\ud800 in a file's name"), "\\ud800 in a file's name"),
        (OSError(2, "No such file", "\udcff"), "[Errno 2] No such file: '\\udcff'"),
        (ValueError("x\x00y\n"), "x\x00y\n"),
        (KeyboardInterrupt("stop"), "stop"),
        (SystemExit(3), "3"),
        (ExceptionGroup("several", [ValueError("a"), Silent()]), "several (2 sub-exceptions)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec can't decode byte 0xff in position 0: bad"),
    ],
)
def test_strange_exceptions(error: BaseException, message: str) -> None:
    assert travelled(error).message == message


def test_the_name_of_a_local_class() -> None:
    class Local(Exception):
        pass

    assert travelled(Local()).type == f"{__name__}.test_the_name_of_a_local_class.<locals>.Local"


def test_a_huge_message_is_cut() -> None:
    info = travelled(ValueError("x" * 10_000_000))
    assert len(info.message) == MAX_MESSAGE
    assert info.traceback is not None and len(info.traceback) <= MAX_TRACEBACK


def test_deep_and_circular_causes_end() -> None:
    error = ValueError("0")
    for number in range(1, 1000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    info: ErrorInfo | None = travelled(error)
    depth = 0
    while info is not None:
        info, depth = info.cause, depth + 1
    assert depth == MAX_CAUSES + 1

    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert ErrorInfo.of(one).cause is not None


def test_causes_and_contexts() -> None:
    error = ValueError("outer")
    error.__context__ = KeyError("inner")
    cause = travelled(error).cause
    assert cause is not None and cause.type == "KeyError"
    error.__suppress_context__ = True
    assert travelled(error).cause is None


def test_codes() -> None:
    assert travelled(PayloadError("no")).code == "payload"
    assert travelled(Coded("no")).code == "42"


ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AikiError)]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_pickle_and_copy(kind: type[AikiError], travel: Any) -> None:
    error = kind("what to do", run_id="r", error=ErrorInfo(type="X"), count=3)
    again = travel(error)
    assert type(again) is kind
    assert (str(again), again.run_id, again.count, again.error) == ("what to do", "r", 3, ErrorInfo(type="X"))


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in ALL}) == len(ALL)
    assert all(kind.__name__ in errors.__all__ and (errors.__doc__ or "").count(kind.__name__) for kind in ALL)


def test_a_field_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="TaskFailed has no field 'attempts'"):
        _ = TaskFailed("no").attempts
    assert not hasattr(TaskFailed.__new__(TaskFailed), "attempts")
