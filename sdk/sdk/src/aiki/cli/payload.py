"""A JSON payload from the command line: the text itself, `-` for standard input, `@file` for a file."""

import sys
from pathlib import Path

from aiki.types.errors import PayloadError

__all__ = ["read_payload"]


def read_payload(argument: str) -> bytes:
    """The payload as compact JSON. Raises `PayloadError` when it cannot be read or is not JSON."""
    import msgspec

    if argument == "-":
        where, data = "standard input", sys.stdin.buffer.read()
    elif argument.startswith("@"):
        where = argument[1:]
        try:
            data = Path(where).read_bytes()
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
            raise PayloadError(f"the payload file {where!r} {why}", where=where, path="$", reason=why) from error
    else:
        where, data = "the command line", argument.encode()
    try:
        return msgspec.json.encode(msgspec.json.decode(data))
    except msgspec.DecodeError as error:
        raise PayloadError(f"the payload from {where} is not JSON: {error}", where=where, path="$", reason=str(error)) from error
