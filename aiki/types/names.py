"""Names that users choose (of tasks, workflows, versions, queues, regions), and how they become single tokens of a NATS subject."""

import re
import unicodedata

from aiki.types.errors import DefinitionError, InvalidName

__all__ = ["MAX_NAME_BYTES", "check_key", "check_name", "from_token", "to_token"]

MAX_NAME_BYTES = 120
"""A name's limit in UTF-8 bytes: several of them, escaped threefold at worst, must fit into one subject line of the server (4 KiB)."""

MAX_KEY = 1024
"""Characters of an idempotency key: it stands in the run's state."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPE = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def check_name(name: object, what: str) -> str:
    """Return `name` if it can be used for `what` ("task", "workflow", "version", …), else raise `InvalidName` with the reason.

    Dots, spaces inside, wildcards and any printable Unicode (in normal form C) are fine; empty names, control characters,
    surrounding white space and more than `MAX_NAME_BYTES` bytes of UTF-8 are not.
    """
    if type(name) is not str:
        raise _invalid(name, what, f"it must be a string, not {type(name).__name__}")
    if _PLAIN.match(name) and len(name) <= MAX_NAME_BYTES:
        return name
    if not name:
        raise _invalid(name, what, "it is empty")
    if name != name.strip():
        raise _invalid(name, what, "it begins or ends with white space")
    if bad := next((character for character in name if not character.isprintable()), None):
        raise _invalid(name, what, f"it contains the unprintable character {bad!r}")
    if unicodedata.normalize("NFC", name) != name:
        raise _invalid(name, what, "its Unicode is not in normal form C, so two spellings would look the same")
    if (size := len(name.encode())) > MAX_NAME_BYTES:
        raise _invalid(name, what, f"it is {size} bytes long; the limit is {MAX_NAME_BYTES}")
    return name


def check_key(key: object) -> str:
    """Return `key` if it can be an idempotency key (printable text of up to `MAX_KEY` characters), else raise `DefinitionError`."""
    if type(key) is not str or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        shown = repr(key)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        raise DefinitionError(
            f"idempotency_key must be a printable string of 1 to {MAX_KEY} characters, not {shown}", what="idempotency_key"
        )
    return key


def _invalid(name: object, what: str, reason: str) -> InvalidName:
    shown = repr(name)
    if len(shown) > 60:
        shown = shown[:57] + "…" + shown[-1]
    return InvalidName(f"{shown} cannot be the name of a {what}: {reason}", name=name, what=what, reason=reason)


def to_token(name: str) -> str:
    """Encode a name as one subject token: what is not a letter, digit, `_` or `-` becomes `=XX`, byte by byte."""
    if _PLAIN.match(name):
        return name
    return _ESCAPE.sub(lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), name)


def from_token(token: str) -> str:
    """The name that `to_token` encoded."""
    if "=" not in token:
        return token
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), token).encode("latin-1").decode()
